"""The command line's entry: finds the command, runs it, says what failed.

A command is a module of this folder, listed in COMMANDS.  It has ABOUT (what
it does, in a few words), EXAMPLE (a line that runs), add_arguments(parser)
and run(args), which may return the exit code.  Whatever takes long to import
is imported in `run`, so that --help is quick.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

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
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        # What a terminal cannot show, such as the names of some classes.
        with suppress(AttributeError):  # in a notebook it is no file
            getattr(sys, name).reconfigure(errors="backslashreplace")
    try:
        with _terminated_as_interrupted():
            args = _parser().parse_args(arguments)
            code = args.run(args) or 0
            sys.stdout.flush()
            return code
    except DetrLiteError as error:
        for sentence in getattr(error, "problems", [error]):
            print(f"detr-lite: {sentence}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        how = f"; {stop}" if stop.args else ""
        print(f"detr-lite: stopped{how}.", file=sys.stderr)
        return 130
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # as `head` causes it
            print(
                f"detr-lite: something cannot be read or written ({error}); "
                "fix that and run the same command again.",
                file=sys.stderr,
            )
        # What is still to be printed would fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: nothing half-written."""
    try:
        old = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def _text(value: str) -> str:
    """Return the value of an option that is a text; refuse an empty one."""
    if not value:  # such as a shell makes of a variable that is not set
        raise argparse.ArgumentTypeError(
            "its value is empty; name one, or leave the option out"
        )
    value = os.path.expanduser(value)  # shells leave --out=~/a as it is
    if value.startswith("~"):
        raise argparse.ArgumentTypeError(
            f"{value} begins with a home that there is not; write the path out"
        )
    return value


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
        command.register("type", None, _text)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
