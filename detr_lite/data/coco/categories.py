"""COCO's 133 panoptic classes, and the lists that the original's heads count.

The original's labels are COCO's category ids themselves: 250 (boxes alone:
91) outputs, most of them never trained.
"""

import colorsys
from functools import cache

from detr_lite.data.categories import GRAY, Categories, Category

# Ids 1 to 90 in order, - where COCO has no class.
_THINGS = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat,
traffic light, fire hydrant, -, stop sign, parking meter, bench, bird, cat,
dog, horse, sheep, cow, elephant, bear, zebra, giraffe, -, backpack, umbrella,
-, -, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, -,
wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
-, dining table, -, -, toilet, -, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, -, book, clock, vase,
scissors, teddy bear, hair drier, toothbrush
"""
_STUFF = """
92 banner, 93 blanket, 95 bridge, 100 cardboard, 107 counter, 109 curtain,
112 door-stuff, 118 floor-wood, 119 flower, 122 fruit, 125 gravel, 128 house,
130 light, 133 mirror-stuff, 138 net, 141 pillow, 144 platform,
145 playingfield, 147 railroad, 148 river, 149 road, 151 roof, 154 sand,
155 sea, 156 shelf, 159 snow, 161 stairs, 166 tent, 168 towel, 171 wall-brick,
175 wall-stone, 176 wall-tile, 177 wall-wood, 178 water-other,
180 window-blind, 181 window-other, 184 tree-merged, 185 fence-merged,
186 ceiling-merged, 187 sky-other-merged, 188 cabinet-merged,
189 table-merged, 190 floor-other-merged, 191 pavement-merged,
192 mountain-merged, 193 grass-merged, 194 dirt-merged, 195 paper-merged,
196 food-other-merged, 197 building-other-merged, 198 rock-merged,
199 wall-other-merged, 200 rug-merged
"""
LAST_THING = 90


def _words(text: str) -> list[str]:
    return text.replace("\n", " ").strip().split(", ")


def _color(number: int, isthing: bool) -> tuple[int, int, int]:
    """Return the number-th color: things are brighter than stuff.

    Each hue is a golden section of the circle on from the one before, so
    that neighbors in the list look different.
    """
    hue = number * 0.618034 % 1
    saturation, value = (0.75, 0.95) if isthing else (0.45, 0.7)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


@cache
def coco_categories() -> Categories:
    """Return COCO's 133 panoptic classes: 80 things, then 53 kinds of stuff.

    Names, ids and flags are those of the annotation files of 2017, the
    colors our own.
    """
    named = [(i, name) for i, name in enumerate(_words(_THINGS), 1)]
    named = [(i, name) for i, name in named if name != "-"]
    for entry in _words(_STUFF):
        number, name = entry.split(" ", 1)
        named.append((int(number), name))
    return Categories(
        [
            Category(i, name, i <= LAST_THING, _color(n, i <= LAST_THING))
            for n, (i, name) in enumerate(named)
        ]
    )


@cache
def original_categories(count: int) -> Categories:
    """Return what the original's K labels mean: label = category id.

    count: K, 250 with stuff or 91 without.  A label that is no COCO id is
    called "unused 12"; nothing was trained to give it.
    """
    known = {c.id: c for c in coco_categories()}
    return Categories([known.get(i) or _unused(i) for i in range(count)])


def _unused(number: int) -> Category:
    return Category(number, f"unused {number}", number <= LAST_THING, GRAY)


def used(categories: Categories) -> Categories:
    """Return the classes that are some: without the original's gaps."""
    return Categories([c for c in categories if c != _unused(c.id)])


def numbered_categories(count: int) -> Categories:
    """Return a list for a file that does not say what its labels mean."""
    return Categories(
        [
            Category(i, f"class {i}", True, _color(i, True))
            for i in range(count)
        ]
    )
