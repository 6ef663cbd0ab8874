"""The names of DETR's tensors in the layouts that are in use.

- "detr_lite": ours.  The original's names, those of the detector with
  `detr.` before them.
- "original": the original's files.  A model without masks has no `detr.`.
- "transformers": files of Hugging Face's transformers.
- "transformers5": the same model in the memory of transformers 5.

Nothing is computed: queries, keys and values of an attention are one tensor
in the original and three in transformers, and that is all that is moved.
"""

import re

from torch import Tensor, cat

from detr_lite.errors import WeightsError

LAYOUTS = ("detr_lite", "original", "transformers", "transformers5")

State = dict[str, Tensor]

# The beginnings of names; {} is any number.  Of several rows that fit, the
# first counts.
_ENCODER = "detr.transformer.encoder.layers.{}."
_DECODER = "detr.transformer.decoder.layers.{}."
_THEIR_ENCODER = "detr.model.encoder.layers.{}."
_THEIR_DECODER = "detr.model.decoder.layers.{}."
_BODY = "detr.backbone.0.body."
_THEIR_BODY = {
    "transformers": "detr.model.backbone.conv_encoder.model.",
    "transformers5": "detr.model.backbone.model.",
}


def _layer_rows(mine: str, theirs: str, version5: bool) -> list:
    """Return the rows of a layer of the encoder or the decoder."""
    out = "o_proj." if version5 else "out_proj."
    mlp = "mlp." if version5 else ""
    rows = [
        (f"{mine}self_attn.out_proj.", f"{theirs}self_attn.{out}"),
        (f"{mine}self_attn.", f"{theirs}self_attn."),
        (f"{mine}linear1.", f"{theirs}{mlp}fc1."),
        (f"{mine}linear2.", f"{theirs}{mlp}fc2."),
        (f"{mine}norm1.", f"{theirs}self_attn_layer_norm."),
    ]
    if mine == _ENCODER:
        return [*rows, (f"{mine}norm2.", f"{theirs}final_layer_norm.")]
    return [
        *rows,
        (f"{mine}multihead_attn.out_proj.", f"{theirs}encoder_attn.{out}"),
        (f"{mine}multihead_attn.", f"{theirs}encoder_attn."),
        (f"{mine}norm2.", f"{theirs}encoder_attn_layer_norm."),
        (f"{mine}norm3.", f"{theirs}final_layer_norm."),
    ]


_HEADS = [
    ("detr.transformer.decoder.norm.", "detr.model.decoder.layernorm."),
    ("detr.class_embed.", "detr.class_labels_classifier."),
    ("detr.bbox_embed.", "detr.bbox_predictor."),
    ("detr.query_embed.", "detr.model.query_position_embeddings."),
    ("detr.input_proj.", "detr.model.input_projection."),
]

# Of the mask head, transformers' files have the original's names.
_MASKS_5 = [
    ("bbox_attention.q_linear.", "bbox_attention.q_proj."),
    ("bbox_attention.k_linear.", "bbox_attention.k_proj."),
    ("mask_head.lay1.", "mask_head.conv1.conv."),
    ("mask_head.gn1.", "mask_head.conv1.norm."),
    ("mask_head.lay2.", "mask_head.conv2.conv."),
    ("mask_head.gn2.", "mask_head.conv2.norm."),
    *(
        (f"mask_head.{mine}{i + step}.", f"mask_head.fpn_stages.{i}.{theirs}.")
        for i in range(3)
        for mine, step, theirs in (
            ("adapter", 1, "fpn_adapter"),
            ("lay", 3, "refine.conv"),
            ("gn", 3, "refine.norm"),
        )
    ),
    ("mask_head.out_lay.", "mask_head.output_conv."),
]

# transformers' own ResNet; one of timm has torchvision's names, as ours.
_STAGE = "encoder.stages"
_RESNET = [
    ("conv1.", "embedder.embedder.convolution."),
    ("bn1.", "embedder.embedder.normalization."),
    *(
        (f"layer{s + 1}.{{}}.{mine}", f"{_STAGE}.{s}.layers.{{}}.{theirs}")
        for s in range(4)
        for mine, theirs in (
            ("downsample.0.", "shortcut.convolution."),
            ("downsample.1.", "shortcut.normalization."),
            *((f"conv{c + 1}.", f"layer.{c}.convolution.") for c in range(3)),
            *((f"bn{c + 1}.", f"layer.{c}.normalization.") for c in range(3)),
        )
    ),
]


def names(layout: str, own_resnet: bool = False) -> list[tuple[str, str]]:
    """Return the table of a layout: our beginning of a name, and theirs.

    own_resnet: the backbone is transformers' ResNet, not one of timm.
    """
    version5 = layout == "transformers5"
    body = _THEIR_BODY[layout]
    resnet = _RESNET if own_resnet else [("", "")]
    return [
        *((_BODY + mine, body + theirs) for mine, theirs in resnet),
        *_layer_rows(_ENCODER, _THEIR_ENCODER, version5),
        *_layer_rows(_DECODER, _THEIR_DECODER, version5),
        *_HEADS,
        *(_MASKS_5 if version5 else []),
    ]


def layout_of(state: State) -> str | None:
    """Return which layout the names follow, or None.

    Our own names are told as "original": they are, but for a prefix.
    """
    for mark, layout in (
        ("multihead_attn.in_proj_weight", "original"),
        ("fc1.weight", "transformers"),
        ("mlp.fc1.weight", "transformers5"),
    ):
        model = "transformer" if layout == "original" else "model"
        name = f"{model}.decoder.layers.0.{mark}"
        if name in state or f"detr.{name}" in state:
            return layout
    return None


def convert(state: State, layout: str, own_resnet: bool = False) -> State:
    """Return a model's tensors under the names of another layout.

    state: in any layout, which is recognized.
    layout: one of LAYOUTS.
    own_resnet: for transformers' own ResNet (its ResNetConfig), instead of
        the one of timm that its published files have.

    Batch norms' num_batches_tracked, which means nothing to frozen ones, is
    dropped.  A name that the layout does not have stays as it is.
    WeightsError if the layout is not known, or that of the tensors.
    """
    if layout not in LAYOUTS:
        raise WeightsError(
            f"There is no layout {layout!r}; name one of {', '.join(LAYOUTS)}."
        )
    state = _to_ours(state)
    if layout.startswith("transformers"):
        state = _renamed(_split(state), names(layout, own_resnet))
    if layout == "detr_lite" or any(n.startswith("mask_head.") for n in state):
        return state
    return {n.removeprefix("detr."): tensor for n, tensor in state.items()}


def _to_ours(state: State) -> State:
    layout = layout_of(state)
    if layout is None:
        raise WeightsError(
            "The tensors are not those of a DETR: none is called as in the "
            "original or in transformers."
        )
    state = {
        name: tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    if not any(name.startswith("detr.") for name in state):
        state = {f"detr.{name}": tensor for name, tensor in state.items()}
    if layout == "original":
        return state
    own_resnet = any(".embedder.embedder." in name for name in state)
    table = [(theirs, mine) for mine, theirs in names(layout, own_resnet)]
    return _joined(_renamed(state, table))


def _renamed(state: State, table: list[tuple[str, str]]) -> State:
    rules = [
        (re.compile(re.escape(old).replace(r"\{\}", r"(\d+)")), new)
        for old, new in table
    ]
    result = {}
    for name, tensor in state.items():
        for pattern, new in rules:
            found = pattern.match(name)
            if found:
                name = new.format(*found.groups()) + name[found.end() :]
                break
        result[name] = tensor
    return result


def _split(state: State) -> State:
    """Take in_proj_weight and in_proj_bias apart: queries, keys, values."""
    result = {}
    for name, tensor in state.items():
        if "in_proj_" in name:
            for letter, rows in zip("qkv", tensor.chunk(3), strict=True):
                part = name.replace("in_proj_", f"{letter}_proj.")
                result[part] = rows
        else:
            result[name] = tensor
    return result


def _joined(state: State) -> State:
    """Put queries, keys and values together; the opposite of _split."""
    result = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"(.*attn\.)([qkv])_proj\.(weight|bias)", name)
        if not found:
            result[name] = tensor
            continue
        start, letter, end = found.groups()
        parts = [state.get(f"{start}{x}_proj.{end}") for x in "qkv"]
        if any(p is None or p.shape != tensor.shape for p in parts):
            result[name] = tensor  # no place for it: the loader will say so
        elif letter == "q":
            result[f"{start}in_proj_{end}"] = cat(parts)
    return result
