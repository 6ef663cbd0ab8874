"""detr-lite predict."""

from pathlib import Path

from detr_lite.cli.arguments import add_batch, add_model, check_batch
from detr_lite.errors import ConfigError, ImageError

ABOUT = "segment pictures"
EXAMPLE = "detr-lite predict data/scenes/images --out found"


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("inputs", nargs="+", metavar="FILE_OR_DIR")
    add_model(parser)
    add_batch(parser)
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="how sure a query must be, 0 to 1 (default: the model's own)",
    )
    parser.add_argument(
        "--mode",
        choices=("union", "original"),
        help="how masks of one stuff are merged: as the paper says (union, "
        "the default), or as the original's code does it",
    )


def run(args) -> None:
    """Segment each picture, and write all results or none.

    A model without masks gives pictures with boxes alone.
    """
    from tqdm import tqdm

    from detr_lite.data.coco.categories import used
    from detr_lite.data.images import pictures_in
    from detr_lite.inference.loading import load_model
    from detr_lite.inference.options import Speed
    from detr_lite.inference.writing import write_predictions

    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ConfigError(f"--threshold must be 0 to 1, not {args.threshold}.")
    paths = [p for name in args.inputs for p in pictures_in(Path(name))]
    stems: dict[str, Path] = {}
    for path in paths:
        other = stems.setdefault(path.stem, path)
        if other != path:
            raise ImageError(
                f"{other} and {path} would both be written as "
                f"{path.stem}.png; rename one."
            )
    check_batch(args)
    model = load_model(
        args.model,
        args.device,
        exact_padding=False if args.padded else None,
        speed=Speed(args.precision),
    )
    if args.mode and not model.config.masks:
        raise ConfigError(
            f"{args.model} makes no masks that could be merged; leave --mode "
            "out."
        )
    mode = {"mode": args.mode} if args.mode else {}
    # `with` takes the bar away before an error is printed where it stood.
    with tqdm(paths, "predict", leave=False, disable=None) as bar:
        found = model.predict_each(
            bar, args.batch, threshold=args.threshold, **mode
        )
        predictions = ((n + 1, paths[n], result) for n, result in found)
        write_predictions(
            predictions,
            used(model.categories),
            Path(args.out),
            model.config.masks,
        )
    count = f"{len(paths)} picture{'s' * (len(paths) > 1)}"
    if model.config.masks:
        print(f"{count} segmented; the results are in {args.out}.")
    else:
        print(
            f"{count} with boxes in {args.out}; "
            f"{args.model} makes no masks, so there are no panoptic files."
        )
