"""Sizes and pixels of resized images: the original's, and Pillow's."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from detr_lite.data.resizing import resize_ids, resize_image, resized_size


def by_the_rule(size, shortest, longest):
    """The rule in words: cap, round the shorter, truncate the longer."""
    height, width = size
    if max(size) * shortest / min(size) > longest:
        shortest = round(longest * float(min(size)) / max(size))
    if min(size) == shortest:
        return size
    if width < height:
        return int(shortest * height / width), shortest
    return shortest, int(shortest * width / height)


LIMITS = [(800, 1333), (480, 1333), (672, 1333), (96, 160), (400, 10**9)]


@pytest.mark.parametrize("limits", LIMITS)
def test_sizes_follow_the_originals_rule(limits):
    draw = random.Random(0)
    for _ in range(3000):
        size = draw.randint(40, 2000), draw.randint(40, 2000)
        assert resized_size(size, *limits) == by_the_rule(size, *limits), size


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((480, 640), (800, 1066)),  # 1066.67 is cut
        ((640, 480), (1066, 800)),
        ((300, 900), (444, 1332)),  # 444.33 is rounded, then 444 * 3
        ((427, 640), (800, 1199)),
        ((800, 800), (800, 800)),
        ((2, 8000), (1, 4000)),  # 0.33 would be rounded to nothing
    ],
)
def test_known_sizes(size, wanted):
    assert resized_size(size, 800, 1333) == wanted


@pytest.mark.parametrize(
    ("size", "new"),
    [((48, 64), (80, 106)), ((61, 47), (33, 25)), ((50, 90), (50, 45))],
)
def test_pixels_are_pillows_within_one(size, new):
    noise = torch.randint(256, (3, *size), dtype=torch.uint8)
    theirs = Image.fromarray(noise.permute(1, 2, 0).numpy())
    theirs = np.array(theirs.resize(new[::-1], Image.Resampling.BILINEAR))
    mine = resize_image(noise, new).permute(1, 2, 0).numpy()
    difference = np.abs(mine.astype(int) - theirs.astype(int))
    assert difference.max() <= 1
    assert difference.mean() < 0.02


@pytest.mark.parametrize("new", [(13, 29), (95, 61), (40, 37)])
def test_ids_are_those_of_the_originals_masks(new):
    id_map = torch.randint(2**24 - 4, 2**24, (41, 33), dtype=torch.int32)
    resized = resize_ids(id_map, new)
    assert resized.dtype == torch.int32
    for number in id_map.unique():
        mask = (id_map == number)[None, None].float()
        wanted = F.interpolate(mask, new, mode="nearest")[0, 0] > 0.5
        assert torch.equal(resized == number, wanted)
