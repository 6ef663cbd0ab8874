"""Views of a split: other labels, the same images."""

from dataclasses import replace

import pytest
from support import TWO_CLASSES, sample

from detr_lite.data.categories import Categories, Category
from detr_lite.data.scenes import SCENE_CATEGORIES
from detr_lite.data.subsets import Part, relabel
from detr_lite.errors import DataError

DOG = Category(1, "dog", True, (0, 0, 0))


def test_labels_are_joined_by_category_id():
    wide = Categories([DOG, *reversed(TWO_CLASSES)])
    one = sample([[1, 2, 3]], [1, 2, 3], [1, 0, 0])

    class Two(list):
        categories = TWO_CLASSES

    other = relabel(Part(Two([one] * 4), [0, 3]), wide)
    assert other.categories == wide
    assert len(other) == 2
    assert other[0].labels.tolist() == [1, 2, 2]
    assert other[1].image is one.image


def test_the_same_list_changes_nothing(scenes):
    assert relabel(scenes, SCENE_CATEGORIES) is scenes


def test_colors_may_differ(scenes):
    gray = Categories([replace(c, color=(9, 9, 9)) for c in SCENE_CATEGORIES])
    assert relabel(scenes, gray)[0].labels.equal(scenes[0].labels)


def test_a_class_that_is_missing_is_refused_by_name(scenes):
    with pytest.raises(DataError, match=r"class ball \(id 1\).*2 classes"):
        relabel(scenes, TWO_CLASSES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "lake"}, "id 1 is the thing ball .* the thing lake"),
        ({"isthing": False}, "id 1 is the thing ball .* the stuff ball"),
    ],
)
def test_an_id_that_means_something_else_is_refused(scenes, change, words):
    first, *rest = SCENE_CATEGORIES
    with pytest.raises(DataError, match=words):
        relabel(scenes, Categories([replace(first, **change), *rest]))


def test_views_know_the_sizes_if_the_split_does(scenes):
    class Sized(list):
        categories = SCENE_CATEGORIES
        sizes = [(4, 5), (6, 7), (8, 9)]  # noqa: RUF012

    sized = Sized([None] * 3)
    gray = Categories([replace(c, color=(9, 9, 9)) for c in SCENE_CATEGORIES])
    assert relabel(Part(sized, [2, 0]), gray).sizes == [(8, 9), (4, 5)]
