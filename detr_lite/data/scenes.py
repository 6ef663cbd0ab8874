"""Scenes: small synthetic beach images with exact panoptic annotations.

Stuff (sky, sea, sand, grass) fills the image; things (ball, crate, tent,
starfish) lie on it and overlap.  A scene follows from a seed and an index
alone.  Everything is drawn with integers, and the random numbers come from
NumPy's frozen RandomState, so that a scene has the same bits on every
machine: a split is named by its seed and its count, and checked by a hash.
"""

import hashlib
import math
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detr_lite.data.categories import Categories, Category
from detr_lite.data.sample import Sample, to_tensor
from detr_lite.data.subsets import Part
from detr_lite.errors import ConfigError

SIZE = 96  # pixels a side
MAX_SEGMENTS = 9
VERSION = 1  # raise it when the images change: caches are named by it

# Colors tell the classes apart for color-blind readers too (Okabe and Ito).
SCENE_CATEGORIES = Categories(
    [
        Category(1, "ball", True, (213, 94, 0)),
        Category(2, "crate", True, (204, 121, 167)),
        Category(3, "tent", True, (230, 159, 0)),
        Category(4, "starfish", True, (120, 60, 160)),
        Category(5, "sky", False, (86, 180, 233)),
        Category(6, "sea", False, (0, 114, 178)),
        Category(7, "sand", False, (240, 228, 66)),
        Category(8, "grass", False, (0, 158, 115)),
    ]
)
BALL, CRATE, TENT, STARFISH, SKY, SEA, SAND, GRASS = range(8)

# The seeds of the named splits.  Nothing is ever trained on the last one.
TRAIN_SEED, VALIDATION_SEED = 1, 2
VALIDATION_COUNT = 512

_CANVAS = 2 * SIZE  # drawn at twice the size, then averaged: smooth edges
_ONE = 1024  # fixed-point 1.0
_TURN = 1024  # angles in 1/1024 of a turn
_SINE = np.array(
    [round(_ONE * math.sin(2 * math.pi * a / _TURN)) for a in range(_TURN)],
    np.int32,
)
_AREAS = {  # what lies below the sky, top to bottom
    0: (SEA, SAND),
    1: (SEA,),
    2: (SAND,),
    3: (GRASS,),
    4: (GRASS, SAND),
    5: (SEA, GRASS),
}
_PALETTES = {  # base colors, RGB
    SKY: ((150, 190, 225), (195, 205, 215), (225, 180, 160), (110, 150, 205)),
    SEA: ((40, 95, 150), (50, 130, 150), (85, 120, 160)),
    SAND: ((215, 190, 140), (195, 165, 115), (225, 210, 175)),
    GRASS: ((85, 140, 60), (115, 150, 70), (60, 110, 60)),
}
# How a thing is bounded: directions of its sides in turns, their distance
# from the center as a part of the radius, and how many of the sides a point
# must lie within.  A five-pointed star is where four of five sides hold.
_SIDES = {
    CRATE: ([0, 1 / 4, 2 / 4, 3 / 4], 0.82, 4),
    TENT: ([1 / 4, 1 / 4 + 1 / 3, 1 / 4 + 2 / 3], 0.64, 3),
    STARFISH: ([1 / 4 + k / 5 for k in range(5)], 0.42, 4),
}


class _Random:
    """Integers from NumPy's frozen generator, one stream for each scene."""

    def __init__(self, seed: int, index: int):
        self._state = np.random.RandomState([seed, index])

    def between(self, low: int, high: int) -> int:
        return int(self._state.randint(low, high + 1))

    def noise(self, shape: Sequence[int], amplitude: int) -> np.ndarray:
        """Return integers in [-amplitude, amplitude], near to uniform."""
        count = int(np.prod(shape))
        raw = np.frombuffer(self._state.bytes(count), np.uint8)
        spread = (raw.astype(np.int16) * (2 * amplitude + 1)) >> 8
        return spread.reshape(shape) - np.int16(amplitude)


def _paint_stuff(rng: _Random) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return a canvas of two or three regions, its ids, and their labels."""
    labels = (SKY, *_AREAS[rng.between(0, len(_AREAS) - 1)])
    x = np.arange(_CANVAS, dtype=np.int32)
    y = x[:, None]
    top = rng.between(_CANVAS // 5, _CANVAS // 2)
    region = np.zeros((_CANVAS, _CANVAS), np.int8)
    for _ in labels[1:]:
        wave = _SINE[(x * rng.between(2, 10) + rng.between(0, 1023)) % _TURN]
        edge = top + (wave * rng.between(0, 8)) // _ONE
        edge += (x - SIZE) * rng.between(-12, 12) // 128
        region += y >= edge
        top += rng.between(_CANVAS // 5, _CANVAS // 3)
    bases, light = [], np.zeros((_CANVAS, _CANVAS), np.int16)
    for i, label in enumerate(labels):
        palette = _PALETTES[label]
        base = palette[rng.between(0, len(palette) - 1)]
        bases.append([channel + rng.between(-14, 14) for channel in base])
        # A slope of light, and for the sea and the grass a pattern on it.
        shade = (y - SIZE) * rng.between(-30, 30) // SIZE
        if label in (SEA, GRASS):
            along, across = (y, x) if label == SEA else (x, y)
            ripple = 6 * _SINE[9 * across % _TURN] // 64
            phase = along * rng.between(60, 140) + ripple
            shade = shade + _SINE[phase & (_TURN - 1)] * 14 // _ONE
        light = np.where(region == i, shade, light)
    canvas = np.array(bases, np.int16)[region] + light[..., None].astype(
        np.int16
    )
    return canvas, (region + 1).astype(np.uint8), list(labels)


def _inside(label: int, dx, dy, radius: int, angle: int) -> np.ndarray:
    """Return where points at offset (dx, dy) lie in the thing."""
    if label == BALL:
        return dx * dx + dy * dy <= radius * radius
    directions, distance, needed = _SIDES[label]
    # A margin is taken off the radius, not off the distance: outlines are
    # then of one width on straight sides only, as on a drawn image.
    limit = round(distance * _ONE) * radius
    count = 0
    for direction in directions:
        turn = (round(direction * _TURN) + angle) % _TURN
        cos, sin = _SINE[(turn + _TURN // 4) % _TURN], _SINE[turn]
        count = count + (dx * cos + dy * sin <= limit)
    return count >= needed


def _paint_thing(rng: _Random, canvas, ids, areas, label: int) -> bool:
    """Draw one thing over what is there, if enough of all stays visible.

    areas: the area each segment had when it was drawn; the thing's own is
    added.  Returns whether the thing was drawn.
    """
    radius = rng.between(_CANVAS // 10, _CANVAS * 9 // 40)
    cx = rng.between(radius // 2, _CANVAS - radius // 2)
    cy = rng.between(_CANVAS // 5, _CANVAS - radius // 2)
    angle = rng.between(-_TURN // 16, _TURN // 16)
    # Things are more colorful than stuff: one channel high, another low.
    color = [rng.between(30, 235) for _ in range(3)]
    high = rng.between(0, 2)
    color[high] = rng.between(190, 250)
    color[(high + rng.between(1, 2)) % 3] = rng.between(10, 70)
    slope = rng.between(-24, 24)

    reach = radius * 3 // 2
    y0, y1 = max(cy - reach, 0), min(cy + reach, _CANVAS)
    x0, x1 = max(cx - reach, 0), min(cx + reach, _CANVAS)
    dy = np.arange(y0 - cy, y1 - cy, dtype=np.int32)[:, None]
    dx = np.arange(x0 - cx, x1 - cx, dtype=np.int32)
    body = _inside(label, dx, dy, radius, angle)
    new_ids = ids.copy()
    new_ids[y0:y1, x0:x1][body] = len(areas) + 1
    left = np.bincount(new_ids.ravel(), minlength=len(areas) + 2)[1:]
    # What is hidden to less than half could not be told from another shape.
    if any(2 * now < full for now, full in zip(left, areas, strict=False)):
        return False
    areas.append(int(body.sum()))
    ids[...] = new_ids
    core = _inside(label, dx, dy, radius - max(radius // 8, 4), angle)
    rgb = np.array(color, np.int16)
    fill = rgb + (dy * slope // radius).astype(np.int16)[..., None]
    paint = np.where(core[..., None], fill, rgb * 3 // 8)
    np.copyto(canvas[y0:y1, x0:x1], paint, where=body[..., None])
    return True


def render_scene(
    seed: int, index: int
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return one scene.

    Returns:
        image: (96, 96, 3) uint8.
        id_map: (96, 96) uint8; the ids are 1 to T, every pixel has one.
        labels: T labels, that of segment i + 1 at position i.

    Source: this package; there is no such data set elsewhere.
    """
    rng = _Random(seed, index)
    canvas, ids, labels = _paint_stuff(rng)
    areas = list(np.bincount(ids.ravel())[1:])
    for _ in range(rng.between(1, 5)):
        label = rng.between(BALL, STARFISH)
        if _paint_thing(rng, canvas, ids, areas, label):
            labels.append(label)
    rows = canvas[::2] + canvas[1::2]
    pixels = (rows[:, ::2] + rows[:, 1::2]) >> 2
    pixels += rng.noise((SIZE, SIZE, 1), 9) + rng.noise((SIZE, SIZE, 3), 3)
    image = pixels.clip(0, 255).astype(np.uint8)
    return image, np.ascontiguousarray(ids[::2, ::2]), labels


class SceneSplit(Sequence[Sample]):
    """The scenes 0 to count - 1 of a seed, held in memory.

    The first use draws them (about 400 a second on one core) and keeps them
    in the cache folder: $DETR_LITE_CACHE, or ~/.cache/detr_lite.
    """

    categories = SCENE_CATEGORIES

    def __init__(self, seed: int, count: int, cache: bool = True):
        if not 0 <= seed < 2**32:
            raise ConfigError(f"seed must be 0 to 2^32 - 1, not {seed}.")
        if count < 0:
            raise ConfigError(f"count must not be negative, it is {count}.")
        self.seed = seed
        path = cache_folder() / f"scenes-v{VERSION}-{seed}-{count}.npz"
        arrays = _load_cache(path, count) if cache else None
        if arrays is None:
            arrays = _render(seed, count)
            if cache:
                _save_cache(path, arrays)
        self._images, self._id_maps, self._labels = arrays

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index) -> Any:
        index = range(len(self))[index]  # also from the end, and slices
        if isinstance(index, range):
            return Part(self, index)
        labels = self._labels[index]
        labels = torch.from_numpy(labels[labels >= 0].astype(np.int64))
        ids = torch.arange(1, len(labels) + 1)
        return Sample(
            image=to_tensor(self._images[index]),
            id_map=torch.from_numpy(self._id_maps[index].astype(np.int32)),
            segment_ids=ids,
            labels=labels,
            crowd=torch.zeros(len(labels), dtype=torch.bool),
            image_id=index + 1,
            name=f"{index:06d}",
        )

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """The images, (n, H, W, 3) uint8, and their id maps, (n, H, W)."""
        return self._images, self._id_maps

    @property
    def segment_counts(self) -> list[int]:
        """The number of segments of each scene."""
        return (self._labels >= 0).sum(1).tolist()

    @property
    def fingerprint(self) -> dict:
        """What the scenes follow from."""
        return {
            "scenes": {
                "version": VERSION,
                "seed": self.seed,
                "count": len(self),
            }
        }

    def sha256(self) -> str:
        """Return the hash of every pixel, id and label of the split."""
        digest = hashlib.sha256()
        for array in (self._images, self._id_maps, self._labels):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _render(seed: int, count: int) -> tuple[np.ndarray, ...]:
    try:
        images = np.empty((count, SIZE, SIZE, 3), np.uint8)
        id_maps = np.empty((count, SIZE, SIZE), np.uint8)
        labels = np.full((count, MAX_SEGMENTS), -1, np.int8)
    # NumPy's errors, where the count is beyond memory or all bounds.
    except (MemoryError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"count is {count}, for which the memory is too small; ask for "
            "fewer scenes."
        ) from error
    for i in range(count):
        images[i], id_maps[i], found = render_scene(seed, i)
        labels[i, : len(found)] = found
    return images, id_maps, labels


def cache_folder() -> Path:
    """Return where drawn scenes are kept: $DETR_LITE_CACHE or ~/.cache."""
    default = Path.home() / ".cache" / "detr_lite"
    return Path(os.environ.get("DETR_LITE_CACHE") or default)


def _load_cache(path: Path, count: int) -> tuple[np.ndarray, ...] | None:
    """Return the arrays, or None where there are none that can be read."""
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            arrays = file["images"], file["id_maps"], file["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return arrays if all(len(a) == count for a in arrays) else None


def _save_cache(path: Path, arrays: tuple[np.ndarray, ...]) -> None:
    """Keep the arrays; a folder that cannot be written to costs time only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder) / "scenes.npz"
            images, id_maps, labels = arrays
            np.savez(part, images=images, id_maps=id_maps, labels=labels)
            part.replace(path)
    except OSError:
        pass
