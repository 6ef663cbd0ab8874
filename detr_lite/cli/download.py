"""detr-lite download."""

ABOUT = "fetch COCO's images and panoptic annotations, or weights"
EXAMPLE = "detr-lite download coco-panoptic --split val --out data/coco"


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "what",
        metavar="coco-panoptic|NAME",
        help="the data set, or weights that `detr-lite models` lists",
    )
    coco = parser.add_argument_group("coco-panoptic")
    coco.add_argument(
        "--split",
        default="val",
        metavar="val|train",
        help="5,000 images, 1.7 GB to fetch, or 118,287, 20 GB (default: val)",
    )
    coco.add_argument("--out", metavar="DIR")
    coco.add_argument(
        "--base",
        metavar="URL",
        help="where else the zips are, below zips/ and annotations/",
    )


def run(args) -> None:
    """Fetch what is named."""
    from detr_lite.data.coco.download import BASE, download_coco
    from detr_lite.errors import ConfigError
    from detr_lite.weights.catalog import SOURCES, source_file, source_named

    if args.what == "coco-panoptic":
        if args.out is None:
            raise ConfigError("Say where COCO shall go: --out DIR.")
        try:
            download_coco(args.split, args.out, args.base or BASE)
        except KeyboardInterrupt as stop:
            how = "to go on, give the same command again"
            raise KeyboardInterrupt(how) from stop
        return
    source = source_named(args.what)
    if source is None:
        raise ConfigError(
            f"{args.what} cannot be fetched; name coco-panoptic or one of "
            f"{', '.join(SOURCES)}."
        )
    if args.out is not None:
        raise ConfigError(
            "--out is for coco-panoptic: weights go where torch.hub keeps "
            "them; leave it out."
        )
    print(f"{source.name} is in {source_file(source)}.")
    print(f"Next: detr-lite predict FILE --model {source.name} --out found")
