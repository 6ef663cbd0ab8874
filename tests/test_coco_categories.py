"""COCO's classes: the counts, the ids, and torchvision's names of things."""

import pytest
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from detr_lite.data.coco.categories import (
    coco_categories,
    original_categories,
    used,
)

GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def test_there_are_80_things_and_53_kinds_of_stuff():
    things = [c.id for c in coco_categories() if c.isthing]
    stuff = [c.id for c in coco_categories() if not c.isthing]
    assert (len(things), len(stuff)) == (80, 53)
    assert set(things) == set(range(1, 91)) - GAPS
    assert min(stuff) == 92
    assert max(stuff) == 200
    ids = [c.id for c in coco_categories()]
    assert ids == sorted(ids)


def test_the_things_are_called_as_torchvision_calls_them():
    weights = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    names = weights.meta["categories"]
    for category in original_categories(91):
        name = names[category.id]
        if name in ("N/A", "__background__"):
            assert category.name == f"unused {category.id}"
        else:
            assert category.name == name


@pytest.mark.parametrize(
    ("number", "name"),
    [(92, "banner"), (149, "road"), (184, "tree-merged"),
     (187, "sky-other-merged"), (200, "rug-merged")],
)  # fmt: skip
def test_stuff_has_its_id(number, name):
    (category,) = (c for c in coco_categories() if c.id == number)
    assert category.name == name


def test_names_and_colors_are_all_different():
    for values in (
        [c.name for c in coco_categories()],
        [c.color for c in coco_categories()],
    ):
        assert len(set(values)) == 133
    for category in coco_categories():
        assert all(0 <= v <= 255 for v in category.color)


@pytest.mark.parametrize(("count", "classes"), [(250, 133), (91, 80)])
def test_the_originals_labels_are_category_ids(count, classes):
    categories = original_categories(count)
    assert len(categories) == count
    assert [c.id for c in categories] == list(range(count))
    named = list(used(categories))
    assert named == [c for c in coco_categories() if c.id < count]
    assert len(named) == classes
    # The flag of a label without a class, too, as the original sets it.
    assert all(c.isthing == (c.id <= 90) for c in categories)
