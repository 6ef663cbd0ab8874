"""What several commands share: arguments, and what becomes of them."""

from functools import partial

from detr_lite.errors import ConfigError


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


def add_batch(parser) -> None:
    """Add the arguments of a command that works on many images."""
    parser.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="images at a time (default: what the device is good for)",
    )
    parser.add_argument(
        "--padded",
        action="store_true",
        help="let images of several sizes share a batch, padded, as the "
        "original does; then they change each other's results a little",
    )
    parser.add_argument(
        "--mode",
        choices=("union", "original"),
        help="how masks of one stuff are merged: as the paper says (union, "
        "the default), or as the original's code does it",
    )


def model_of(args):
    """Return the model that add_model's and add_batch's arguments name."""
    from detr_lite.inference.loading import load_model
    from detr_lite.inference.speed import Speed

    if args.batch is not None and args.batch < 1:
        raise ConfigError(f"--batch must be at least 1, not {args.batch}.")
    return load_model(
        args.model,
        args.device,
        exact_padding=False if args.padded else None,
        speed=Speed(args.precision),
    )


def bar(what: str):
    """Return what shows the progress through items, while it lasts."""
    from tqdm import tqdm

    return partial(tqdm, desc=what, leave=False, disable=None)


def add_device(parser, precision: str = "float32") -> None:
    """Add the arguments that say where and how exactly to compute."""
    parser.add_argument(
        "--device",
        metavar="cpu|cuda|mps",
        help="where to compute (default: a GPU if there is one)",
    )
    parser.add_argument(
        "--precision",
        default=precision,
        metavar="float32|tf32|bf16|fp16",
        help="tf32, bf16 and fp16 are fast on processors made for them, and "
        f"not exact (default: {precision})",
    )


def add_as_stored(parser) -> None:
    """Add the argument that leaves images unturned."""
    parser.add_argument(
        "--as-stored",
        action="store_true",
        help="don't turn images as their orientation tags say, as the "
        "original doesn't: for annotations that were made so",
    )
