"""detr-lite download."""

ABOUT = "fetch COCO's pictures and panoptic annotations"
EXAMPLE = "detr-lite download coco-panoptic --split val --out data/coco"


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("what", choices=["coco-panoptic"], metavar="WHAT")
    parser.add_argument(
        "--split",
        default="val",
        metavar="val|train",
        help="5,000 pictures, 1.7 GB to fetch, or 118,287, 20 GB "
        "(default: val)",
    )
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument(
        "--base",
        metavar="URL",
        help="where else the zips are, below zips/ and annotations/",
    )


def run(args) -> None:
    """Fetch what is named."""
    from detr_lite.coco_download import BASE, download_coco

    download_coco(args.split, args.out, args.base or BASE)
