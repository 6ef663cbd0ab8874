"""detr-lite scenes."""

from detr_lite.errors import ConfigError

ABOUT = "write synthetic scenes as a COCO panoptic data set"
EXAMPLE = "detr-lite scenes --out my_scenes --count 64 --seed 7"


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--count", type=int, default=64, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")


def run(args) -> None:
    """Write the scenes into a new folder."""
    from detr_lite.data.coco.writer import write_split
    from detr_lite.data.scenes import SceneSplit
    from detr_lite.files.output import staged

    if args.count < 1:
        raise ConfigError(f"--count must be at least 1, not {args.count}.")
    split = SceneSplit(args.seed, args.count, cache=False)
    with staged(args.out, "scenes", new=True) as stage:
        write_split(split, stage)
    print(f"{args.count} scenes of seed {args.seed} are in {args.out}.")
