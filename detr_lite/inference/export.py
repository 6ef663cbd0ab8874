"""Models for other programs: ONNX files, checked against PyTorch."""

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from detr_lite.data.batch import IMAGENET_MEAN, IMAGENET_STD
from detr_lite.errors import ExportError
from detr_lite.files.output import check_file, staged_file

INPUTS = ("images", "padding_mask")
OPSET = 18  # the oldest that PyTorch writes: the most programs read it
# Batches to trace with, and to check on: both have other sizes.
TRACED = (2, 96, 128)
CHECKED = ((2, 96, 160), (1, 128, 96))
TOLERANCE = 1e-4  # of an output's largest value; float32 stays far below


class OnnxModel(nn.Module):
    """A model as a function of tensors alone, without choices on the way.

    All N queries get masks, for which are kept depends on the image.

    Args:
        model: a PanopticModel or DetectionModel; left as it is.
        masks: give mask_logits.
        intermediates: give what the book looks at on the way, too.
    """

    def __init__(self, model: nn.Module, masks: bool, intermediates: bool):
        super().__init__()
        self.model = copy.deepcopy(model).float().cpu().eval()
        self.masks = masks
        self.names = ["class_logits", "boxes"]
        if masks:
            self.names += ["mask_logits"]
        if intermediates:
            self.names += ["src_proj", "memory", "box_embeddings"]
            self.names += ["attention_maps"] if masks else []
            self.names += ["res2", "res3", "res4", "res5"]

    def forward(self, images: Tensor, padding_mask: Tensor) -> list[Tensor]:
        """Return the outputs in the order of `names`.

        images: (B, 3, H, W), normalized; padding_mask: (B, H, W) bool,
        True = padding.
        """
        found = self.model.detr(images, padding_mask)
        outputs = vars(found) | found.pyramid._asdict()
        outputs |= {"class_logits": found.class_logits, "boxes": found.boxes}
        if self.masks:
            maps = self.model.bbox_attention(
                found.box_embeddings, found.memory, found.padding_mask
            )
            batch, queries = maps.shape[:2]
            index = torch.arange(batch).repeat_interleave(queries)
            masks = self.model.mask_head(
                found.src_proj, maps.flatten(0, 1), index, found.pyramid
            )
            outputs["attention_maps"] = maps
            outputs["mask_logits"] = masks.unflatten(0, (batch, queries))
        return [outputs[name] for name in self.names]


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        outputs: the names of the file's outputs.
        difference: the largest between onnxruntime and PyTorch.
        relative: the largest as a part of the output's largest value, where
            that is above 1.
        size: bytes.
    """

    outputs: tuple[str, ...]
    difference: float
    relative: float
    size: int


def export_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    masks: bool = True,
    intermediates: bool = False,
) -> ExportReport:
    """Write a model as an ONNX file that onnxruntime agrees with.

    Inputs are `images`, (B, 3, H, W) float32, normalized, and
    `padding_mask`, (B, H, W) bool, True = padding; B, H and W are free.
    Outputs are `class_logits`, (B, N, K + 1), `boxes`, (B, N, 4), and
    `mask_logits`, (B, N, H/4, W/4): of all queries, for a graph cannot
    choose those that found something.  Padding is seen by the backbone, as
    in the original; for one image, or several of one size, there is no
    difference.  The file's metadata say how to use it: mean, std,
    threshold, categories and config, as JSON.

    model: a PanopticModel or DetectionModel.
    masks: False leaves the mask head out.
    intermediates: outputs also src_proj, memory, box_embeddings,
        attention_maps, res2, res3, res4 and res5; see DetrOutput.
    The file appears if onnxruntime gives what PyTorch gives on two batches,
    one of them padded.  ExportError or OutputError say what is wrong.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise ExportError(
                f"Exporting needs the package {package}; install what is "
                "missing with: pip install 'detr-lite[export]'."
            )
    check_file(Path(path), _is_export)
    masks = masks and hasattr(model, "mask_head")
    with staged_file(path) as part:
        traced = OnnxModel(model, masks, intermediates)
        program = _trace(traced)
        for name, value in _metadata(model).items():
            program.model.metadata_props[name] = json.dumps(value)
        program.save(part, external_data=False)
        difference, relative = _check(traced, part, Path(path))
        size = part.stat().st_size
    return ExportReport(tuple(traced.names), difference, relative, size)


def _metadata(model: nn.Module) -> dict:
    return {
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "threshold": model.threshold,
        "categories": [asdict(c) for c in model.categories],
        "config": asdict(model.config),
    }


def _is_export(path: Path) -> bool:
    """Return whether a file is an ONNX file that export_onnx wrote."""
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # what other bytes make protobuf raise differs
        return False
    names = {entry.key for entry in model.metadata_props}
    return {"threshold", "categories", "config"} <= names


def _trace(model: OnnxModel):
    """Return the ONNX program of a model."""
    # Above the largest stride: no map has a single row, a case of its own.
    batch = torch.export.Dim("batch")
    height = torch.export.Dim("height", min=64)
    width = torch.export.Dim("width", min=64)
    with _quiet(), torch.no_grad():
        return torch.onnx.export(
            model,
            _inputs(*TRACED),
            dynamo=True,
            opset_version=OPSET,
            input_names=INPUTS,
            output_names=model.names,
            dynamic_shapes=(
                {0: batch, 2: height, 3: width},
                {0: batch, 1: height, 2: width},
            ),
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on its own steps from the user."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _inputs(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return random images; of several, the last is smaller, padded."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, height, width, generator=generator)
    padding_mask = torch.zeros(batch, height, width, dtype=torch.bool)
    if batch > 1:
        padding_mask[-1, 2 * height // 3 :] = True
        padding_mask[-1, :, 3 * width // 4 :] = True
    return images, padding_mask


def _check(model: OnnxModel, part: Path, path: Path) -> tuple[float, float]:
    """Return the largest differences to PyTorch; ExportError if too large."""
    from onnxruntime import InferenceSession

    session = InferenceSession(part, providers=["CPUExecutionProvider"])
    largest = most = 0.0
    for size in CHECKED:
        inputs = _inputs(*size)
        with torch.no_grad():
            wanted = model(*inputs)
        arrays = (x.numpy() for x in inputs)
        got = session.run(model.names, dict(zip(INPUTS, arrays, strict=True)))
        for name, a, b in zip(model.names, wanted, got, strict=True):
            difference = (a - torch.from_numpy(b)).abs().max().item()
            relative = difference / max(1.0, a.abs().max().item())
            if not relative <= TOLERANCE:  # said so that a NaN fails
                raise ExportError(
                    f"{path} is not written: onnxruntime's {name} is off by "
                    f"{difference:.2g}; try other versions of torch, "
                    "onnxscript and onnxruntime."
                )
            largest, most = max(largest, difference), max(most, relative)
    return largest, most
