"""mode="original" is the original's PostProcessPanoptic, step by step.

The function below follows the original's steps one by one: probabilities,
numpy, PIL, and PNG files between them.  The package takes none of these ways.
"""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from support import sampled
from torch.nn import functional

from detr_lite.detr import found
from detr_lite.panoptic import panoptic_results

ISTHING = (True, False, True, False)
NO_OBJECT = len(ISTHING)
THRESHOLD = 0.85


def png_round_trip(colors):
    file = io.BytesIO()
    Image.fromarray(colors).save(file, "png")
    return np.asarray(Image.open(io.BytesIO(file.getvalue())))


def by_the_original(class_logits, mask_logits, processed, wanted):
    """Return [(class, area, pixels)] of one image.

    class_logits: (N, K + 1); mask_logits: (N, h, w); processed, wanted: the
    sizes (H, W) that the model saw and that the result should have.
    """
    scores, classes = class_logits.softmax(-1).max(-1)
    keep = (classes != NO_OBJECT) & (scores > THRESHOLD)
    classes, masks = classes[keep].tolist(), mask_logits[keep]
    if not classes:
        return []
    masks = functional.interpolate(masks[:, None], processed, mode="bilinear")
    masks = masks[:, 0].flatten(1).T.double().numpy()  # (pixels, n)

    equal: dict[int, list[int]] = {}  # stuff -> its masks
    for i, label in enumerate(classes):
        if not ISTHING[label]:
            equal.setdefault(label, []).append(i)

    def ids_and_areas(masks, merge):
        if not masks.shape[1]:
            return np.zeros(wanted, int), []
        power = np.exp(masks - masks.max(1, keepdims=True))
        ids = (power / power.sum(1, keepdims=True)).argmax(1)
        ids = ids.reshape(processed)
        if merge:
            for same in equal.values():
                for i in same:
                    ids[ids == i] = same[0]
        colors = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], -1)
        picture = Image.fromarray(png_round_trip(colors.astype(np.uint8)))
        picture = picture.resize(wanted[::-1], Image.Resampling.NEAREST)
        colors = png_round_trip(np.asarray(picture)).astype(int)
        ids = colors @ [1, 256, 256**2]
        return ids, [(ids == i).sum() for i in range(masks.shape[1])]

    ids, areas = ids_and_areas(masks, merge=True)
    while True:
        small = np.array(areas) <= 4
        if not small.any():
            break
        classes = [c for c, s in zip(classes, small, strict=True) if not s]
        masks = masks[:, ~small]
        ids, areas = ids_and_areas(masks, merge=False)
    return [
        (label, area, ids == i)
        for i, (label, area) in enumerate(zip(classes, areas, strict=True))
    ]


def made_up(random, queries, size):
    """Return class and mask logits: blobs, duplicates, specks, silence."""
    labels = random.choice(
        NO_OBJECT + 1, queries, p=[0.2, 0.3, 0.15, 0.15, 0.2]
    )
    classes = random.normal(size=(queries, NO_OBJECT + 1))
    sure = random.choice([1, 12], queries, p=[0.1, 0.9])
    classes[range(queries), labels] += sure
    y, x = np.mgrid[: size[0], : size[1]]
    masks = random.normal(0, 0.3, (queries, *size))
    for mask in masks:
        cy, cx = random.rand(2) * size
        radius = random.choice([0.6, 2, 5, 20])
        mask += 4 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / radius**2)
    return (torch.from_numpy(a).float() for a in (classes, masks))


def output(class_logits, mask_logits):
    """Return what panoptic_results reads; (B, N, K + 1), (B, N, h, w)."""
    keep = found(class_logits, THRESHOLD)
    image_index, query_index = keep.nonzero(as_tuple=True)
    return SimpleNamespace(
        class_logits=class_logits,
        boxes=torch.rand(*keep.shape, 4),
        mask_logits=mask_logits[keep],
        image_index=image_index,
        query_index=query_index,
    )


@pytest.mark.parametrize("first", sampled(range(0, 20_000, 400), 1))
def test_hundreds_of_results_are_the_originals_segment_by_segment(first):
    segments, empty, removed, twice = 0, 0, 0, 0
    for seed in range(first, first + 400):
        random = np.random.RandomState(seed)
        h, w = random.randint(4, 9, 2)
        queries = random.randint(1, 17)
        classes, masks = made_up(random, queries, (h, w))
        # Not always a multiple of the masks' size; then another one.
        processed = (4 * h - random.randint(4), 4 * w - random.randint(4))
        wanted = processed if seed % 2 else tuple(random.randint(6, 60, 2))
        theirs = by_the_original(classes, masks, processed, wanted)
        (ours,) = panoptic_results(
            output(classes[None], masks[None]), ISTHING,
            processed, [processed], [wanted], "original",
        )  # fmt: skip
        assert [s.label for s in ours.segments] == [s[0] for s in theirs], seed
        assert [s.area for s in ours.segments] == [s[1] for s in theirs], seed
        for mine, (*_, pixels) in zip(ours.segments, theirs, strict=True):
            assert ((ours.id_map == mine.id).numpy() == pixels).all(), seed
        kept = classes[found(classes, THRESHOLD)].argmax(-1).tolist()
        stuff = [label for label in kept if not ISTHING[label]]
        segments += len(theirs)
        empty += not theirs
        removed += len(theirs) < len(kept)
        twice += len(stuff) > len({*stuff})
    # Each kind of case occurs, so that agreement means something.
    assert segments > 800
    assert empty
    assert min(removed, twice) > 100


@pytest.mark.parametrize("mode", ["original", "union"])
@pytest.mark.parametrize("seed", sampled(range(100), 10))
def test_a_picture_in_a_padded_batch_gives_what_it_gives_alone(mode, seed):
    """Whatever its masks say about the padding.

    They are at full size: enlarging would mix the padding into the last
    pixels of the image, in the original too.
    """
    random = np.random.RandomState(seed)
    sizes = [(8, 12), (12, 7), (5, 5)]
    masks = torch.from_numpy(random.normal(0, 9, (3, 6, 12, 12))).float()
    rows = [made_up(random, 6, size) for size in sizes]
    classes, alone = zip(*(tuple(r) for r in rows), strict=True)
    for i, (h, w) in enumerate(sizes):
        masks[i, :, :h, :w] = alone[i]
    outs = [tuple(random.randint(6, 60, 2)) for _ in sizes]
    together = panoptic_results(
        output(torch.stack(classes), masks), ISTHING, (12, 12), sizes, outs,
        mode,
    )  # fmt: skip
    for i, result in enumerate(together):
        (single,) = panoptic_results(
            output(classes[i][None], alone[i][None]), ISTHING,
            sizes[i], [sizes[i]], [outs[i]], mode,
        )  # fmt: skip
        assert torch.equal(result.id_map, single.id_map)
        assert [(s.id, s.label, s.area, s.query) for s in result.segments] == [
            (s.id, s.label, s.area, s.query) for s in single.segments
        ]
