"""Time panoptic quality: panopticapi's algorithm against this package's.

python tools/bench_pq.py [--pictures 20] [--rounds 15]

Both count the same made-up images in one process: 480 x 640 pixels, about
12 segments with curved borders, ids as random as those of COCO, and a result
that is like the truth but for its borders.  Three ways to start: from ids in
memory; from the colors of decoded PNG files, where panopticapi's algorithm
begins; from PNG files.  Ours starts from ids wherever it can: its own
results never were colors.  In each round one counts all images, then the
other.  Medians over all images and rounds, in milliseconds of processor
time for an image.
"""

import argparse
import io
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from panopticapi_pq import (
    count,
    segments_info,
    to_colors,
    to_ids,
)

from detr_lite.panoptic_quality import PanopticQuality

SIZE, SEGMENTS, CLASSES = (480, 640), 12, 133


class Picture:
    """A result and a truth, in every form that an algorithm starts from."""

    def __init__(self, seed: int):
        random = np.random.RandomState(seed)
        generator = torch.Generator().manual_seed(seed)
        waves = torch.randn(1, SEGMENTS, 4, 5, generator=generator)
        noise = torch.randn(waves.shape, generator=generator)
        classes = random.randint(CLASSES, size=SEGMENTS)
        self.ids, self.labels, self.info = [], [], []
        for field in (waves + 0.2 * noise, waves):  # the result, the truth
            large = F.interpolate(field, SIZE, mode="bicubic")[0]
            numbers = random.randint(1, 2**24, SEGMENTS)
            ids = numbers[large.argmax(0).numpy()]
            labels = {
                int(n): int(c)
                for n, c in zip(numbers, classes, strict=True)
                if (ids == n).any()
            }
            self.ids.append(ids)
            self.labels.append(labels)
            self.info.append(segments_info(ids, labels))
        self.maps = [torch.from_numpy(ids.astype("int32")) for ids in self.ids]
        self.ids = [ids.astype("uint32") for ids in self.ids]
        self.colors = [to_colors(ids) for ids in self.ids]
        self.files = [png(colors) for colors in self.colors]


def png(colors) -> bytes:
    """Return the PNG file of (H, W, 3) colors."""
    file = io.BytesIO()
    Image.fromarray(colors).save(file, "png")
    return file.getvalue()


def decoded(file: bytes):
    """Return the (H, W, 3) colors of a PNG file."""
    return np.asarray(Image.open(io.BytesIO(file)))


def theirs(picture: Picture, table, start: str) -> None:
    """Count an image by panopticapi's algorithm."""
    found, true = getattr(picture, start)
    if start == "files":
        found, true = decoded(found), decoded(true)
    if start != "ids":
        found, true = to_ids(found), to_ids(true)
    count(table, found, picture.info[0], true, picture.info[1])


def ours(picture: Picture, quality: PanopticQuality, start: str) -> None:
    """Count an image by this package's."""
    found, true = picture.maps
    if start == "files":
        found, true = (
            torch.from_numpy(to_ids(decoded(f)).astype("int32"))
            for f in picture.files
        )
    quality.update(found, picture.labels[0], true, picture.labels[1])


def measure(pictures: int = 20, rounds: int = 15) -> dict[str, float]:
    """Return the median milliseconds an image of both, for each start."""
    torch.set_num_threads(1)
    made = [Picture(seed) for seed in range(pictures)]
    result = {}
    for start in ("ids", "colors", "files"):
        table = np.zeros((CLASSES, 4))
        quality = PanopticQuality(CLASSES)
        times = {theirs: [], ours: []}
        for _ in range(rounds):
            for run, into in ((theirs, table), (ours, quality)):
                for picture in made:
                    begin = time.process_time()
                    run(picture, into, start)
                    times[run].append(1e3 * (time.process_time() - begin))
        counts = quality.iou, quality.tp, quality.fp, quality.fn
        if not np.allclose(np.stack(counts, 1), table, rtol=0, atol=1e-9):
            raise SystemExit("The two do not agree.")
        for run, samples in times.items():
            name = f"{start}_{run.__name__}_ms"
            result[name] = statistics.median(samples)
    return result


def main() -> None:
    """Time both, and print the table."""
    parser = argparse.ArgumentParser(description="Time panoptic quality.")
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    ms = measure(args.pictures, args.rounds)
    print(f"{'start':8}{'panopticapi':>12}{'detr_lite':>12}{'ratio':>8}")
    for start in ("ids", "colors", "files"):
        a, b = ms[f"{start}_theirs_ms"], ms[f"{start}_ours_ms"]
        print(f"{start:8}{a:12.2f}{b:12.2f}{a / b:8.1f}")


if __name__ == "__main__":
    main()
