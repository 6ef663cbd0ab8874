"""detr-lite evaluate."""

from contextlib import ExitStack
from pathlib import Path

from detr_lite.cli.arguments import (
    add_as_stored,
    add_batch,
    add_model,
    bar,
    model_of,
)
from detr_lite.errors import ConfigError

ABOUT = "measure box AP and panoptic quality"
EXAMPLE = "detr-lite evaluate --model scenes --data data/scenes"


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    add_model(parser)
    add_batch(parser)
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="a COCO panoptic folder (default: the 512 validation scenes)",
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="like val2017, where a folder of COCO's own layout has several",
    )
    add_as_stored(parser)
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        help="only N of the images, the same ones each time",
    )
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument(
        "--save",
        metavar="DIR",
        help="write the results there, as COCO takes submissions",
    )


def run(args) -> None:
    """Evaluate a model, print its metrics, and write them if asked."""
    from detr_lite.data.coco.writer import SubmissionWriter
    from detr_lite.data.scenes import (
        VALIDATION_COUNT,
        VALIDATION_SEED,
        SceneSplit,
    )
    from detr_lite.files.output import check_file, staged, staged_file
    from detr_lite.inference.evaluation import evaluate, is_evaluation, to_json

    if args.json:
        check_file(Path(args.json), is_evaluation)
    if not args.data and (args.split or args.as_stored):
        raise ConfigError(
            "--split and --as-stored are of a folder; name it with --data."
        )
    model = model_of(args)
    if args.save and not model.config.masks:
        raise ConfigError(
            "The model finds boxes and makes no masks; leave --save out."
        )
    if args.data:
        from detr_lite.data.coco.dataset import CocoPanoptic

        split = CocoPanoptic.from_folder(
            args.data, args.split, upright=not args.as_stored
        )
        if args.count is not None:
            split = split.subset(args.count)
    else:
        count = VALIDATION_COUNT if args.count is None else args.count
        if count < 1:
            raise ConfigError(f"--count must be at least 1, not {count}.")
        split = SceneSplit(VALIDATION_SEED, count)
    with ExitStack() as stack:
        writer = None
        if args.save:
            stage = stack.enter_context(staged(args.save, "evaluate"))
            writer = SubmissionWriter(
                stage, split.categories, model.categories
            )
        # After --save, for the file may be in that folder.
        part = args.json and stack.enter_context(staged_file(args.json))
        result = evaluate(
            model,
            split,
            args.batch,
            mode=args.mode or "union",
            results=writer and writer.add,
            masks=model.config.masks,
            progress=bar("evaluate"),
        )
        print_evaluation(result)
        if writer:
            writer.close()
        if part:
            part.write_text(to_json(result))
    if args.json:
        print(f"The metrics are in {args.json}.")
    if args.save:
        print(f"The results are in {args.save}.")


def print_evaluation(result) -> None:
    """Print the metrics, and a row for each class."""
    print(f"{result.images} images")
    for name, value in result.metrics.items():
        print(f"  {name:10} {value:.3f}")
    rows = list(result.per_class.items())
    columns = list(rows[0][1])
    print("  " + " ".join([f"{'class':10}", *(f"{c:>6}" for c in columns)]))
    for name, row in rows:
        cells = (
            f"{v:6d}" if isinstance(v, int) else f"{v:6.3f}"
            for v in row.values()
        )
        print("  " + " ".join([f"{name:10}", *cells]))
