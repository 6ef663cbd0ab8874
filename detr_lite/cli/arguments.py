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
    add_device(parser)


def add_device(parser) -> None:
    """Add the arguments that say where and how exactly to compute."""
    parser.add_argument(
        "--device",
        metavar="cpu|cuda|mps",
        help="where to compute (default: a GPU if there is one)",
    )
    parser.add_argument(
        "--precision",
        default="float32",
        metavar="float32|bf16|fp16",
        help="bf16 and fp16 are fast on processors made for them, and not "
        "exact (default: float32)",
    )


def add_as_stored(parser) -> None:
    """Add the argument that leaves pictures unturned."""
    parser.add_argument(
        "--as-stored",
        action="store_true",
        help="don't turn pictures as their orientation tags say, as the "
        "original doesn't: for annotations that were made so",
    )
