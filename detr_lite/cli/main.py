"""The command line's entry: finds the command, runs it, says what failed.

A command is a module of this folder, listed in COMMANDS.  It has ABOUT (what
it does, in a few words), EXAMPLE (a line that runs), add_arguments(parser)
and run(args), which may return the exit code.  Whatever takes long to import
is imported in `run`, so that --help is quick.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from detr_lite.errors import DetrLiteError

# In the order of a user's way; `detr-lite --help` lists them so.
COMMANDS = (
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
    for name in COMMANDS:
        module = importlib.import_module(f"detr_lite.cli.{name}")
        command = added.add_parser(
            name,
            help=module.ABOUT,
            description=module.ABOUT[0].upper() + module.ABOUT[1:] + ".",
            epilog=f"example: {module.EXAMPLE}",
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
