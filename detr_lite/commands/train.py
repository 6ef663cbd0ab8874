"""detr-lite train."""

from dataclasses import replace

ABOUT = "train a model: boxes, freeze, masks"
EXAMPLE = "detr-lite train --preset quick --out runs/quick"


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--preset", default="quick", metavar="quick|full")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="a COCO panoptic folder (default: the scenes); its last tenth "
        "is for validation",
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
    parser.add_argument("--seed", type=int, default=0, metavar="S")


def run(args) -> None:
    """Train, and print the figures of the result."""
    from detr_lite.commands.evaluate import print_evaluation
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
    print_evaluation(result.evaluation)
    print(f"The model is {result.folder / 'model.safetensors'}.")
