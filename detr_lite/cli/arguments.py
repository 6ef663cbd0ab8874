"""Arguments that several commands have."""


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
