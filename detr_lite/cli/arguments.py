"""The commands of the command line, one module each.

A module has ABOUT (what it does, in a few words), EXAMPLE (a line that
runs), add_arguments(parser) and run(args), which may return the exit code.
Whatever takes long to import is imported in `run`, so that --help is quick.
"""


def add_model(parser) -> None:
    """Add the arguments of a command that uses a model."""
    parser.add_argument(
        "--model",
        default="scenes",
        metavar="NAME|FILE",
        help="weights that `detr-lite models` lists, or a file of them "
        "(default: scenes)",
    )
    parser.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "bf16"),
        help="bf16 is fast on processors made for it, and not exact "
        "(default: float32)",
    )
