"""Positional encodings: the formula, padding, and telling places apart."""

import math

import pytest
import torch

from detr_lite.position import SinePositionalEncoding


def by_loops(mask, width, temperature, cycles):
    """The formula, one number at a time.

    Channel i of a half holds the sine (i even) or the cosine (i odd) of the
    position divided by T^(2 (i // 2) / half); y comes first, then x.  The
    position counts the unpadded pixels, from 1, as a part of 2 pi turns.
    """
    inside = [[not hidden for hidden in row] for row in mask.tolist()]
    height, columns = len(inside), len(inside[0])
    half = width // 2
    result = torch.empty(width, height, columns)
    for y in range(height):
        for x in range(columns):
            down = [inside[j][x] for j in range(height)]
            along = inside[y]
            turn = 2 * math.pi * cycles
            py = sum(down[: y + 1]) / (sum(down) + 1e-6) * turn
            px = sum(along[: x + 1]) / (sum(along) + 1e-6) * turn
            for i in range(half):
                scale = temperature ** (2 * (i // 2) / half)
                wave = math.cos if i % 2 else math.sin
                result[i, y, x] = wave(py / scale)
                result[half + i, y, x] = wave(px / scale)
    return result


@pytest.mark.parametrize(
    ("temperature", "cycles"), [(10000.0, 1.0), (20.0, 2.0)]
)
def test_encoding_equals_the_formula_by_loops(temperature, cycles):
    mask = torch.zeros(2, 5, 7, dtype=torch.bool)
    mask[1, 4:] = True
    mask[1, :, 3:] = True
    found = SinePositionalEncoding(16, temperature, cycles)(mask)
    for one, padding in zip(found, mask, strict=True):
        wanted = by_loops(padding, 16, temperature, cycles)
        torch.testing.assert_close(one, wanted, rtol=0, atol=1e-5)


def test_products_of_codes_depend_on_how_far_apart_they_are():
    """On the distance alone, wherever the two stand."""
    row = torch.zeros(1, 1, 12, dtype=torch.bool)
    code = SinePositionalEncoding(64, 20.0, 2.0)(row)[0, 32:, 0]
    products, seen = code.T @ code, []
    for step in range(12):
        apart = products.diagonal(step)
        torch.testing.assert_close(
            apart, apart[:1].expand_as(apart), rtol=0, atol=1e-4
        )
        seen.append(apart[0].item())
    assert max(seen[1:]) < seen[0] - 1


def test_padding_changes_nothing_on_the_picture():
    encode = SinePositionalEncoding(32)
    mask = torch.ones(1, 9, 8, dtype=torch.bool)
    mask[:, :5, :6] = False
    alone = encode(torch.zeros(1, 5, 6, dtype=torch.bool))
    assert torch.equal(encode(mask)[:, :, :5, :6], alone)


def test_first_half_of_the_channels_is_y_and_the_second_is_x():
    code = SinePositionalEncoding(8)(torch.zeros(1, 5, 6, dtype=torch.bool))
    y, x = code[0].chunk(2)
    assert (y == y[:, :, :1]).all()
    assert (x == x[:, :1]).all()
    assert not (y == y[:, :1]).all()


@pytest.mark.parametrize(
    ("width", "size", "options"),
    [
        (256, (25, 34), {}),
        (128, (12, 12), {"temperature": 20.0, "cycles": 2.0}),
    ],
)
def test_every_position_has_a_code_of_its_own(width, size, options):
    mask = torch.zeros(1, *size, dtype=torch.bool)
    codes = SinePositionalEncoding(width, **options)(mask)[0].flatten(1).T
    apart = torch.cdist(codes, codes).fill_diagonal_(math.inf)
    assert apart.min() > 0.1


def test_last_position_is_the_same_in_pictures_of_all_sizes():
    encode = SinePositionalEncoding(16)
    small = encode(torch.zeros(1, 4, 5, dtype=torch.bool))
    large = encode(torch.zeros(1, 16, 9, dtype=torch.bool))
    torch.testing.assert_close(
        small[0, :, -1, -1], large[0, :, -1, -1], rtol=0, atol=1e-5
    )
