"""Benchmarks: the package, the same with all savings off, transformers.

python tools/bench.py                  all cases; make bench runs each thrice
python tools/bench.py --runs 3 CASE    some, each several times

All three have the same weights, see the same images and take turns in one
process; a case that is run several times gets a process each time, and what
counts is the median of the runs.  How far memory grows is measured in a fresh
process for each, over its first run.  Writes tools/bench.json and prints a
table in Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measure
import reference
from bench_tables import spread, times_ours

from detr_lite.backbone import Backbone
from detr_lite.data.batch import pad_images
from detr_lite.data.categories import Categories, Category
from detr_lite.data.scenes import VALIDATION_SEED, SceneSplit
from detr_lite.inference.loading import load_model
from detr_lite.inference.model import build_model, tuned
from detr_lite.inference.speed import Speed
from detr_lite.losses import DetectionLoss
from detr_lite.mask_head import MaskHead
from detr_lite.matching import HungarianMatcher
from detr_lite.models import ModelConfig
from detr_lite.panoptic import panoptic_results
from detr_lite.panoptic_detr import all_queries
from detr_lite.savings.mask_losses import MaskLossInParts
from detr_lite.targets import Targets
from detr_lite.transformer import MultiHeadAttention, Transformer
from detr_lite.weights.layouts import convert

RESULTS = Path(__file__).resolve().parent / "bench.json"
SIDES = ("ours", "reference", "transformers")
PAPER = ModelConfig(num_classes=250)
KEPT = 15
SEGMENTS = 12


def categories(count: int) -> Categories:
    """Return as many classes; the first third are things."""
    return Categories(
        [
            Category(i, f"class {i}", i <= count // 3, (0, 0, 0))
            for i in range(1, count + 1)
        ]
    )


@torch.no_grad()
def sample(config: ModelConfig, size: tuple[int, int], batch: int = 1):
    """Return a model of random weights and images of which it keeps KEPT.

    The class head is solved for: the first queries find something, the rest
    say "no object".  With random weights as they are, all queries and all
    masks are nearly equal, and comparing ids would compare rounding; so the
    image is made smaller and the attention sharper.
    """
    torch.manual_seed(0)
    model = build_model(config, categories(config.num_classes)).eval()
    model.detr.input_proj.weight *= 0.1
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.in_proj_weight[: 2 * config.width] *= 4
    model.bbox_attention.q_linear.weight *= 16
    model.mask_head.lay1.weight[:, config.width :] *= 16000
    image = torch.randn(1, 3, *size)
    if HEAD:
        model.detr.class_embed.load_state_dict(HEAD)
        return model, image.repeat(batch, 1, 1, 1)
    embeddings = model.detr(image).box_embeddings[0].double()
    kept = min(KEPT, config.num_queries - 1)
    wanted = torch.zeros(len(embeddings), config.num_classes + 1).double()
    wanted[kept:, -1] = 20
    for i in range(kept):
        wanted[i, i * config.num_classes // kept] = 20
    solution = torch.linalg.lstsq(embeddings, wanted, driver="gelsd").solution
    model.detr.class_embed.weight.copy_(solution.T)
    model.detr.class_embed.bias.zero_()
    return model, image.repeat(batch, 1, 1, 1)


def own_sample(side: str, config, size, batch):
    """Return the sample; the reference's lies in memory as it needs it.

    Else each of its runs would begin by copying all weights.
    """
    model, images = sample(config, size, batch)
    if side == "reference":
        model.to(memory_format=torch.contiguous_format)
    return model, images


def theirs(model, config: ModelConfig, auxiliary_loss: bool = False):
    """Return transformers' model of the same shape and weights."""
    from transformers import DetrConfig, DetrForSegmentation, ResNetConfig

    expansion = 4 if config.bottleneck else 1
    widths = [config.resnet_width * 2**i * expansion for i in range(4)]
    other = DetrForSegmentation(
        DetrConfig(
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone_config=ResNetConfig(
                embedding_size=config.resnet_width,
                hidden_sizes=widths,
                depths=list(config.depths),
                layer_type="bottleneck" if config.bottleneck else "basic",
                out_features=["stage1", "stage2", "stage3", "stage4"],
            ),
            num_labels=config.num_classes,
            d_model=config.width,
            encoder_attention_heads=config.heads,
            decoder_attention_heads=config.heads,
            encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers,
            encoder_ffn_dim=config.feedforward,
            decoder_ffn_dim=config.feedforward,
            num_queries=config.num_queries,
            dropout=config.dropout,
            auxiliary_loss=auxiliary_loss,
        )
    ).eval()
    state = convert(model.state_dict(), "transformers5", own_resnet=True)
    other.load_state_dict(state, strict=True)
    return other


def truth(config: ModelConfig, size: tuple[int, int], batch: int) -> Targets:
    """Return the segments of a batch's images: SEGMENTS columns of each."""
    ids = torch.arange(size[1]) * SEGMENTS // size[1] + 1
    labels = torch.arange(SEGMENTS) % config.num_classes
    centers = (torch.arange(SEGMENTS) + 0.5) / SEGMENTS
    boxes = torch.full((SEGMENTS, 4), 0.5)
    boxes[:, 0], boxes[:, 2], boxes[:, 3] = centers, 1 / SEGMENTS, 1.0
    return Targets(
        labels=labels.repeat(batch),
        boxes=boxes.repeat(batch, 1),
        image=torch.arange(batch).repeat_interleave(SEGMENTS),
        segment_ids=torch.arange(1, SEGMENTS + 1).repeat(batch),
        id_maps=ids.int().expand(batch, *size).contiguous(),
        counts=(SEGMENTS,) * batch,
    )


def their_labels(targets: Targets, masks: bool = False) -> list[dict]:
    """Return the targets as transformers takes them."""
    labels = []
    for number in range(len(targets.counts)):
        mine = (targets.image == number).nonzero()[:, 0]
        one = {
            "class_labels": targets.labels[mine],
            "boxes": targets.boxes[mine],
        }
        if masks:
            one["masks"] = targets.masks(mine).float()
        labels.append(one)
    return labels


def our_results(model, images) -> list:
    """Return the segmentation of each image, as we find it."""
    size, batch = tuple(images.shape[-2:]), len(images)
    things = [c.isthing for c in model.categories]
    return panoptic_results(
        model(images), things, size, [size] * batch, mode="original"
    )


def our_ids(model, images) -> torch.Tensor:
    """Return which query each pixel goes to, (B, H, W), as we find it."""
    return query_maps(our_results(model, images))


def query_maps(results) -> torch.Tensor:
    """Return which query each pixel of some segmentations went to."""
    maps = []
    for result in results:
        query = torch.tensor([-1, *(s.query for s in result.segments)])
        maps.append(query[result.id_map.long()])
    return torch.stack(maps)


def their_forward(model, other, images) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the class logits and masks of all queries, (B, N, ...).

    other: transformers' model, or None for ours, with all savings off.
    """
    if other is not None:
        found = other(images, torch.ones_like(images[:, 0], dtype=int))
        return found.logits, found.pred_masks
    output = model(images, None, all_queries)
    logits = output.class_logits
    return logits, output.mask_logits.unflatten(0, logits.shape[:2])


def long_way_to_ids(model, logits, masks, size) -> torch.Tensor:
    """Return which query each pixel goes to, by the original's algorithm."""
    things = [c.isthing for c in model.categories]
    outputs = (
        SimpleNamespace(class_logits=logits[i : i + 1], mask_logits=masks[i])
        for i in range(len(logits))
    )
    return torch.stack(
        [
            reference.panoptic_ids(o, model.threshold, things, size, size)
            for o in outputs
        ]
    )


def their_ids(model, other, images) -> torch.Tensor:
    """Return which query each pixel goes to; see their_forward."""
    with reference.savings_off(model) if other is None else nullcontext():
        logits, masks = their_forward(model, other, images)
    return long_way_to_ids(model, logits, masks, tuple(images.shape[-2:]))


def inference(side: str, config, size, batch) -> Callable:
    """Return a function from images to panoptic ids."""
    model, images = own_sample(side, config, size, batch)
    model.requires_grad_(False)  # the counter of operations asks for it
    if side == "ours":
        return torch.no_grad()(lambda: our_ids(model, images))
    other = theirs(model, config) if side == "transformers" else None
    if other is not None:
        other.requires_grad_(False)
    return torch.no_grad()(lambda: their_ids(model, other, images))


@torch.no_grad()
def gaps(config: ModelConfig, size: tuple[int, int]) -> torch.Tensor:
    """Return how far the two best masks of each pixel are apart, (1, H, W)."""
    model, image = sample(config, size)
    masks = model(image).mask_logits[None]
    masks = torch.nn.functional.interpolate(masks, size, mode="bilinear")
    first, second = masks[0].topk(2, 0).values
    return (first - second)[None]


@torch.no_grad()
def rounding(config: ModelConfig, size: tuple[int, int]) -> dict[str, float]:
    """Return how far each side's mask logits are from those of float64.

    "largest_logit" is what to compare that with.
    """
    model, image = sample(config, size)
    output = model(image)
    keep = torch.zeros(1, config.num_queries, dtype=torch.bool)
    keep[0, output.query_index] = True
    masks = {"ours": output.mask_logits}
    with reference.savings_off(model):
        masks["reference"] = model(image, None, lambda _: keep).mask_logits
    _, found = their_forward(model, theirs(model, config), image)
    masks["transformers"] = found[keep]
    exact = model.double()(image.double(), None, lambda _: keep).mask_logits
    figures = {s: (m - exact).abs().max().item() for s, m in masks.items()}
    return {**figures, "largest_logit": exact.abs().max().item()}


def mask_step(side: str, config, size, batch) -> Callable:
    """Return a step of phase masks without its optimizer: loss, gradients."""
    model, images = own_sample(side, config, size, batch)
    targets = truth(config, size, batch)
    if side == "transformers":
        other = theirs(model, config).train()
        for name, parameter in other.named_parameters():
            parameter.requires_grad_(name.startswith(("mask_head", "bbox_at")))
        labels = their_labels(targets, masks=True)

        def run():
            found = other(images, labels=labels)
            found.loss.backward()
            # Its loss has those of classes and boxes in it, too.
            parts = found.loss_dict
            return (parts["loss_mask"] + parts["loss_dice"]).detach()

        return run
    model.detr.requires_grad_(False)
    if side == "reference":
        model.train()  # dropout in the frozen detector

        def run():
            with reference.savings_off(model):
                loss, part = reference.mask_step_loss(model, images, targets)
                loss.backward()
            return part.detach()

        return run
    matcher, mask_loss = HungarianMatcher(), MaskLossInParts()
    segments = torch.arange(len(targets.labels))
    count = float(len(segments))

    def run():
        found = model.detr(images)
        last = found.layer_logits[-1:], found.layer_boxes[-1:]
        queries = matcher(*last, targets)[0]
        masks = model.add_masks(found, targets.image, queries).mask_logits
        losses = mask_loss(masks, segments, targets, count)
        losses["loss"].backward()
        return losses["loss"].detach()

    return run


def box_step(side: str, config, size, batch) -> Callable:
    """Return a step of phase boxes without its optimizer or dropout.

    Stem and Res2 are frozen, as in the original.  In transformers' model
    the whole of its own ResNet is, for the names it looks for are others.
    """
    model, images = own_sample(side, config, size, batch)
    body = model.detr.backbone[0].body
    for frozen in (body.conv1, body.layer1):
        frozen.requires_grad_(False)
    targets = truth(config, size, batch)
    count = float(len(targets.labels))
    if side == "transformers":
        other = theirs(model, config, auxiliary_loss=True).detr
        for name, parameter in other.named_parameters():
            if "stages." in name:
                parameter.requires_grad_("stages.0." not in name)
        labels = their_labels(targets)
        everything = torch.ones(batch, *size, dtype=int)

        def loss():
            return other(images, everything, labels=labels).loss

    elif side == "reference":

        def loss():
            output = model.detr(images, None)
            layers = output.layer_logits, output.layer_boxes
            queries = reference.matchings(*layers, targets)
            return reference.detection_loss(*layers, queries, targets, count)

    else:
        matcher = HungarianMatcher()

        def loss():
            output = model.detr(images)
            layers = output.layer_logits, output.layer_boxes
            queries = matcher(*layers, targets)
            return DetectionLoss()(*layers, queries, targets, count)["loss"]

    def run():
        with (
            reference.savings_off(model)
            if side == "reference"
            else nullcontext()
        ):
            value = loss()
            value.backward()
        return value.detach()

    return run


def part(name: str, side: str, config, size, batch) -> Callable:
    """Return one part of the inference alone, on what the part before gave."""
    model, images = own_sample(side, config, size, batch)
    model.requires_grad_(False)
    detr, padding, count = model.detr, None, KEPT
    if side == "reference":
        padding = torch.zeros(batch, *size, dtype=torch.bool)
        count = config.num_queries
    with torch.no_grad():
        found = detr(images, padding)
    image = torch.arange(batch).repeat_interleave(count)
    query = torch.arange(count).repeat(batch)
    nothing = torch.zeros_like(found.memory[:, 0], dtype=torch.bool)

    def run():
        if name == "backbone":
            pyramid, _ = detr.backbone[0](images, padding)
            return pyramid.res5
        if name == "transformer":
            pos = detr.backbone[1](nothing)
            queries = detr.query_embed.weight
            return detr.transformer(
                found.src_proj, found.padding_mask, queries, pos
            )[0]
        masks = model.add_masks(found, image, query).mask_logits
        return masks.unflatten(0, (batch, -1))[:, :KEPT]

    @torch.no_grad()
    def timed():
        if side == "ours":
            return run()
        with reference.savings_off(model):
            return run()

    return timed


def scenes(side: str, config, size, batch) -> Callable:
    """Return the shipped model's run over images, one at a time."""
    model = load_model("scenes", "cpu")
    if side == "reference":
        model.to(memory_format=torch.contiguous_format)
    split = SceneSplit(VALIDATION_SEED, batch)
    images = torch.cat([pad_images([s.image])[0] for s in split])

    @torch.no_grad()
    def run():
        find = partial(their_ids, model, None)
        if side == "ours":
            find = partial(our_ids, model)
        return torch.cat([find(image[None]) for image in images])

    return run


SETTINGS = {
    "ours": Speed(),
    "channels_last=False": Speed(channels_last=False),
    "chunk=4": Speed(chunk=4),
    "chunk=100": Speed(chunk=100),
    "precision=bf16": Speed(precision="bf16"),
    "compile=True": Speed(compile=True),
}


def settings(side: str, config, size, batch) -> Callable:
    """Return our inference with one setting changed."""
    model, images = sample(config, size, batch)
    model = tuned(model, SETTINGS[side])
    return torch.no_grad()(lambda: our_ids(model, images))


def post_processing(side: str, config, size, batch) -> Callable:
    """Return the step from KEPT masks to ids alone."""
    torch.manual_seed(0)
    things = [c.isthing for c in categories(config.num_classes)]
    labels = torch.arange(KEPT) % config.num_classes
    small = [-(-side // 4) for side in size]
    coarse = torch.randn(1, KEPT, 6, 8)
    masks = torch.nn.functional.interpolate(coarse, small, mode="bicubic")[0]
    logits = torch.full((1, KEPT, config.num_classes + 1), -20.0)
    logits[0, torch.arange(KEPT), labels] = 20
    output = SimpleNamespace(
        class_logits=logits,
        mask_logits=masks,
        boxes=torch.rand(1, KEPT, 4),
        image_index=torch.zeros(KEPT, dtype=torch.int64),
        query_index=torch.arange(KEPT),
    )
    if side == "ours":
        return lambda: query_maps(
            panoptic_results(output, things, size, [size], mode="original")
        )[0]
    return lambda: reference.panoptic_ids(output, 0.5, things, size, size)


def matcher(side: str, config, size, batch) -> Callable:
    """Return the matchings of all decoder layers of a batch."""
    torch.manual_seed(0)
    n, k = config.num_queries, config.num_classes
    layers = (
        torch.randn(config.decoder_layers, batch, n, k + 1),
        torch.rand(config.decoder_layers, batch, n, 4),
    )
    targets = Targets(
        labels=torch.randint(k, (batch * SEGMENTS,)),
        boxes=torch.rand(batch * SEGMENTS, 4),
        image=torch.arange(batch).repeat_interleave(SEGMENTS),
        segment_ids=torch.arange(1, SEGMENTS + 1).repeat(batch),
        id_maps=torch.zeros(batch, 1, 1, dtype=torch.int32),
        counts=(SEGMENTS,) * batch,
    )
    match = {
        "ours": HungarianMatcher(),
        "reference": reference.matchings,
        "transformers": their_matchings,
    }[side]
    return lambda: match(*layers, targets)


def their_matchings(logits, boxes, targets: Targets) -> torch.Tensor:
    """Match each layer with transformers' matcher; see HungarianMatcher."""
    from transformers.loss import loss_for_object_detection

    run = loss_for_object_detection.HungarianMatcher(1, 5, 2)
    wanted = their_labels(targets)
    result = []
    for layer in zip(logits, boxes, strict=True):
        found = run(
            dict(zip(("logits", "pred_boxes"), layer, strict=True)), wanted
        )
        result.append(torch.cat([q[s.argsort()] for q, s in found]))
    return torch.stack(result)


KINDS = {
    "inference": inference,
    "mask_step": mask_step,
    "box_step": box_step,
    "backbone": partial(part, "backbone"),
    "transformer": partial(part, "transformer"),
    "mask_head": partial(part, "mask_head"),
    "scenes": scenes,
    "settings": settings,
    "post_processing": post_processing,
    "matcher": matcher,
}
HEAD: dict = {}  # a class head solved for by another process
SMALL, LARGE, TWO = (480, 640), (800, 1066), SIDES[:2]
# name: kind, size, images, sides, rounds.  Of four images transformers'
# took over 20 GB before it was killed; that column is left out.
CASES = {
    "inference_480x640": ("inference", SMALL, 1, SIDES, 3),
    "inference_800x1066": ("inference", LARGE, 1, SIDES, 2),
    "mask_step_480x640": ("mask_step", SMALL, 1, SIDES, 2),
    "post_processing_800x1066": ("post_processing", LARGE, 1, TWO, 5),
    "matcher_batch_64": ("matcher", (1, 1), 64, SIDES, 3),
    "backbone_800x1066": ("backbone", LARGE, 1, TWO, 3),
    "transformer_800x1066": ("transformer", LARGE, 1, TWO, 3),
    "mask_head_800x1066": ("mask_head", LARGE, 1, TWO, 2),
    "scenes_20_pictures": ("scenes", (96, 96), 20, TWO, 3),
    "box_step_480x640": ("box_step", SMALL, 1, SIDES, 3),
    "inference_480x640_batch_4": ("inference", SMALL, 4, TWO, 2),
    "inference_800x1066_batch_4": ("inference", LARGE, 4, TWO, 1),
    "settings_480x640": ("settings", SMALL, 1, tuple(SETTINGS)[:-1], 3),
    "compile_480x640": ("settings", SMALL, 1, ("ours", "compile=True"), 3),
}
COUNTED = ("inference", "backbone", "transformer", "mask_head")
GROWN = ("inference", "mask_step", "settings")


def memory(key: str) -> int:
    """Return a figure of this process's memory, in kB; Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    return 0


PART_ENDS = {
    Backbone: "backbone",
    Transformer: "transformer",
    MaskHead: "mask_head",
}


class Peaks:
    """How far this process's memory grows, part by part, in MB; Linux only.

    A part ends when a module of its kind has run.  Each figure is the
    highest point during the part above where all began, so it contains what
    the parts before have left.
    """

    def __init__(self):
        self.parts: dict[str, float] = {}
        self._reset()
        self._before = memory("VmRSS")
        self._hook = register_module_forward_hook(self._after)

    def _reset(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")

    def _after(self, module, inputs, output) -> None:
        for kind, name in PART_ENDS.items():
            if isinstance(module, kind):
                self.mark(name)

    def mark(self, name: str) -> None:
        """End a part."""
        grown = (memory("VmHWM") - self._before) / 1000
        self.parts[name] = max(grown, self.parts.get(name, 0))
        self._reset()

    def finish(self) -> dict[str, float]:
        """Return the figure of each part; what came last is "rest"."""
        self._hook.remove()
        self.mark("rest")
        return self.parts


def growth(
    name: str, side: str, config: ModelConfig = PAPER
) -> dict[str, float]:
    """Return by how many MB a fresh process grows in the parts of a run.

    It gets its class head from here: to solve for one it would run the
    detector, and what that frees would be room that the run doesn't count.
    """
    _, size, *_ = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder) / "head.pt"
        model, _ = sample(config, size)
        torch.save(model.detr.class_embed.state_dict(), head)
        done = subprocess.run(
            [sys.executable, __file__, "--growth", name, side, str(head)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def run_case(name: str, config: ModelConfig = PAPER, fresh=True) -> dict:
    """Time the sides of a case in turn; return medians, MB and agreement."""
    kind, size, batch, sides, rounds = CASES[name]
    runs = {s: KINDS[kind](s, config, size, batch) for s in sides}
    times = {s: [] for s in sides}
    answers, result = {}, {s: {} for s in sides}
    for turn in range(rounds + 1):  # the first round warms up, and counts
        for side, run in runs.items():
            if side == "transformers" and turn == 1 < rounds <= 2:
                continue  # half a minute each: once warm is enough
            if turn == 0 and kind in COUNTED:
                with FlopCounterMode(display=False) as counter:
                    answers[side] = run()
                gigas = counter.get_total_flops() / 2e9
                result[side]["giga_multiply_adds"] = gigas
                continue
            start = time.perf_counter()
            answers[side] = run()
            if turn:
                times[side].append(time.perf_counter() - start)
    for side in sides:
        result[side]["seconds"] = statistics.median(times[side])
    del runs
    ours = answers["ours"]
    result["of"] = ours.numel()
    for side in sides:
        if ours.is_floating_point():  # a loss, or features: how far apart
            apart = (ours - answers[side]).abs().max().item()
        else:
            apart = (ours != answers[side]).sum().item()
        result[side]["different"] = apart
    if kind == "inference":
        gap = gaps(config, size).expand_as(ours)
        result["ties"] = (gap < 1e-5).sum().item()
        for side in sides[1:]:
            apart = gap[ours != answers[side]]
            result[side]["different_not_tied"] = (apart >= 1e-5).sum().item()
            result[side]["widest_gap"] = max(apart.tolist(), default=0.0)
        if "transformers" in sides:
            result["rounding"] = rounding(config, size)
    if fresh and kind in GROWN:
        for side in sides:
            if side != "compile=True":  # would count the compiler, too
                parts = growth(name, side)
                result[side]["growth_mb"] = max(parts.values())
                if kind == "inference" and len(parts) > 1:
                    result[side]["growth_by_part_mb"] = parts
    return result


def several(name: str, runs: int, threads: int) -> dict:
    """Run a case several times, each in a process of its own.

    Memory is measured with the first.
    """
    cases, loads = [], []
    for number in range(runs):
        grown = "grown" if number == 0 else "not_grown"
        words = [name, grown, "--threads", f"{threads}"]
        done = subprocess.run(
            [sys.executable, __file__, "--once", *words],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        cases.append(json.loads(done.stdout.splitlines()[-1]))
        loads.append(round(os.getloadavg()[0], 2))
    return {**merged(cases, CASES[name][3]), "load": max(loads)}


def merged(cases: list[dict], sides) -> dict:
    """Return the first of several runs of a case with the times of all."""
    result = dict(cases[0])
    for side in sides:
        seconds = [case[side]["seconds"] for case in cases]
        times = {"seconds": statistics.median(seconds)}
        if len(cases) > 1:
            times["seconds_of_runs"] = seconds
        result[side] = result[side] | times
    return result


def table(results: dict) -> str:
    """Return the results as a table, Markdown."""
    rows = [
        "| what | by | seconds | times ours | MB of growth | times ours "
        "| giga multiply-adds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, case in results.items():
        ours = case["ours"]
        for side in CASES[name][3]:
            one = case[side]
            cells = [name.replace("_", " "), side]
            cells.append(f"{one['seconds']:.3f}{spread(one)}")
            cells.append("1" if side == "ours" else times_ours(case, side))
            grown = one.get("growth_mb")
            cells += (
                ["", ""]
                if grown is None
                else [f"{grown:.0f}", f"{grown / ours['growth_mb']:.1f}"]
            )
            macs = one.get("giga_multiply_adds")
            cells.append("" if macs is None else f"{macs:.1f}")
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def read_results() -> dict:
    """Return what has been measured so far, by name."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def main() -> None:
    """Run the cases named on the command line; all without a name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="CASE")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1, metavar="N")
    parser.add_argument("--growth", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.growth:
        name, side, head = args.growth
        HEAD.update(torch.load(head, weights_only=True))
        kind, size, batch, *_ = CASES[name]
        run = KINDS[kind](side, PAPER, size, batch)
        peaks = Peaks()
        run()
        print(json.dumps(peaks.finish()))
        return
    if args.once:
        name, grown = args.once
        case = run_case(name, fresh=grown == "grown")
        print(json.dumps({**case, "machine": measure.machine()}))
        return
    for name in args.names or CASES:
        if name not in CASES:
            sys.exit(
                f"There is no case {name}; name some of {', '.join(CASES)}."
            )
        case = several(name, args.runs, args.threads)
        results = read_results()
        results[name] = case
        ordered = {n: results[n] for n in CASES if n in results}
        RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
    print(table(read_results()))


if __name__ == "__main__":
    main()
