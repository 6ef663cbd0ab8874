"""What a model consists of, and which of it training changes."""

from torch import nn


def trainable_summary(model: nn.Module) -> str:
    """Return a table: each part, its parameters, and how many are trained.

    model: has `detr`, and `bbox_attention` and `mask_head` if it makes
    masks.  The statistics of frozen batch norms are no parameters.
    """
    detr = model.detr
    parts = {
        "backbone": detr.backbone,
        "input_proj": detr.input_proj,
        "encoder": detr.transformer.encoder,
        "decoder": detr.transformer.decoder,
        "query_embed": detr.query_embed,
        "class_embed": detr.class_embed,
        "bbox_embed": detr.bbox_embed,
    }
    for name in ("bbox_attention", "mask_head"):
        if hasattr(model, name):
            parts[name] = getattr(model, name)
    lines = [f"{'part':14} {'parameters':>12} {'trained':>12}"]
    for name, part in {**parts, "all": model}.items():
        counts = [p.numel() for p in part.parameters()]
        trained = [p.numel() for p in part.parameters() if p.requires_grad]
        lines.append(
            f"{name:14} {sum(counts):12,} "
            + (f"{sum(trained):12,}" if trained else f"{'frozen':>12}")
        )
    return "\n".join(lines)
