"""The command line: `detr-lite COMMAND`, one module in commands/ each."""

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

from detr_lite import commands
from detr_lite.errors import DetrLiteError

# In the order of a user's way; `detr-lite --help` lists them so.
ORDER = (
    "predict",
    "evaluate",
    "train",
    "models",
    "download",
    "check",
    "convert",
    "scenes",
    "export",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    args = _parser().parse_args(arguments)
    try:
        code = args.run(args) or 0
        sys.stdout.flush()
        return code
    except DetrLiteError as error:
        print(f"detr-lite: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("detr-lite: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads, like `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="detr-lite",
        description="DETR panoptic segmentation: train, evaluate, predict.",
        epilog="example: detr-lite predict data/scenes/images --out found",
    )
    added = parser.add_subparsers(
        required=True, metavar="COMMAND", title="commands"
    )
    names = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    for name in sorted(names, key=_place):
        module = importlib.import_module(f"detr_lite.commands.{name}")
        command = added.add_parser(
            name,
            help=module.ABOUT,
            description=module.ABOUT[0].upper() + module.ABOUT[1:] + ".",
            epilog=f"example: {module.EXAMPLE}",
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def _place(name: str) -> tuple[int, str]:
    """Return where a command is listed; unknown ones last, by name."""
    return ORDER.index(name) if name in ORDER else len(ORDER), name


if __name__ == "__main__":
    sys.exit(main())
