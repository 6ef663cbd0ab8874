"""Train the shipped weights and put them into data/, with their card.

    python tools/make_weights.py            train (an hour) and publish
    python tools/make_weights.py --publish  publish the run in runs/full

Publishing also writes the film of the training, the small validation split
data/scenes, and data/manifest.json: size, sha256, license and source of each
file.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import torch
from training_film import Film, cut

from detr_lite.data.coco.writer import write_split
from detr_lite.data.scenes import (
    SCENE_CATEGORIES,
    TRAIN_SEED,
    VALIDATION_COUNT,
    VALIDATION_SEED,
    SceneSplit,
)
from detr_lite.errors import DetrLiteError
from detr_lite.files.output import staged
from detr_lite.inference.drawing import enlarged, overlay, sheet
from detr_lite.inference.loading import load_model
from detr_lite.training.recipes import PRESETS, TRAIN_COUNTS, preset
from detr_lite.training.runs import Progress
from detr_lite.training.train import ProgressBar, scenes_data, train

ROOT = Path(__file__).resolve().parent.parent
DATA, RUN = ROOT / "data", ROOT / "runs" / "full"
FRAMES = ROOT / "runs" / "full_film"
SMALL_SPLIT = 32  # scenes in data/scenes
LICENSE = "Apache-2.0"

CARD = """# Model card: scenes

**What it is.** A DETR panoptic model of {parameters:.2f} million parameters:
a ResNet of width 16 with a dilated last stage, 2 encoder and 3 decoder
layers of width 128 with 8 heads, 12 queries, and a mask head.
`scenes.safetensors` is the whole model, `backbone.safetensors` its ResNet
after phase "backbone", from which the quick preset starts; `film.npz` shows
two scenes at sixteen steps of its training.

**Data.** {count} synthetic scenes of 96 x 96 pixels, seed {train_seed}, drawn
by `detr_lite.data.scenes`: 4 classes of things ({things}) and 4 of stuff
({stuff}). No photograph and no person was involved.

**Recipe.** `make weights`, that is `detr-lite train --preset full`:
{phases}. No-object weight {no_object}, AdamW, weight decay
{weight_decay}, seed {seed}.

**Where and how long.** {minutes:.0f} minutes on {machine}, torch {torch}.

**Metrics**, on the {val_count} validation scenes of seed {val_seed}, which it
was not trained on (`detr-lite evaluate --model scenes` prints them):

| | all | things | stuff |
| --- | --- | --- | --- |
| PQ | {pq:.3f} | {pq_things:.3f} | {pq_stuff:.3f} |
| SQ | {sq:.3f} | {sq_things:.3f} | {sq_stuff:.3f} |
| RQ | {rq:.3f} | {rq_things:.3f} | {rq_stuff:.3f} |
| box AP | {box_ap:.3f} | | |

**Limits.** It knows the scenes and nothing else: on a photograph it names
regions after the colors and shapes of the scenes.

**License.** {license}.
"""


def card(log: list[dict], metrics: dict) -> str:
    """Return the model card of a finished run."""
    # The tools lie side by side; measure.py knows how to name a machine.
    from measure import keep, machine

    recipe = PRESETS["full"]
    seconds = log[-1]["seconds"]
    keep("full", {"seconds": seconds, **metrics})
    names = {
        thing: ", ".join(
            c.name for c in SCENE_CATEGORIES if c.isthing == thing
        )
        for thing in (True, False)
    }
    from safetensors.torch import load_file

    state = load_file(RUN / "model.safetensors")
    return CARD.format(
        parameters=sum(t.numel() for t in state.values()) / 1e6,
        count=TRAIN_COUNTS["full"],
        train_seed=TRAIN_SEED,
        things=names[True],
        stuff=names[False],
        phases="; ".join(
            f"{p.name}, {p.steps} steps of {p.batch_size}, "
            f"learning rate {p.lr:g}"
            for p in recipe.phases
        ),
        no_object=recipe.no_object_weight,
        weight_decay=recipe.weight_decay,
        seed=recipe.seed,
        minutes=seconds / 60,
        machine=machine(),
        torch=torch.__version__.split("+")[0],
        val_count=VALIDATION_COUNT,
        val_seed=VALIDATION_SEED,
        license=LICENSE,
        **metrics,
    )


def publish() -> None:
    """Copy the run's weights into data/ and describe every file there."""
    log = [json.loads(x) for x in (RUN / "log.jsonl").read_text().splitlines()]
    metrics = json.loads((RUN / "metrics.json").read_text())["metrics"]
    shutil.copyfile(RUN / "model.safetensors", DATA / "scenes.safetensors")
    shutil.copyfile(
        RUN / "backbone.safetensors", DATA / "backbone.safetensors"
    )
    cut(FRAMES, RUN / "log.jsonl", DATA / "film.npz")
    (DATA / "MODEL_CARD.md").write_text(card(log, metrics))
    write_data()
    draw_found()
    make_web_files()


def draw_found() -> None:
    """Draw the README's image: scenes, each beside what was found."""
    model, tiles = load_model("scenes"), []
    split = SceneSplit(VALIDATION_SEED, SMALL_SPLIT)
    busiest = sorted(split, key=lambda sample: -len(sample.labels))[:4]
    for image in (sample.image for sample in busiest):
        tiles.append(enlarged(image, 288))
        tiles.append(overlay(model.predict(image), smallest=288))
    path = ROOT / "book" / "_assets" / "found.jpg"
    sheet(tiles, 4).save(path, quality=90)


def make_web_files() -> None:
    """Write the same weights, rounded, and the film for the book's pages."""
    import make_web_film  # the tools lie side by side
    import make_web_weights

    make_web_weights.write()
    make_web_film.write()


def write_data() -> None:
    """Write data/scenes and data/manifest.json."""
    shutil.rmtree(DATA / "scenes", ignore_errors=True)
    with staged(DATA / "scenes") as stage:
        write_split(SceneSplit(VALIDATION_SEED, SMALL_SPLIT), stage)
    sources = {
        "scenes.safetensors": "make weights",
        "backbone.safetensors": "make weights",
        "film.npz": "make weights",
        "MODEL_CARD.md": "make weights",
    }
    manifest = {}
    for path in sorted(p for p in DATA.rglob("*") if p.is_file()):
        name = path.relative_to(DATA).as_posix()
        if name == "manifest.json":
            continue
        content = path.read_bytes()
        manifest[name] = {
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "license": LICENSE,
            "source": sources.get(
                name,
                f"detr-lite scenes --seed {VALIDATION_SEED} "
                f"--count {SMALL_SPLIT}",
            ),
        }
    (DATA / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def main() -> None:
    """Train unless told not to, then publish."""
    try:
        if sys.argv[1:] != ["--publish"]:
            recipe = preset("full")
            resume = (RUN / "checkpoint.pt").exists()
            film = Film(FRAMES)
            with ProgressBar(recipe) as bar:

                def watch(progress: Progress) -> None:
                    bar.watch(progress)
                    film.watch(progress)

                train(recipe, *scenes_data("full"), RUN, resume, watch)
        publish()
    except DetrLiteError as error:
        sys.exit(f"make weights: {error}")
    print(f"The weights are in {DATA}; see {DATA / 'MODEL_CARD.md'}.")


if __name__ == "__main__":
    main()
