"""Write the film of the training for the book's pages: make_web_film.py.

The file is a script, as tools/web_file.py describes it.  Its header holds
the scenes, each phase's name, steps and losses, and the arrays are, for F
frames of both phases one after the other and B scenes:

    boxes      F, B, N, 4   uint16, a 65535th of the image: cx, cy, w, h
    classes    F, B, N, K + 1   uint8, a 255th of a probability
    queries    F, B, T      uint8, the query that each true segment has
    maps       F, B, N, h, w    uint8, summed over the heads, a 255th of the
                            query's highest place
    masks      frames of phase "masks", B, N, H/2, W/2   int8 logits, an 8th

Masks of queries that found nothing and have no segment are 0: nobody looks
at them, and zeros take no room.
"""

from pathlib import Path

import numpy as np
from training_film import FILMED, MASK_SCALE, STEPS
from web_file import join, save, split

from detr_lite.data.scenes import SCENE_CATEGORIES

FILM = Path(__file__).resolve().parent.parent / "data" / "film.npz"
FILE, VARIABLE = "film.js", "detrLiteFilm"
KINDS = {"uint8": np.uint8, "int8": np.int8, "uint16": np.dtype("<u2")}


def pack(film: dict[str, np.ndarray]) -> bytes:
    """Return the film as the page reads it; film: what `cut` has joined."""

    def both(name: str) -> np.ndarray:
        return np.concatenate([film[f"{phase}_{name}"] for phase in STEPS])

    classes, scenes = both("classes"), len(FILMED)
    queries = both("queries").reshape(len(classes), scenes, -1)
    maps = both("maps").sum(3, dtype=np.float32)
    maps /= maps.max((3, 4), keepdims=True).clip(1)
    arrays = {
        "boxes": (both("boxes").astype(np.float32) * 65535).round(),
        "classes": classes,
        "queries": queries,
        "maps": (maps * 255).round(),
        "masks": shown_masks(film["masks_masks"], classes, queries),
    }
    kinds = ["uint16", "uint8", "uint8", "uint8", "int8"]
    blocks = [
        (name, array.shape, kind, array.astype(KINDS[kind]).tobytes())
        for (name, array), kind in zip(arrays.items(), kinds, strict=True)
    ]
    header = {
        "scenes": list(FILMED),
        "mask_scale": MASK_SCALE,
        "phases": [
            {
                "name": phase,
                "steps": list(steps),
                "losses": [
                    [int(step), round(float(loss), 4)]
                    for step, loss in film[f"{phase}_losses"]
                ],
            }
            for phase, steps in STEPS.items()
        ],
    }
    return join(header, blocks)


def shown_masks(
    masks: np.ndarray, classes: np.ndarray, queries: np.ndarray
) -> np.ndarray:
    """Return the masks with 0 where a query has nothing to show."""
    last = slice(-len(masks), None)
    shown = classes[last].argmax(-1) < len(SCENE_CATEGORIES)
    np.put_along_axis(shown, queries[last].astype(np.int64), True, 2)
    return masks * shown[..., None, None]


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name."""
    header, numbers = split(data)
    return {
        name: np.frombuffer(
            numbers, KINDS[kind], int(np.prod(shape)), at
        ).reshape(shape)
        for name, shape, kind, at in header["tensors"]
    }


def write() -> None:
    """Write the committed file from data/film.npz."""
    with np.load(FILM) as film:
        save(FILE, VARIABLE, pack(dict(film)))


if __name__ == "__main__":
    write()
    print("The film is in book/_assets/widgets.")
