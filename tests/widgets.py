"""What the tests of widgets, tests/test_widget*.py, have in common."""

from detr_lite.data.sample import Sample
from detr_lite.data.scenes import (
    SCENE_CATEGORIES,
    VALIDATION_SEED,
    SceneSplit,
)
from detr_lite.panoptic_quality import PanopticQuality
from detr_lite.teaching.widgets import KINDS

# What is there once a widget is alive.
READY = {
    "encoding": ".dl-hand",
    "fault": ".dl-fates td",
    "film": ".dl-next",
    "panoptic": ".dl-fates td",
    "quality": ".dl-quality td",
    "stages": ".dl-chip",
    "beach": ".dl-chip",
    "attention": ".dl-chip",
    "queries": ".dl-query[aria-pressed=true]",
    "matching": ".dl-cost",
}
NAMES = [c.name for c in SCENE_CATEGORIES]


def sample(name: str) -> Sample:
    """Return the scene that a widget shows first."""
    index = KINDS[name].scene
    return SceneSplit(VALIDATION_SEED, index + 1)[index]


def counted(id_map, labels, scene) -> PanopticQuality:
    """Hold segments, id -> label, against those of a scene."""
    quality = PanopticQuality(len(NAMES))
    ids, true = scene.segment_ids.tolist(), scene.labels.tolist()
    wanted = dict(zip(ids, true, strict=True))
    quality.update(id_map, labels, scene.id_map, wanted)
    return quality


def quality_of(prediction, scene) -> float:
    """Return the PQ of a prediction."""
    found = {s.id: s.label for s in prediction.segments}
    return counted(prediction.id_map, found, scene).compute()["pq"]
