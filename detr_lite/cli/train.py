"""detr-lite train."""

import os
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from detr_lite.cli.arguments import add_as_stored, add_device
from detr_lite.errors import ConfigError

ABOUT = "train a model: boxes, freeze, masks"
EXAMPLE = "detr-lite train --preset quick --out runs/quick"
SEVERAL = (
    "One CPU or one GPU needs nothing more. With 8 GPUs: torchrun "
    "--nproc-per-node 8 -m detr_lite train ARGUMENTS. With 8 GPUs in each of "
    "4 machines, on each of them: torchrun --nnodes 4 --nproc-per-node 8 "
    "--rdzv-backend c10d --rdzv-endpoint HOST:29500 -m detr_lite train "
    "ARGUMENTS, where HOST is one of them and --out a folder that all of "
    "them see. The images of a step are shared among the processes; a "
    "resumed run needs as many as before."
)


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--preset",
        default="quick",
        metavar="quick|full|coco|finetune",
        help="quick (default) and full: the scenes' model; coco: the "
        "paper's; finetune: go on from weights of --from",
    )
    what.add_argument(
        "--recipe",
        metavar="FILE",
        help="do a run again: the recipe.json of its folder",
    )
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="a COCO panoptic folder (default: the scenes)",
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="what of it to train on, where it is of COCO's own layout with "
        "several (default: train2017 or train)",
    )
    parser.add_argument(
        "--validation",
        metavar="DIR",
        help="a COCO panoptic folder for validation (default: --data)",
    )
    parser.add_argument(
        "--validation-split",
        metavar="NAME",
        help="what of that (default: val2017 or val; without any, a tenth of "
        "the images to train on, drawn once for all)",
    )
    add_as_stored(parser)
    parser.add_argument(
        "--from",
        dest="start",
        metavar="NAME|FILE",
        help="panoptic weights to go on from, with preset finetune; classes "
        "that the data have too, by category id, are kept",
    )
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="steps of all phases together (default: the preset's)",
    )
    parser.add_argument(
        "--lr",
        type=float,
        metavar="RATE",
        help="learning rate of phase boxes; the other phases' rates keep "
        "their ratio to it (default: the preset's)",
    )
    parser.add_argument(
        "--joint",
        action="store_true",
        help="train boxes and masks at once, without freezing",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in DIR where it stopped",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="S",
        help="(default: 0, or the recipe's)",
    )
    parser.add_argument(
        "--exact-padding",
        action="store_true",
        help="keep the sizes of a step's images apart, so that none sees "
        "padding; by default they are padded, as in the original",
    )
    engine = parser.add_argument_group(
        "speed and memory",
        "The losses of a step stay the same. With --recipe, what is not given "
        "here is as in its run.",
    )
    add_device(engine, "tf32")
    parser.set_defaults(precision=None)  # that is, as the recipe's run had it
    engine.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="compute a step's images in N parts, for less memory "
        "(default: 1)",
    )
    engine.add_argument(
        "--checkpoint-masks",
        action="store_true",
        help="compute the mask head twice, for less memory",
    )
    engine.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that load images, for each GPU (default: 0)",
    )
    engine.add_argument(
        "--deterministic",
        action="store_true",
        help="a GPU gives the same weights every time, more slowly; a CPU "
        "does so anyway",
    )
    parser.add_argument_group("several GPUs", SEVERAL)


def run(args) -> None:
    """Train, and print the metrics of the result."""
    from detr_lite.cli.evaluate import print_evaluation
    from detr_lite.devices import device_named
    from detr_lite.training.estimate import estimate, objections
    from detr_lite.training.recipes import describe
    from detr_lite.training.runs import check_no_run
    from detr_lite.training.train import ProgressBar, train

    _check_data(args)
    # Before thousands of scenes are drawn.
    device = device_named(args.device)
    if not args.resume:
        check_no_run(Path(args.out))
    file = _file_of_a_run(args) if args.recipe else None
    engine = _engine(args, file)
    recipe, start, *splits = _recipe_and_data(args, file)
    begin = partial(
        train,
        recipe,
        *splits,
        out=args.out,
        resume=args.resume,
        engine=engine,
        start=start,
        device=args.device,
    )
    if os.environ.get("RANK", "0") != "0":
        begin()
        return  # what is to be said, the first process says
    what = f"Recipe {args.recipe}" if args.recipe else f"Preset {args.preset}"
    print(f"{what}; the result goes to {args.out}.")
    if start is not None and start.load_report:
        print(start.load_report)
    print("\n".join(describe(recipe, len(splits[0]))))
    for sentence in objections(recipe, splits[0]):
        print(sentence, file=sys.stderr)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if not args.resume:
        takes = estimate(recipe, splits[0], device, engine, processes)
        print(f"On {device}, {takes}.")
    try:
        with ProgressBar(recipe) as bar:
            result = begin(watch=bar.watch)
    except KeyboardInterrupt as stop:
        if not Path(args.out, "checkpoint.pt").exists():
            raise
        how = "to go on, give the same command with --resume"
        raise KeyboardInterrupt(how) from stop
    print_evaluation(result.evaluation)
    print(f"The model is {result.folder / 'model.safetensors'}.")


def _file_of_a_run(args):
    """Return what the recipe.json of a run says that is done again."""
    from detr_lite.training.recipe_json import read_recipe

    changes = {
        "--joint": args.joint,
        "--exact-padding": args.exact_padding,
        "--steps": args.steps is not None,
        "--lr": args.lr is not None,
    }
    if any(changes.values()):
        named = ", ".join(name for name, given in changes.items() if given)
        raise ConfigError(
            f"--recipe does a run again as it was; leave {named} out, or "
            "change the file."
        )
    return read_recipe(args.recipe)


def _engine(args, file):
    """Return how to compute: as is asked for, or as the file's run did."""
    from detr_lite.training.recipes import Engine

    engine = Engine() if file is None else file.engine
    asked = {field.name: getattr(args, field.name) for field in fields(engine)}
    given = {
        k: v for k, v in asked.items() if v is not None and v is not False
    }
    return replace(engine, **given)


def _recipe_and_data(args, file):
    """Return the recipe, the model to start from, and both splits."""
    from detr_lite.training.recipes import (
        finetune,
        joint,
        preset,
        scaled_rates,
        with_steps,
    )

    if file is not None:
        return _again(args, file)
    seed = 0 if args.seed is None else args.seed
    recipe, start = preset(args.preset, seed=seed), None
    if (args.preset == "finetune") != (args.start is not None):
        raise ConfigError(
            "The preset finetune and --from go together: name the weights to "
            "go on from, or another preset."
        )
    splits = _splits(args)
    categories = splits[0].categories
    if args.start is not None:
        start = _start(args.start, categories, seed)
        recipe = finetune(start.config, seed=seed)
    elif args.data:
        config = replace(recipe.model, num_classes=len(categories))
        recipe = replace(recipe, model=config)
    if args.exact_padding:
        recipe = replace(recipe, exact_padding=True)
    if args.joint:
        recipe = joint(recipe)
    if args.steps is not None:
        recipe = with_steps(recipe, args.steps)
    if args.lr is not None:
        recipe = scaled_rates(recipe, args.lr)
    return recipe, start, *splits


def _again(args, file):
    """Return what _recipe_and_data does, of a run that is done again."""
    from detr_lite.data.scenes import SceneSplit
    from detr_lite.data.subsets import fingerprint
    from detr_lite.training.recipe_json import weights_hash

    recipe, wanted = file.recipe, [*file.data.values()]
    if args.seed is not None:
        recipe = replace(recipe, seed=args.seed)
    if args.data:
        splits = _splits(args)
    elif all("scenes" in data for data in wanted):
        scenes = [data["scenes"] for data in wanted]
        splits = tuple(SceneSplit(s["seed"], s["count"]) for s in scenes)
    else:
        raise ConfigError(
            f"{args.recipe} is of a run on data of its own; name their "
            "folder with --data."
        )
    name = args.start or file.start
    start = name and _start(name, splits[0].categories, recipe.seed)
    start = start or None
    if start is None and file.start_weights is not None:
        raise ConfigError(
            f"{args.recipe} is of a run that went on from weights without a "
            "name; name a file of them with --from."
        )
    # Of another seed, what the weights' file lacks is other, too.
    known = file.start_weights if recipe.seed == file.recipe.seed else None
    now = [fingerprint(split) for split in splits]
    others = {
        "data": now != wanted,
        "weights to go on from": known and weights_hash(start) != known,
    }
    for what, differ in others.items():
        if differ:
            print(
                f"These are other {what} than those of {args.recipe}; so the "
                "result will be another one.",
                file=sys.stderr,
            )
    if file.steps_changed:
        print(
            f"The run of {args.recipe} was resumed with another number of "
            "steps; so the result will be another one.",
            file=sys.stderr,
        )
    return recipe, start, *splits


def _check_data(args) -> None:
    """Refuse options of a folder to train on where there is none."""
    options = ("split", "validation", "validation_split", "as_stored")
    given = [f"--{o.replace('_', '-')}" for o in options if vars(args)[o]]
    if given and not args.data:
        raise ConfigError(
            "Name the folder to train on with --data, or leave "
            f"{', '.join(given)} out."
        )


def _splits(args):
    """Return what to train on, and what to measure on."""
    from detr_lite.training.train import scenes_data

    if not args.data:
        if args.preset in ("coco", "finetune"):
            raise ConfigError(
                "Name the folder to train on with --data; only the presets "
                "quick and full have scenes for it."
            )
        return scenes_data(args.preset)
    from detr_lite.data.coco.dataset import CocoPanoptic
    from detr_lite.data.coco.format import splits_in
    from detr_lite.data.subsets import split_off

    def name_of(folder, given, usual):
        ours = Path(folder, "panoptic.json").exists()
        there = [] if ours else splits_in(folder)
        return given or next((n for n in usual if n in there), None)

    def opened(folder, name):
        return CocoPanoptic.from_folder(folder, name, not args.as_stored)

    given, held = args.validation_split, args.validation or args.data
    name = name_of(args.data, args.split, ("train2017", "train"))
    other = name_of(held, given, ("val2017", "val"))
    data = opened(args.data, name)
    if args.validation or given or (name and other and other != name):
        return data, opened(held, other)
    return split_off(data, 0.1)


def _start(name: str, categories, seed: int) -> Any:
    """Return the weights to go on from, for the classes of the data."""
    import torch

    from detr_lite.inference.loading import load_model

    torch.manual_seed(seed)  # what the file lacks starts at random
    return load_model(name, "cpu", masks=True, categories=categories)
