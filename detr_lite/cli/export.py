"""detr-lite export."""

ABOUT = "write a model as an ONNX file, for programs without PyTorch"
EXAMPLE = "detr-lite export --model scenes --out scenes.onnx"


def add_arguments(parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--model", default="scenes", metavar="NAME|FILE")
    parser.add_argument("--out", required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--no-masks",
        action="store_true",
        help="the detector alone: classes and boxes",
    )
    parser.add_argument(
        "--intermediates",
        action="store_true",
        help="also give src_proj, memory, box_embeddings, attention_maps "
        "and res2 to res5",
    )


def run(args) -> None:
    """Export a model and say what came of it."""
    from detr_lite.inference.export import INPUTS, export_onnx
    from detr_lite.inference.loading import load_model

    model = load_model(args.model, device="cpu")
    report = export_onnx(
        model,
        args.out,
        masks=not args.no_masks,
        intermediates=args.intermediates,
    )
    print(
        f"{args.out} ({report.size / 1e6:.1f} MB) takes "
        f"{' and '.join(INPUTS)} and gives {', '.join(report.outputs)}."
    )
    print(
        f"onnxruntime differs from PyTorch by at most {report.difference:.1g}"
        f", {report.relative:.1g} of an output's largest value, on batches "
        "of two sizes, one of them padded."
    )
    print(
        "Images of different sizes in one batch see their padding, as in "
        "the original; one alone gives what `detr-lite predict` computes."
    )
