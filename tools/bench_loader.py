"""Measure the loader of COCO panoptic data against bare decoding.

python tools/bench_loader.py [--pictures N] [--rounds N]

Makes photographs of 640 x 480 pixels with 12 irregular segments each, then
times, image by image and in turn, (a) Pillow decoding the JPEG and the
PNG to tensors and (b) the sample and its target, both by one process and
through a DataLoader with one worker.  Prints the medians and the ratios.
In one process it counts processor time, which other programs change least.
Each process first takes and frees 32 MB, as any that makes batches does: the
allocator then no longer asks the system for each image's memory anew.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch.utils.data import DataLoader, Dataset

from detr_lite.data.batch import make_targets
from detr_lite.data.coco.dataset import CocoPanoptic
from detr_lite.data.coco.format import Files, ids_to_rgb
from detr_lite.targets import boxes_from_id_map

HEIGHT, WIDTH, SEGMENTS = 480, 640, 12


def photograph(random: np.random.Generator) -> np.ndarray:
    """Return smooth noise of several grains, (H, W, 3) uint8."""
    picture = np.full((HEIGHT, WIDTH, 3), 128.0)
    for grain, contrast in ((40, 60), (8, 25), (2, 18), (0.7, 10)):
        noise = random.standard_normal(picture.shape)
        noise = gaussian_filter(noise, (grain, grain, 0))
        picture += contrast * noise / noise.std()
    return picture.clip(0, 255).astype(np.uint8)


def segments(random: np.random.Generator) -> torch.Tensor:
    """Return an (H, W) map of irregular regions with ids like COCO's."""
    hills = []
    for grain in random.uniform(15, 60, SEGMENTS):
        hill = gaussian_filter(random.standard_normal((HEIGHT, WIDTH)), grain)
        hills.append(hill / hill.std())
    ids = random.choice(2**24 - 1, SEGMENTS, replace=False) + 1
    return torch.from_numpy(ids[np.argmax(hills, 0)])


def write_data(folder: Path, pictures: int) -> CocoPanoptic:
    """Write a data set of photographs and open it."""
    random = np.random.default_rng(0)
    for name in ("images", "panoptic"):
        (folder / name).mkdir()
    images, annotations = [], []
    for number in range(1, pictures + 1):
        jpg, png = f"{number}.jpg", f"{number}.png"
        photo, id_map = photograph(random), segments(random)
        Image.fromarray(photo).save(folder / "images" / jpg, quality=90)
        Image.fromarray(ids_to_rgb(id_map)).save(folder / "panoptic" / png)
        ids = id_map.unique()
        images.append(
            {
                "id": number,
                "file_name": jpg,
                "width": WIDTH,
                "height": HEIGHT,
            }
        )
        annotations.append(
            {
                "image_id": number,
                "file_name": png,
                "segments_info": [
                    {"id": i, "category_id": 1, "bbox": [x, y, r - x, b - y]}
                    for i, (x, y, r, b) in zip(
                        ids.tolist(),
                        boxes_from_id_map(id_map, ids).tolist(),
                        strict=True,
                    )
                ],
            }
        )
    categories = [{"id": 1, "name": "thing", "isthing": 1}]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    (folder / "panoptic.json").write_text(json.dumps(content))
    return CocoPanoptic.from_folder(folder)


class Bare(Dataset):
    """The same files decoded by Pillow, as tensors, and nothing more."""

    def __init__(self, files: Files, pictures: int):
        self.files, self.images = files, pictures

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        paths = (
            self.files.images / f"{index + 1}.jpg",
            self.files.panoptic / f"{index + 1}.png",
        )
        return tuple(
            torch.from_numpy(np.array(Image.open(path))) for path in paths
        )


class Loaded(Dataset):
    """The sample, and the targets with their boxes."""

    def __init__(self, data: CocoPanoptic):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple:
        sample = self.data[index]
        return sample.image, make_targets([sample])


def settle(worker: int = 0) -> None:
    """Let the allocator keep what images need, as batches make it do."""
    np.ones(32 * 2**20, np.uint8)


def in_this_process(
    bare: Bare, loaded: Loaded, rounds: int
) -> tuple[float, float]:
    """Return the median processor seconds an image, taken in turn."""
    times = [], []
    for _ in range(rounds):
        for index in range(len(bare)):
            for source, seconds in zip((bare, loaded), times, strict=True):
                start = time.process_time()
                source[index]
                seconds.append(time.process_time() - start)
    return tuple(statistics.median(seconds) for seconds in times)


def through_a_worker(
    bare: Bare, loaded: Loaded, rounds: int
) -> tuple[float, float]:
    """Return the median seconds an image of rounds with one worker."""
    times = [], []
    loaders = [
        DataLoader(
            source,
            batch_size=None,
            num_workers=1,
            persistent_workers=True,
            worker_init_fn=settle,
            collate_fn=lambda item: item,
        )
        for source in (bare, loaded)
    ]
    for _ in range(rounds + 1):
        for loader, seconds in zip(loaders, times, strict=True):
            start = time.perf_counter()
            for _ in loader:
                pass
            seconds.append((time.perf_counter() - start) / len(bare))
    return tuple(statistics.median(seconds[1:]) for seconds in times)


def measure(pictures: int = 32, rounds: int = 10) -> dict[str, float]:
    """Return milliseconds an image: bare and ours, alone and by a worker."""
    torch.set_num_threads(1)
    settle()
    with tempfile.TemporaryDirectory() as name:
        data = write_data(Path(name), pictures)
        bare, loaded = Bare(data.files, len(data)), Loaded(data)
        alone = in_this_process(bare, loaded, rounds)
        worker = through_a_worker(bare, loaded, rounds)
    names = ("decoding_ms", "loading_ms", "worker_decoding_ms",
             "worker_loading_ms")  # fmt: skip
    seconds = (*alone, *worker)
    return {n: 1000 * s for n, s in zip(names, seconds, strict=True)}


def main() -> None:
    """Print what both ways cost, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    ms = measure(args.pictures, args.rounds)
    for place, mark in (("in one process", ""), ("by one worker", "worker_")):
        a, b = ms[f"{mark}decoding_ms"], ms[f"{mark}loading_ms"]
        print(
            f"{place:15} decoding {a:5.2f} ms   sample and target "
            f"{b:5.2f} ms   ratio {b / a:.2f}"
        )


if __name__ == "__main__":
    main()
