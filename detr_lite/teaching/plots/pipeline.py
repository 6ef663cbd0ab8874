"""The pipeline image: from pixels to segments, drawn as SVG.

It is a part of the book's first page, whose style sheet gives colors to the
classes used here, which follow the light or the dark theme.
"""

from html import escape
from itertools import pairwise

WIDTH, LEFT, RIGHT, MIDDLE = 440, 118, 338, 228
HEIGHT = 40  # of a box
TIMES = "\N{MULTIPLICATION SIGN}"  # typed as an x below

# Top, title, shape: the boxes of the main column, from pixels to segments.
BOXES = {
    "image": (8, "Image", "3 x H x W"),
    "resnet": (74, "ResNet-50", ""),
    "project": (176, "1x1 convolution", "d x H/32 x W/32"),
    "encoder": (274, "Encoder", "d x H/32 x W/32"),
    "decoder": (340, "Decoder", "d x N box embeddings"),
    "heads": (406, "Class and box per query", "K + 1 and 4 numbers"),
    "maps": (472, "Attention maps", "N x M x H/32 x W/32"),
    "cnn": (538, "FPN-style CNN", "with Res2, Res3 and Res4"),
    "masks": (604, "Mask logits", "N x H/4 x W/4"),
    "argmax": (670, "Pixelwise argmax", "over the queries"),
    "panoptic": (736, "Panoptic segmentation", "H x W"),
}
LEVELS = ("Res2", "Res3", "Res4", "Res5")
# First row, last row, question: the tinted stages behind the boxes.
STAGES = (
    ("resnet", "encoder", "1"),
    ("decoder", "heads", "2"),
    ("maps", "maps", "3"),
    ("cnn", "masks", "4"),
    ("argmax", "panoptic", "5"),
)
ABOUT = """\
From top to bottom: the image, 3 x H x W, goes through ResNet-50, which keeps
Res2, Res3, Res4 and Res5. A 1x1 convolution takes Res5 to src_proj,
d x H/32 x W/32, and the encoder makes memory of it, of the same size;
positional encodings go to the queries and keys of each of its layers, and to
the keys of the decoder's. The decoder reads memory with N object queries and
gives d x N box embeddings, and from each a class and a box. Those that found
something are kept. Their attention maps over memory, N x M x H/32 x W/32, go
into the FPN-style CNN, together with src_proj and with Res4, Res3 and Res2.
It gives mask logits, N x H/4 x W/4. The pixelwise argmax over them, with the
classes, is the panoptic segmentation. The numbers 1 to 5 mark which question
asks about which stage."""


def pipeline_svg(lit: str = "") -> str:
    """Return the image as SVG; lit: the question whose stage stands out."""
    height = BOXES["panoptic"][0] + HEIGHT + 12
    parts = [
        f'<svg class="pipeline" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-labelledby="pipeline-about">',
        f'<title id="pipeline-about">{escape(" ".join(ABOUT.split()))}'
        "</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    parts += [_stage(*stage, lit) for stage in STAGES]
    parts += _lines()
    for name, (top, title, shape) in BOXES.items():
        parts += _resnet(top) if name == "resnet" else _box(top, title, shape)
    return "\n".join([*parts, "</svg>"])


def _stage(first: str, last: str, number: str, lit: str) -> str:
    """Return the tint behind a stage, and its question's number."""
    top, bottom = BOXES[first][0] - 9, BOXES[last][0] + HEIGHT + 9
    on = " lit" if number == lit else ""
    return (
        f'<rect class="stage{on}" x="4" y="{top}" width="{WIDTH - 8}" '
        f'height="{bottom - top}" rx="8"/>'
        + _text(WIDTH - 24, bottom - 12, number, "number")
    )


def _box(top: int, title: str, shape: str) -> list[str]:
    return [
        f'<rect class="box" x="{LEFT}" y="{top}" width="{RIGHT - LEFT}" '
        f'height="{HEIGHT}" rx="5"/>',
        _text(MIDDLE, top + 17, title),
        _text(MIDDLE, top + 33, shape, "shape"),
    ]


def _resnet(top: int) -> list[str]:
    """Return the backbone: one box, and in it the four levels it keeps."""
    parts = [
        f'<rect class="box" x="40" y="{top}" width="348" height="78" rx="5"/>',
        _text(MIDDLE, top + 17, "ResNet-50"),
    ]
    for i, level in enumerate(LEVELS):
        x = 46 + 85 * i
        parts += [
            f'<rect class="level" x="{x}" y="{top + 26}" width="81" '
            'height="44" rx="4"/>',
            _text(x + 40, top + 44, level),
            _text(x + 40, top + 61, f"H/{4 * 2**i} x W/{4 * 2**i}", "shape"),
        ]
    return parts


def _lines() -> list[str]:
    """Return the arrows: down the column, and the ones that skip ahead."""
    y = {name: box[0] for name, box in BOXES.items()}
    names = [n for n in BOXES if n != "resnet"]
    paths = [(f"M{MIDDLE} {y['image'] + HEIGHT}V{y['resnet']}", True)]
    for above, below in pairwise(names[1:]):
        paths.append((f"M{MIDDLE} {y[above] + HEIGHT}V{y[below]}", True))
    # Res5 goes on; it stands to the right of the column's middle.
    paths.append((f"M326 {y['resnet'] + 78}V{y['project']}", True))
    embeddings, memory, src, levels = (LEFT - x for x in (10, 26, 54, 96))
    paths += [
        # What was found, for the maps, past the classes and boxes.
        (f"M{LEFT} {y['decoder'] + 20}H{embeddings}V{y['maps'] + 10}H{LEFT}",
         1),
        # The encoded image, before and after the encoder, and the levels.
        (f"M{LEFT} {y['encoder'] + 20}H{memory}V{y['maps'] + 28}H{LEFT}", 1),
        (f"M{LEFT} {y['project'] + 20}H{src}V{y['cnn'] + 12}H{LEFT}", 1),
        (f"M40 {y['resnet'] + 48}H{levels}V{y['cnn'] + 28}H{LEFT}", 1),
        # Classes go to the argmax.
        (f"M{RIGHT} {y['heads'] + 20}H{RIGHT + 22}V{y['argmax'] + 20}"
         f"H{RIGHT}", 1),
    ]  # fmt: skip
    # Places: to queries and keys of the encoder, to keys of the decoder.
    places, turn = y["project"] + HEIGHT + 20, RIGHT + 30
    paths += [
        (f"M{turn} {places + 20}V{y['encoder'] + 20}H{RIGHT}", 1),
        (f"M{turn} {y['encoder'] + 20}V{y['decoder'] + 10}H{RIGHT}", 1),
    ]
    queries = y["decoder"] + 30
    parts = [
        f'<path class="line" d="{d}"'
        + (' marker-end="url(#tip)"' if tip else "")
        + "/>"
        for d, tip in paths
    ]
    parts += [
        _text(MIDDLE + 10, places, "positional encodings,", "note"),
        _text(MIDDLE + 10, places + 14, "added in every layer", "note"),
        _text(MIDDLE + 10, y["heads"] + HEIGHT + 17, "what was found", "note"),
        f'<path class="line" d="M{RIGHT + 30} {queries}H{RIGHT}" '
        'marker-end="url(#tip)"/>',
        _text(RIGHT + 34, queries + 1, "N object", "note"),
        _text(RIGHT + 34, queries + 15, "queries", "note"),
        _along(memory, y["decoder"] + 66, "memory"),
        _along(src, y["decoder"], "src_proj"),
        _along(levels, y["decoder"], "Res2, Res3, Res4"),
        _along(RIGHT + 22, y["cnn"] + 20, "classes"),
    ]
    return parts


def _along(x: int, y: int, text: str) -> str:
    """Return a word that runs up along a line."""
    return (
        f'<text class="shape" text-anchor="middle" '
        f'transform="translate({x - 5} {y}) rotate(-90)">{text}</text>'
    )


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    anchor = "start" if kind == "note" else "middle"
    return (
        f'<text class="{kind or "title"}" text-anchor="{anchor}" '
        f'x="{x}" y="{y}">{_escape(text)}</text>'
    )


def _escape(text: str) -> str:
    """Return the text for SVG, with times signs between sizes."""
    text = text.replace("1x1", f"1{TIMES}1").replace(" x ", f" {TIMES} ")
    return escape(text)
