"""detr-lite convert."""

ABOUT = "make a COCO panoptic data set of instances and semantic masks"
EXAMPLE = (
    "detr-lite convert --instances instances.json --semantic labels "
    "--images photos --classes classes.json --out my_data"
)


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--instances",
        required=True,
        metavar="FILE",
        help="COCO's instance JSON: the things; the smaller one is on top",
    )
    parser.add_argument(
        "--semantic",
        required=True,
        metavar="DIR",
        help="a label image <stem>.png for each picture, whose numbers are "
        "category ids: the stuff",
    )
    parser.add_argument("--images", required=True, metavar="DIR")
    parser.add_argument(
        "--classes",
        required=True,
        metavar="FILE",
        help='JSON, like [{"id": 1, "name": "cat", "isthing": 1}, ...]',
    )
    parser.add_argument("--out", required=True, metavar="DIR")


def run(args) -> None:
    """Convert all pictures, or none."""
    from pathlib import Path

    from tqdm import tqdm

    from detr_lite.data.coco.convert import convert
    from detr_lite.errors import ConfigError

    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not an empty folder; name a new one.")
    count = convert(
        args.instances,
        args.semantic,
        args.images,
        args.classes,
        out,
        lambda pictures: tqdm(pictures, "convert", leave=False, disable=None),
    )
    print(f"{count} pictures are in {out}; `detr-lite check {out}` looks on.")
