"""Build cells: compared with the package, live when changed, and complete.

What the five chapters build is built once.  Put together from the notebooks
alone, it is the package's code, with the package's names around it.
"""

import ast
import builtins
import importlib
import linecache
import symtable
import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest
import torch
import weave
from support import ROOT

from detr_lite.errors import ConfigError
from detr_lite.teaching.book import build, members, plain, start
from detr_lite.transformer import Encoder

PACKAGE = ROOT / "detr_lite"
WHOLE = {  # the modules of which every name is built, by chapter
    1: ("backbone", "position"),
    2: ("transformer", "detr", "boxes", "matching"),
    3: ("attention_maps",),
    4: ("mask_head", "panoptic_detr"),
    5: ("losses", "panoptic", "panoptic_quality"),
}
PARTS = {  # and what is built of others
    "targets": {"boxes_from_id_map"},
}
MODULES = [name for names in WHOLE.values() for name in names]


def run_cell(source: str, **names) -> dict:
    """Run a cell as a notebook would; return its names."""
    file = f"<cell {hash(source)}>"
    lines = source.splitlines(keepends=True)
    linecache.cache[file] = (len(source), None, lines, file)
    space = {"build": build, "torch": torch, "nn": torch.nn, **names}
    exec(compile(source, file, "exec"), space)
    return space


def cell_of(path: str, left_out=()) -> str:
    """Return the build cell of something in the package."""
    return weave.build_cell(f"detr_lite.{path}", list(left_out))


def names_of(module: str) -> dict:
    """Return what a notebook would have imported for a module's cells."""
    return dict(vars(sys.modules[f"detr_lite.{module}"]))


def test_an_equal_function_is_the_packages_own(capsys):
    from detr_lite import detr

    own = detr.found
    space = run_cell(cell_of("detr.found"), **names_of("detr"))
    assert space["found"] is own is detr.found
    assert capsys.readouterr().out == (
        "found: the same as in detr_lite.detr\n"
    )


def test_a_changed_function_is_used_everywhere_until_it_is_restored(capsys):
    from detr_lite import detr, panoptic_detr

    own, cell = detr.found, cell_of("detr.found")
    changed = cell.replace("scores > threshold", "scores < threshold")
    space = run_cell(changed, **names_of("detr"))
    assert "differs from detr_lite.detr; yours" in capsys.readouterr().out
    assert detr.found is panoptic_detr.found is space["found"] is not own
    again = cell.replace("scores > threshold", "scores == threshold")
    space = run_cell(again, **names_of("detr"))
    assert panoptic_detr.found is space["found"]
    run_cell(cell, **names_of("detr"))
    assert detr.found is panoptic_detr.found is own


def test_a_changed_method_reaches_models_that_are_there(capsys):
    encoder, x = Encoder([]), torch.ones(1, 2, 4)
    cell = cell_of("transformer.Encoder")
    members = dict(vars(Encoder))
    changed = cell.replace("return x", "return x + self.more()")
    changed += "\n\n    def more(self):\n        return 1\n"
    space = run_cell(changed, **names_of("transformer"))
    assert "in forward, more; yours is used now" in capsys.readouterr().out
    assert space["Encoder"] is Encoder
    assert encoder(x, None, None).equal(x + 1)
    assert Encoder([])(x, None, None).equal(x + 1)  # its __init__ is the old
    run_cell(cell, **names_of("transformer"))
    assert encoder(x, None, None).equal(x)
    assert dict(vars(Encoder)) == members


def test_a_changed_init_may_call_super(capsys):
    cell = cell_of("transformer.Encoder")
    changed = cell.replace(
        "super().__init__()", "super().__init__()\n        self.mine = 3"
    )
    run_cell(changed, **names_of("transformer"))
    assert Encoder([]).mine == 3
    assert isinstance(Encoder([]), Encoder)
    run_cell(cell, **names_of("transformer"))
    assert not hasattr(Encoder([]), "mine")


def test_a_class_may_leave_methods_to_other_cells(capsys):
    names, own = names_of("transformer"), Encoder.forward
    cell = cell_of("transformer.Encoder", ["forward"])
    assert "def __init__" in cell
    assert "def forward" not in cell
    run_cell(cell, **names)
    assert capsys.readouterr().out == (
        "Encoder: the same as in detr_lite.transformer, without forward\n"
    )
    part = cell_of("transformer.Encoder.forward")
    run_cell(part.replace("return x", "return -x"), **names)
    assert (
        "forward: differs from detr_lite.transformer; yours"
        in capsys.readouterr().out
    )
    assert Encoder.forward is not own
    # The class's own cell leaves the method of the other cell alone.
    run_cell(cell, **names)
    assert Encoder.forward is not own
    run_cell(part, **names)
    assert Encoder.forward is own


@pytest.mark.parametrize(
    ("path", "old", "new", "words"),
    [
        ("backbone.Pyramid", "res5: Tensor", "res5: int", "res5: int"),
        ("detr.DetrOutput", "pyramid: Pyramid", "levels: Pyramid", "levels"),
        ("detr.DetrOutput", "frozen=True", "frozen=False", "frozen=False"),
        ("transformer.Encoder", "nn.Module", "nn.Sequential", "Sequential"),
    ],
)
def test_a_changed_line_of_a_class_is_noticed(capsys, path, old, new, words):
    module, name = path.split(".")
    names = names_of(module)
    owner, cell = names[name], cell_of(path)
    members = dict(vars(owner))
    assert old in cell
    run_cell(cell.replace(old, new, 1), **names)
    assert words in capsys.readouterr().out
    run_cell(cell, **names)
    assert "the same as in" in capsys.readouterr().out
    assert {
        k: v for k, v in vars(owner).items() if v is not members.get(k)
    } == {}


def test_docstrings_and_comments_do_not_count(capsys):
    cell = cell_of("boxes.cxcywh_to_xyxy")
    changed = cell.replace('"""Return', '"""My', 1) + "  # mine"
    run_cell(changed, **names_of("boxes"))
    assert "the same as in" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["detr_lite.nothing", "detr_lite.detr.Dog"])
def test_an_unknown_place_is_refused(place):
    with pytest.raises(ConfigError, match=f"The package has no {place}"):
        run_cell(f'@build("{place}")\ndef f():\n    pass\n')


def test_an_unknown_name_is_refused():
    cell = '@build("detr_lite.detr")\ndef fund(x):\n    return x\n'
    with pytest.raises(ConfigError, match="no fund; a build cell keeps"):
        run_cell(cell)


def test_start_says_what_it_runs_on(capsys):
    threads = torch.get_num_threads()
    start("9 seconds", trains=True)
    out = capsys.readouterr().out
    assert ("9" in out) != torch.cuda.is_available()
    assert torch.get_num_threads() == threads
    start("9 seconds")
    assert "9 seconds." in capsys.readouterr().out
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    assert torch.rand(1).item() == pytest.approx(0.4963, abs=1e-4)
    torch.set_printoptions(profile="default")


# What the notebooks build.


class Notebook:
    """The build cells of a notebook, and what it imports."""

    def __init__(self, path: Path):
        self.imports: dict[str, str] = {}  # name -> the statement for it
        self.built: list[tuple[str, ast.AST]] = []  # place, definition
        self.constants: list[tuple[str, ast.Assign]] = []  # module, node
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                self._read(ast.parse(_plain_python(cell.source)))

    def _read(self, cell: ast.Module) -> None:
        places = []
        for node in cell.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    one = (
                        ast.Import([alias])
                        if isinstance(node, ast.Import)
                        else ast.ImportFrom(node.module, [alias], 0)
                    )
                    name = (alias.asname or alias.name).split(".")[0]
                    self.imports[name] = ast.unparse(one)
            for decorator in getattr(node, "decorator_list", ()):
                if ast.unparse(decorator).startswith("build("):
                    place = decorator.args[0].value
                    # A cell that was changed on purpose builds nothing.
                    if agrees(node, _in_package(place, node.name)):
                        self.built.append((place, node))
                        places.append(place)
        if places:
            module = places[0].split(".")[1]
            self.constants += [
                (module, n) for n in cell.body if isinstance(n, ast.Assign)
            ]


def agrees(mine: ast.AST, theirs: ast.AST) -> bool:
    """Return whether a cell has what the package has, or a part of it."""
    if not isinstance(theirs, ast.ClassDef):
        return plain(mine) == plain(theirs)
    return members(mine).items() <= members(theirs).items()


def _plain_python(source: str) -> str:
    lines = source.splitlines()
    return "\n".join("" if x[:1] in ("%", "!") else x for x in lines)


def _in_package(place: str, name: str) -> ast.AST:
    """Return a definition of the package, cut to what the cell can show."""
    _, module, *owner = place.split(".")
    node = ast.parse((PACKAGE / f"{module}.py").read_text())
    for part in (*owner, name):
        node = next(n for n in node.body if getattr(n, "name", "") == part)
    return node


@cache
def notebooks() -> dict[int, Notebook]:
    found = {}
    for path in sorted((ROOT / "book").glob("0[1-5]_*.ipynb")):
        found[int(path.name[:2])] = Notebook(path)
    return found


def definitions(module: str) -> dict[str, ast.AST]:
    """Return what the notebooks build of a module, methods in their class."""
    place, found = f"detr_lite.{module}", {}
    for notebook in notebooks().values():
        for where, node in notebook.built:
            if where == place:
                found[node.name] = ast.parse(plain(node)).body[0]
        for where, node in notebook.built:
            if where.startswith(place + "."):
                method = ast.parse(plain(node)).body[0]
                owner = found[where.rpartition(".")[2]]
                names = [getattr(n, "name", None) for n in owner.body]
                if method.name not in names:
                    owner.body.append(method)
    return found


def unbound(code: str) -> list[str]:
    """Return the names that a module's code uses and does not bind."""
    table = symtable.symtable(code, "module", "exec")
    tables, used = [table], set()
    while tables:
        one = tables.pop()
        tables += one.get_children()
        used |= {
            symbol.get_name()
            for symbol in one.get_symbols()
            if symbol.is_global() or one is table
        }
    bound = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_assigned() or symbol.is_imported()
    }
    return sorted(used - bound - set(dir(builtins)))


def rebuilt(module: str) -> str:
    """Return a module put together from the notebooks' cells alone."""
    place, imports, elsewhere = f"detr_lite.{module}", {}, {}
    constants = {}
    for notebook in notebooks().values():
        for where, node in notebook.built:
            if where != place and where.count(".") == 1:
                elsewhere[node.name] = f"from {where} import {node.name}"
        for where, node in notebook.constants:
            if where == module:
                constants[ast.unparse(node)] = node
        if any(where.startswith(place) for where, _ in notebook.built):
            imports |= notebook.imports
    body = [*constants.values(), *definitions(module).values()]
    code = "\n\n".join(ast.unparse(node) for node in body)
    # What another module builds comes from there.
    lines = [elsewhere.get(n) or imports.get(n) for n in unbound(code)]
    return "\n".join([*filter(None, lines), "", code, ""])


def public(module: str) -> set[str]:
    """Return the names of a module that have no underscore."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {
        n.name
        for n in tree.body
        if isinstance(n, kinds) and not n.name.startswith("_")
    }


@pytest.mark.parametrize("module", [*MODULES, *PARTS])
def test_every_public_name_is_built_in_exactly_one_chapter(module):
    wanted = PARTS.get(module) or public(module)
    places = {name: [] for name in wanted}
    for number, notebook in notebooks().items():
        for name in {
            node.name
            for place, node in notebook.built
            if place == f"detr_lite.{module}"
        }:
            if not name.startswith("_") and name in places:
                places[name].append(number)
    assert {n: c for n, c in places.items() if len(c) != 1} == {}


def contents(source: str) -> set[tuple]:
    """Return the constants and definitions of a module, to compare."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            parts = members(node)
            # The order of fields counts, the order of methods does not.
            fields = [name for name in parts if not name.isidentifier()]
            found.add((node.name, *fields, *sorted(parts.values())))
        elif isinstance(node, ast.FunctionDef):
            found.add((node.name, plain(node)))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found.add((ast.unparse(node),))
    return found


@pytest.mark.parametrize("module", [*MODULES, *PARTS])
def test_a_rebuilt_module_has_the_packages_code(module):
    """All of it, a class in one cell or in several of the same chapter."""
    mine = contents(rebuilt(module))
    theirs = contents((PACKAGE / f"{module}.py").read_text())
    assert mine <= theirs
    assert module in PARTS or mine == theirs


@pytest.mark.parametrize("module", [*MODULES, *PARTS])
def test_a_rebuilt_modules_names_are_the_packages(module):
    """Equal code with equal names around it does the same."""
    code = rebuilt(module)
    assert unbound(code) == []
    mine = {"__name__": f"detr_lite.{module}"}
    exec(compile(code, module, "exec"), mine)
    theirs = vars(importlib.import_module(f"detr_lite.{module}"))
    imported = [
        (alias.asname or alias.name).split(".")[0]
        for node in ast.parse(code).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert imported
    assert [name for name in imported if mine[name] is not theirs[name]] == []
