"""What the notebooks need of the package: a start, and build cells.

A chapter shows the package's code in build cells.  `build` compares such a
cell with the package, as syntax trees, and says whether they agree, so that
the book cannot drift from the package unnoticed.  A reader who changes a
build cell changes the package: the reader's version is used everywhere.
"""

import ast
import importlib
import linecache
import sys
import warnings
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from types import FunctionType, ModuleType

import torch

from detr_lite.errors import ConfigError

Definition = ast.ClassDef | ast.FunctionDef


def start(cpu: str, trains: bool = False) -> None:
    """Make a notebook ready, and say what it runs on and how long it takes.

    cpu: the time it takes there, in words.
    trains: whether it trains a model, on a GPU if there is one, or on all
    cores.  Otherwise one thread does: the model is so small that several
    would mostly wait for each other.
    """
    torch.manual_seed(0)
    torch.set_printoptions(precision=3, sci_mode=False, linewidth=79)
    if not trains:
        torch.set_num_threads(1)
    # Other libraries ask for progress bars as widgets; none is needed.
    warnings.filterwarnings("ignore", message="IProgress not found")
    shell = _shell()
    if shell is not None:
        shell.run_line_magic("matplotlib", "inline")
        # Figures keep the width they were drawn with.
        shell.run_line_magic(
            "config",
            "InlineBackend.print_figure_kwargs = {'bbox_inches': None}",
        )
    if not torch.cuda.is_available():
        print(f"No GPU was found; on the CPU this takes {cpu}.")
        return
    name = torch.cuda.get_device_name()
    if trains:
        print(f"{name} was found, and the model is trained on it.")
    else:
        print(f"{name} was found, but this chapter needs none: {cpu}.")


def _shell():
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()


def build(place: str) -> Callable:
    """Return a decorator for a class or function that the package has.

    Args:
        place: the module it belongs to, "detr_lite.mask_head"; or, for a
            method of a class that another cell builds, the class,
            "detr_lite.mask_head.MaskHead".

    The decorator compares the cell with the package; docstrings do not
    count.  A class may leave out methods, which other cells then build.

    Equal: it says so and hands back the package's own object.  Different: it
    says where, and from then on the package uses the cell's version, in
    models that are there already too.  Running the unchanged cell again
    brings the package's own back.
    """
    file = sys._getframe(1).f_code.co_filename
    module, owner = _module_and_owner(place)

    def decorate(made):
        name = made.__name__
        path = f"{owner.__name__}.{name}" if owner else name
        mine = _definition("".join(linecache.getlines(file)), name, path)
        theirs = _definition(_source(module.__name__), path, path)
        if owner is not None:
            return _build_method(owner, made, mine, theirs, place)
        if isinstance(made, type):
            return _build_class(module, made, mine, theirs)
        return _build_function(module, made, mine, theirs)

    return decorate


def _module_and_owner(place: str) -> tuple[ModuleType, type | None]:
    head, _, last = place.rpartition(".")
    try:
        if last[:1].isupper():
            module = importlib.import_module(head)
            return module, getattr(module, last)
        return importlib.import_module(place), None
    except (ImportError, AttributeError):
        raise ConfigError(
            f"The package has no {place}; @build names a module, or a class "
            "in one."
        ) from None


@cache
def _source(module: str) -> str:
    return Path(sys.modules[module].__file__).read_text("utf-8")


def _definition(source: str, name: str, path: str) -> Definition:
    """Return the definition of a name, "X" or "X.method", in a source."""
    node = ast.parse(_without_magics(source))
    for part in name.split("."):
        found = [
            child
            for child in node.body
            if isinstance(child, Definition) and child.name == part
        ]
        if not found:
            raise ConfigError(
                f"The package has no {path}; a build cell keeps the names "
                "of what it builds."
            )
        node = found[-1]
    return node


def _without_magics(source: str) -> str:
    lines = source.splitlines(keepends=True)
    return "".join("\n" if x.startswith(("%", "!")) else x for x in lines)


def plain(node: ast.AST) -> str:
    """Return a definition as text to compare: no docstrings, no @build."""
    node = ast.parse(ast.unparse(node))
    for child in ast.walk(node):
        if isinstance(child, Definition):
            child.decorator_list = [
                d for d in child.decorator_list if not _is_build(d)
            ]
            if ast.get_docstring(child) is not None:
                child.body = child.body[1:] or [ast.Pass()]
    return ast.unparse(node)


def _is_build(decorator: ast.AST) -> bool:
    return (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "build"
    )


def _build_function(module, made, mine, theirs) -> FunctionType:
    name = made.__name__
    own = _originals.setdefault((module.__name__, name), getattr(module, name))
    before = getattr(module, name)
    same = plain(mine) == plain(theirs)
    after = own if same else made
    for other in _package():
        for key, value in list(vars(other).items()):
            if value is before:
                setattr(other, key, after)
    _say(name, module.__name__, same)
    return after


def _build_method(owner, made, mine, theirs, place: str) -> FunctionType:
    name = made.__name__
    key = (f"{owner.__module__}.{owner.__name__}", name)
    own = _originals.setdefault(key, vars(owner)[name])
    same = plain(mine) == plain(theirs)
    _put(owner, name, own if same else made)
    _say(f"{owner.__name__}.{name}", place.rpartition(".")[0], same)
    return vars(owner)[name]


def _build_class(module, made, mine, theirs) -> type:
    """Compare member by member; change the package's class in place."""
    own = getattr(module, made.__name__)
    mine_parts, their_parts = members(mine), members(theirs)
    # A method that the cell leaves out is built in another cell.
    left_out = [
        key
        for key in their_parts
        if key not in mine_parts and key.isidentifier()
    ]
    changed = [
        key
        for key in {**their_parts, **mine_parts}
        if key not in left_out and mine_parts.get(key) != their_parts.get(key)
    ]
    key = (module.__name__, made.__name__)
    originals = _originals.setdefault(key, dict(vars(own)))
    for name in set(vars(own)) - set(originals):
        delattr(own, name)
    for name, member in originals.items():
        if name not in (*left_out, *_NOT_MEMBERS):
            setattr(own, name, member)
    if changed:
        same = set(mine_parts) - set(changed)
        for name in set(vars(made)) - same - set(_NOT_MEMBERS):
            _put(own, name, vars(made)[name])
    _say(made.__name__, module.__name__, not changed, changed, left_out)
    return own


_NOT_MEMBERS = (
    "__dict__",
    "__weakref__",
    "__doc__",
    "__module__",
    "__qualname__",
    "__firstlineno__",
    "__static_attributes__",
)


def _put(owner: type, name: str, member) -> None:
    """Make a member of a class in a notebook one of the package's class."""
    for function in (member, getattr(member, "fget", None)):
        closure = getattr(function, "__closure__", None) or ()
        names = getattr(getattr(function, "__code__", None), "co_freevars", ())
        for variable, cell in zip(names, closure, strict=True):
            if variable == "__class__":  # what super() looks at
                cell.cell_contents = owner
    setattr(owner, name, member)


def members(node: ast.ClassDef) -> dict[str, str]:
    """Return the parts of a class: its methods by name, the rest by text."""
    node = ast.parse(plain(node)).body[0]
    parts = {}
    for child in node.body:
        text = ast.unparse(child)
        if isinstance(child, Definition):
            parts[child.name] = text
        elif not isinstance(child, ast.Pass):
            parts[f"the line `{text}`"] = text
    node.body = [ast.Pass()]
    head = " ".join(ast.unparse(node).splitlines()[:-1])
    return {f"the line `{head}`": head, **parts}


def _package() -> list[ModuleType]:
    """Return the package's modules and the notebook's."""
    return [
        module
        for name, module in list(sys.modules.items())
        if module is not None
        and (name.split(".")[0] == "detr_lite" or name == "__main__")
    ]


def _say(name, module, same, changed=(), left_out=()) -> None:
    if same:
        rest = f", without {', '.join(left_out)}" if left_out else ""
        _show(_Mark(f"{name}: the same as in {module}{rest}"))
        return
    rest = f" in {', '.join(changed)}" if changed else ""
    print(f"{name}: differs from {module}{rest}; yours is used now")


class _Mark:
    """Says that a cell is the package's code: small, where HTML is shown."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return (
            f'<span class="same-as-package" title="{escape(self.text)}">'
            "\N{CHECK MARK} the package's code</span>"
        )


def _show(mark: _Mark) -> None:
    """Show a mark in a notebook, or print it."""
    if _shell() is None:
        print(mark)
        return
    from IPython.display import display

    display(mark)


_originals: dict[tuple[str, str], object] = {}
