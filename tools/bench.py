"""Benchmarks: the package, the same with all savings off, transformers.

All three have the same weights, see the same pictures and take turns in one
process.  How far memory grows is measured in a fresh process for each, over
the first run.  Writes tools/bench.json and prints tables in Markdown.
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
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measure
import reference

from detr_lite.layouts import convert
from detr_lite.losses import MaskLoss
from detr_lite.matching import HungarianMatcher
from detr_lite.models import ModelConfig, build_model
from detr_lite.panoptic import panoptic_results, panoptic_segmentation
from detr_lite.panoptic_detr import all_queries
from detr_lite.phases import MatchedQueries
from detr_lite.samples import Categories, Category, Target
from detr_lite.transformer import MultiHeadAttention

RESULTS = Path(__file__).resolve().parent / "bench.json"
SIDES = ("ours", "reference", "transformers")
PAPER = ModelConfig(num_classes=250, exact_padding=False)
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
    """Return a model of random weights and pictures of which it keeps KEPT.

    The class head is solved for: the first queries find something, the rest
    say "no object".  With random weights as they are, all queries and all
    masks are nearly equal, and comparing ids would compare rounding; so the
    picture is made smaller and the attention sharper.
    """
    torch.manual_seed(0)
    model = build_model(config, categories(config.num_classes)).eval()
    model.detr.input_proj.weight *= 0.1
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.in_proj_weight[: 2 * config.width] *= 8
    model.bbox_attention.q_linear.weight *= 16
    model.mask_head.lay1.weight[:, config.width :] *= 4000
    image = torch.randn(1, 3, *size)
    if HEAD:
        model.detr.class_embed.load_state_dict(HEAD)
        return model, image.repeat(batch, 1, 1, 1)
    padding = torch.zeros(1, *size, dtype=torch.bool)
    embeddings = model.detr(image, padding).box_embeddings[0].double()
    kept = min(KEPT, config.num_queries - 1)
    wanted = torch.zeros(len(embeddings), config.num_classes + 1).double()
    wanted[kept:, -1] = 20
    for i in range(kept):
        wanted[i, i * config.num_classes // kept] = 20
    solution = torch.linalg.lstsq(embeddings, wanted, driver="gelsd").solution
    model.detr.class_embed.weight.copy_(solution.T)
    model.detr.class_embed.bias.zero_()
    return model, image.repeat(batch, 1, 1, 1)


def theirs(model, config: ModelConfig):
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
        )
    ).eval()
    state = convert(model.state_dict(), "transformers5", own_resnet=True)
    other.load_state_dict(state, strict=True)
    return other


def truth(config: ModelConfig, size: tuple[int, int]) -> Target:
    """Return a picture's segments: SEGMENTS columns."""
    ids = torch.arange(size[1]) * SEGMENTS // size[1] + 1
    labels = torch.arange(SEGMENTS) % config.num_classes
    centers = (torch.arange(SEGMENTS) + 0.5) / SEGMENTS
    boxes = torch.full((SEGMENTS, 4), 0.5)
    boxes[:, 0], boxes[:, 2], boxes[:, 3] = centers, 1 / SEGMENTS, 1.0
    id_map = ids.int().expand(*size).contiguous()
    return Target(labels, boxes, id_map, torch.arange(1, SEGMENTS + 1))


def inference(side: str, config, size, batch) -> Callable:
    """Return a function from pictures to panoptic ids."""
    model, images = sample(config, size, batch)
    model.requires_grad_(False)  # the counter of operations asks for it
    things = [c.isthing for c in model.categories]
    padding = torch.zeros(batch, *size, dtype=torch.bool)
    if side == "ours":

        @torch.no_grad()
        def run():
            output = model(images, padding)
            results = panoptic_results(
                output, things, size, [size] * batch, mode="original"
            )
            maps = []
            for result in results:
                query = torch.tensor([-1, *(s.query for s in result.segments)])
                maps.append(query[result.id_map.long()])
            return torch.stack(maps)

        return run
    other = theirs(model, config) if side == "transformers" else None
    if other is not None:
        other.requires_grad_(False)

    @torch.no_grad()
    def run():
        if other is not None:
            found = other(images, (~padding).long())
            masks = found.pred_masks
            logits = found.logits
        else:
            with reference.savings_off(model):
                output = model(images, padding, all_queries)
            logits = output.class_logits
            masks = output.mask_logits.unflatten(0, logits.shape[:2])
        return torch.stack(
            [
                reference.panoptic_ids(
                    SimpleNamespace(
                        class_logits=logits[i : i + 1],
                        mask_logits=masks[i],
                    ),
                    model.threshold,
                    things,
                    size,
                    size,
                )
                for i in range(batch)
            ]
        )

    return run


@torch.no_grad()
def tied(config: ModelConfig, size: tuple[int, int]) -> torch.Tensor:
    """Return the pixels whose two best masks are within 1e-5, (1, H, W)."""
    model, image = sample(config, size)
    padding = torch.zeros(1, *size, dtype=torch.bool)
    masks = model(image, padding).mask_logits[None]
    masks = torch.nn.functional.interpolate(masks, size, mode="bilinear")
    first, second = masks[0].topk(2, 0).values
    return (first - second < 1e-5)[None]


def mask_step(side: str, config, size, batch) -> Callable:
    """Return a step of phase masks without its optimizer: loss, gradients."""
    model, images = sample(config, size, batch)
    targets = [truth(config, size)] * batch
    if side == "transformers":
        other = theirs(model, config).train()
        for name, parameter in other.named_parameters():
            parameter.requires_grad_(name.startswith(("mask_head", "bbox_at")))
        labels = [
            {
                "class_labels": t.labels,
                "boxes": t.boxes,
                "masks": t.masks().float(),
            }
            for t in targets
        ]

        def run():
            loss = other(images, labels=labels).loss
            loss.backward()
            return loss.detach()

        return run
    model.detr.requires_grad_(False)
    if side == "reference":
        model.train()  # dropout in the frozen detector

        def run():
            with reference.savings_off(model):
                loss = reference.mask_step_loss(model, images, targets)
                loss.backward()
            return loss.detach()

        return run
    padding = torch.zeros(batch, *size, dtype=torch.bool)
    matcher = HungarianMatcher()

    def run():
        keep = MatchedQueries(matcher, targets, last_only=True)
        output = model(images, padding, keep)
        pairs = keep.matchings[-1]
        count = float(SEGMENTS * batch)
        losses = MaskLoss()(output, pairs, targets, size, count)
        losses["loss"].backward()
        return losses["loss"].detach()

    return run


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
    output = SimpleNamespace(class_logits=logits, mask_logits=masks)
    if side == "ours":
        return lambda: panoptic_segmentation(
            labels, masks, things, size, size, size, "original"
        )[0]
    return lambda: reference.panoptic_ids(output, 0.5, things, size, size)


def matcher(side: str, config, size, batch) -> Callable:
    """Return the matchings of all decoder layers of a batch."""
    torch.manual_seed(0)
    n, k = config.num_queries, config.num_classes
    layers = [
        (torch.randn(batch, n, k + 1), torch.rand(batch, n, 4))
        for _ in range(config.decoder_layers)
    ]
    targets = [
        Target(
            torch.randint(k, (SEGMENTS,)),
            torch.rand(SEGMENTS, 4),
            torch.zeros(1, 1, dtype=torch.int32),
            torch.arange(SEGMENTS),
        )
        for _ in range(batch)
    ]
    if side == "ours":
        run = HungarianMatcher()
        return lambda: pairs(run(layers, targets))
    return lambda: pairs(reference.matchings(layers, targets))


def pairs(matchings) -> torch.Tensor:
    """Return all matchings' triples in one tensor."""
    rows = [torch.stack((m.image, m.query, m.target)) for m in matchings]
    return torch.cat(rows, 1)


KINDS = {
    "inference": inference,
    "mask_step": mask_step,
    "post_processing": post_processing,
    "matcher": matcher,
}
# name: kind, size, pictures, sides, rounds
HEAD: dict = {}  # a class head solved for by another process
CASES = {
    "inference_480x640": ("inference", (480, 640), 1, SIDES, 3),
    "inference_480x640_batch_4": ("inference", (480, 640), 4, SIDES[:2], 2),
    "inference_800x1066": ("inference", (800, 1066), 1, SIDES, 2),
    "mask_step_480x640": ("mask_step", (480, 640), 1, SIDES, 2),
    "post_processing_800x1066": (
        "post_processing",
        (800, 1066),
        1,
        SIDES[:2],
        7,
    ),
    "matcher_batch_64": ("matcher", (1, 1), 64, SIDES[:2], 7),
}


def memory(key: str) -> int:
    """Return a figure of this process's memory, in kB; Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    return 0


def growth(name: str, side: str, config: ModelConfig = PAPER) -> float:
    """Return by how many MB a fresh process grows in the first run.

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
    return float(done.stdout.split()[-1])


def run_case(name: str, config: ModelConfig = PAPER, fresh=True) -> dict:
    """Time the sides of a case in turn; return medians, MB and agreement."""
    kind, size, batch, sides, rounds = CASES[name]
    runs = {s: KINDS[kind](s, config, size, batch) for s in sides}
    times = {s: [] for s in sides}
    answers = {}
    for turn in range(rounds + 1):  # the first round warms up
        for side, run in runs.items():
            if side == "transformers" and turn == 1 < rounds <= 2:
                continue  # half a minute each: once warm is enough
            start = time.perf_counter()
            answers[side] = run()
            times[side].append(time.perf_counter() - start)
    result = {}
    for side in sides:
        result[side] = {
            "seconds": statistics.median(times[side][1:]),
        }
        if kind == "inference":
            with FlopCounterMode(display=False) as counter:
                runs[side]()
            gigas = counter.get_total_flops() / 2e9
            result[side]["giga_multiply_adds"] = gigas
    wanted = answers["reference"]
    result["of"] = wanted.numel()
    if kind == "mask_step":
        result["different"] = abs(answers["ours"] - wanted).item()
    else:
        result["different"] = (answers["ours"] != wanted).sum().item()
    if kind == "inference":
        ties = tied(config, size).expand_as(wanted)
        result["ties"] = ties.sum().item()
        for side in sides[1:]:
            other = answers["ours"] != answers[side]
            result[side]["different_not_tied"] = (other & ~ties).sum().item()
    del runs
    if fresh and kind in ("inference", "mask_step"):
        for side in sides:
            result[side]["growth_mb"] = growth(name, side)
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
        for side in SIDES:
            if side not in case:
                continue
            one = case[side]
            cells = [name.replace("_", " "), side, f"{one['seconds']:.3f}"]
            cells.append(f"{one['seconds'] / ours['seconds']:.1f}")
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
    parser.add_argument("--growth", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.growth:
        name, side, head = args.growth
        HEAD.update(torch.load(head, weights_only=True))
        kind, size, batch, *_ = CASES[name]
        run = KINDS[kind](side, PAPER, size, batch)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
        before = memory("VmRSS")
        run()
        print((memory("VmHWM") - before) / 1000)
        return
    for name in args.names or CASES:
        if name not in CASES:
            sys.exit(
                f"There is no case {name}; name some of {', '.join(CASES)}."
            )
        case = run_case(name)
        load = round(os.getloadavg()[0], 2)
        results = read_results()
        results[name] = {**case, "machine": measure.machine(), "load": load}
        ordered = {n: results[n] for n in CASES if n in results}
        RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
    print(table(read_results()))


if __name__ == "__main__":
    main()
