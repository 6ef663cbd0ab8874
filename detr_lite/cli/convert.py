"""detr-lite convert."""

from detr_lite.cli.arguments import bar

ABOUT = "make a COCO panoptic data set of instances and semantic masks"
EXAMPLE = (
    "detr-lite convert --instances instances.json --semantic labels "
    "--images photos --classes classes.json --out my_data"
)


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--instances",
        metavar="FILE",
        help="COCO's instance JSON: the things, of which the smaller is on "
        "top, and below them outlines of stuff classes (default: none)",
    )
    parser.add_argument(
        "--semantic",
        metavar="DIR",
        help="a label image <stem>.png for each image, whose numbers are "
        "category ids: the stuff (default: there is none)",
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
    """Convert all images, or none."""
    from detr_lite.data.coco.convert import convert

    count = convert(
        args.instances,
        args.semantic,
        args.images,
        args.classes,
        args.out,
        bar("convert"),
    )
    print(
        f"{count} images are in {args.out}; `detr-lite check {args.out}` "
        "looks on."
    )
