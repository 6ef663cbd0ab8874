"""detr-lite check."""

from detr_lite.cli.arguments import add_as_stored, bar

ABOUT = (
    "list every problem of a COCO panoptic data set, and count what it holds"
)
EXAMPLE = "detr-lite check data/scenes"


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "data",
        metavar="DIR",
        help="a COCO panoptic folder; nothing is changed",
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="like val2017, where a folder of COCO's own layout has several",
    )
    add_as_stored(parser)


def run(args) -> int:
    """Print problems, warnings and counts; return 1 if it has problems."""
    from detr_lite.data.coco.check import check_folder

    report = check_folder(
        args.data,
        args.split,
        bar("check"),
        upright=not args.as_stored,
    )
    for problem in report.problems:
        print(f"problem: {problem}")
    for warning in report.warnings:
        print(f"warning: {warning}")
    if report.images:
        print("\n".join(report.lines()))
    print(
        f"problems {len(report.problems)}, warnings {len(report.warnings)}: "
        f"{args.data}"
    )
    return int(bool(report.problems))
