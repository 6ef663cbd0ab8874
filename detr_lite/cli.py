"""The command line: detr-lite scenes, train, evaluate, predict, models."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from detr_lite.errors import ConfigError, DetrLiteError, ImageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    args = _parser().parse_args(arguments)
    try:
        args.run(args)
    except DetrLiteError as error:
        print(f"detr-lite: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("detr-lite: stopped.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="detr-lite",
        description="DETR panoptic segmentation: train, evaluate, predict.",
        epilog="example: detr-lite predict data/scenes/images --out found",
    )
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", title="commands"
    )

    def command(
        name: str, run: Callable, about: str, example: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=f"example: {example}",
        )
        added.set_defaults(run=run)
        return added

    scenes = command(
        "scenes",
        _scenes,
        "write synthetic scenes as a COCO panoptic data set",
        "detr-lite scenes --out my_scenes --count 64 --seed 7",
    )
    scenes.add_argument("--out", required=True, metavar="DIR")
    scenes.add_argument("--count", type=int, default=64, metavar="N")
    scenes.add_argument("--seed", type=int, default=0, metavar="S")

    train = command(
        "train",
        _train,
        "train a model: boxes, freeze, masks",
        "detr-lite train --preset quick --out runs/quick",
    )
    train.add_argument("--preset", default="quick", metavar="quick|full")
    train.add_argument("--out", required=True, metavar="DIR")
    train.add_argument(
        "--data",
        metavar="DIR",
        help="a COCO panoptic folder (default: the scenes); its last tenth "
        "is for validation",
    )
    train.add_argument(
        "--joint",
        action="store_true",
        help="train boxes and masks at once, without freezing",
    )
    train.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in DIR where it stopped",
    )
    train.add_argument("--seed", type=int, default=0, metavar="S")

    evaluate = command(
        "evaluate",
        _evaluate,
        "measure box AP and panoptic quality",
        "detr-lite evaluate --model scenes --data data/scenes",
    )
    evaluate.add_argument("--model", default="scenes", metavar="scenes|FILE")
    evaluate.add_argument(
        "--data",
        metavar="DIR",
        help="a COCO panoptic folder (default: the 512 validation scenes)",
    )
    evaluate.add_argument("--json", metavar="FILE")

    predict = command(
        "predict",
        _predict,
        "segment pictures",
        "detr-lite predict data/scenes/images --out found",
    )
    predict.add_argument("inputs", nargs="+", metavar="FILE_OR_DIR")
    predict.add_argument("--model", default="scenes", metavar="scenes|FILE")
    predict.add_argument("--out", required=True, metavar="DIR")
    predict.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="how sure a query must be, 0 to 1 (default: the model's own)",
    )

    command(
        "models",
        _models,
        "list the weights that can be loaded",
        "detr-lite models",
    )
    return parser


def _scenes(args) -> None:
    from detr_lite.coco import write_split
    from detr_lite.output import staged
    from detr_lite.scenes import SceneSplit

    if args.count < 1:
        raise ConfigError(f"--count must be at least 1, not {args.count}.")
    split = SceneSplit(args.seed, args.count, cache=False)
    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not an empty folder; name a new one.")
    with staged(out) as stage:
        write_split(split, stage)
    print(f"{args.count} scenes of seed {args.seed} are in {out}.")


def _train(args) -> None:
    from detr_lite.models import SCENES_CONFIG
    from detr_lite.recipes import joint, preset
    from detr_lite.training import ProgressBar, scenes_data, train

    recipe = preset(args.preset, seed=args.seed)
    if args.joint:
        recipe = joint(recipe)
    print(
        f"Preset {args.preset}: "
        + ", ".join(f"{p.name} {p.steps} steps" for p in recipe.phases)
        + f"; the result goes to {args.out}."
    )
    if args.data:
        from dataclasses import replace

        from detr_lite.coco import CocoPanoptic
        from detr_lite.samples import split_off

        data = CocoPanoptic.from_folder(args.data)
        train_split, validation = split_off(data, 0.1)
        config = replace(SCENES_CONFIG, num_classes=len(data.categories))
        recipe = replace(recipe, model=config)
    else:
        train_split, validation = scenes_data(args.preset)
    with ProgressBar(recipe) as bar:
        result = train(
            recipe, train_split, validation, args.out, args.resume, bar.watch
        )
    _print_evaluation(result.evaluation)
    print(f"The model is {result.folder / 'model.safetensors'}.")


def _evaluate(args) -> None:
    from tqdm import tqdm

    from detr_lite.evaluation import evaluate, to_json
    from detr_lite.output import staged_file
    from detr_lite.scenes import VALIDATION_COUNT, VALIDATION_SEED, SceneSplit
    from detr_lite.weights import load_model

    model = load_model(args.model)
    if args.data:
        from detr_lite.coco import CocoPanoptic

        split = CocoPanoptic.from_folder(args.data)
    else:
        split = SceneSplit(VALIDATION_SEED, VALIDATION_COUNT)
    with ExitStack() as stack:
        part = args.json and stack.enter_context(staged_file(args.json))
        result = evaluate(
            model,
            split,
            progress=lambda batches: tqdm(
                batches, "evaluate", leave=False, disable=None
            ),
        )
        _print_evaluation(result)
        if part:
            part.write_text(to_json(result))
    if args.json:
        print(f"The figures are in {args.json}.")


def _print_evaluation(result) -> None:
    """Print the metrics, and a row for each class."""
    print(f"{result.images} pictures")
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


def _predict(args) -> None:
    from tqdm import tqdm

    from detr_lite.coco import write_predictions
    from detr_lite.images import pictures_in
    from detr_lite.weights import load_model

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
    model = load_model(args.model)
    # `with` takes the bar away before an error is printed where it stood.
    with tqdm(paths, "predict", leave=False, disable=None) as bar:
        predictions = (
            (path, model.predict(path, args.threshold)) for path in bar
        )
        write_predictions(predictions, model.categories, Path(args.out))
    print(f"{len(paths)} pictures are segmented in {args.out}.")


def _models(args) -> None:
    from detr_lite.weights import SOURCES, data_folder

    for source in SOURCES.values():
        print(f"{source.name:10} {source.about}")
        print(f"{'':10} from {data_folder() / source.file}")
        print(f"{'':10} license {source.license}")
    print("\nAny .safetensors file that `detr-lite train` wrote loads too.")


if __name__ == "__main__":
    sys.exit(main())
