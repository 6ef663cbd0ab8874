"""detr-lite predict."""

import sys
from functools import partial
from pathlib import Path

from detr_lite.cli.arguments import (
    add_as_stored,
    add_batch,
    add_model,
    bar,
    model_of,
)
from detr_lite.errors import ConfigError, ImageError

ABOUT = "segment images"
EXAMPLE = "detr-lite predict data/scenes/images --out found"


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("inputs", nargs="+", metavar="FILE_OR_DIR")
    add_model(parser)
    add_batch(parser)
    add_as_stored(parser)
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="how sure a query must be, 0 to 1 (default: the model's own)",
    )


def run(args) -> int:
    """Segment each image; return 1 if some could not be read.

    Those are told at once, and the results of the others are written all
    together or, after another error, not at all.  A model without masks
    gives images with boxes alone.
    """
    from detr_lite.data.coco.categories import used
    from detr_lite.data.images import read_image
    from detr_lite.inference.prediction_folder import write_predictions

    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ConfigError(f"--threshold must be 0 to 1, not {args.threshold}.")
    paths = _paths(args.inputs)
    model = model_of(args)
    if args.mode and not model.config.masks:
        raise ConfigError(
            f"{args.model} makes no masks that could be merged; leave --mode "
            "out."
        )
    mode = {"mode": args.mode} if args.mode else {}
    failed = []

    def failure(number: int, error: ImageError) -> None:
        failed.append(paths[number])
        if len(failed) == len(paths):  # nothing is left to write
            raise error
        shown.write(f"detr-lite: {error}", file=sys.stderr)

    # `with` takes the bar away before an error is printed where it stood.
    with bar("predict")(paths) as shown:
        write_predictions(
            (
                (number + 1, paths[number], result)
                for number, result in model.predict_each(
                    shown,
                    args.batch,
                    read=partial(read_image, upright=not args.as_stored),
                    failure=failure,
                    threshold=args.threshold,
                    **mode,
                )
            ),
            used(model.categories),
            Path(args.out),
            model.config.masks,
        )
    done = len(paths) - len(failed)
    count = f"{done} image{'s' * (done > 1)}"
    if model.config.masks:
        print(f"{count} segmented; the results are in {args.out}.")
    else:
        print(
            f"{count} with boxes in {args.out}; "
            f"{args.model} makes no masks, so there are no panoptic files."
        )
    if failed:
        print(f"{len(failed)} could not be read; see above.", file=sys.stderr)
    return int(bool(failed))


def _paths(inputs: list[str]) -> list[Path]:
    """Return the images to segment: of each name once."""
    from detr_lite.data.images import images_in

    stems: dict[str, Path] = {}
    for path in (p for name in inputs for p in images_in(Path(name))):
        if not path.exists():
            raise ImageError(f"There is no file {path}; check the name.")
        other = stems.setdefault(path.stem, path)
        if other.resolve() != path.resolve():
            raise ImageError(
                f"{other} and {path} would both be written as "
                f"{path.stem}.png; rename one."
            )
    return [*stems.values()]
