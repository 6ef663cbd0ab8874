"""Where `transformers` departs from the original, this package does not.

Each test shows a difference; everything else agrees, see test_parity.py.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import sample
from torch.utils.flop_counter import FlopCounterMode
from transformers import DetrForSegmentation, DetrImageProcessor
from transformers_pair import (
    SMALL,
    our_model,
    padded_batch,
    their_config,
    their_model,
)

from detr_lite.data.batch import collate
from detr_lite.inference.model import build_model
from detr_lite.panoptic import panoptic_maps
from detr_lite.panoptic_detr import all_queries
from detr_lite.transformer import Encoder

SIZES = [(96, 128), (70, 81)]


@pytest.fixture
def ours():
    return our_model(SMALL)


@torch.no_grad()
def test_auxiliary_losses_do_not_change_what_the_model_computes(ours):
    """Theirs hand the normalized state of a decoder layer to the next."""
    images, padding = padded_batch(*SIZES)
    mine = ours(images, padding).class_logits
    difference = {
        on: (
            mine
            - their_model(ours, auxiliary_loss=on)(
                images, pixel_mask=(~padding).long()
            ).logits
        )
        .abs()
        .max()
        .item()
        for on in (False, True)
    }
    assert difference[False] < 1e-5
    assert difference[True] > 0.1


def test_the_encoders_input_has_no_dropout(ours):
    """Nor have theirs any on attention weights and in the MLP by default."""
    config = their_config(SMALL)
    assert config.dropout == 0.1
    assert config.attention_dropout == config.activation_dropout == 0.0
    assert ours.detr.transformer.encoder.layers[0].self_attn.dropout == 0.1
    none = their_config(replace(SMALL, encoder_layers=0))
    encoder = DetrForSegmentation(none).detr.model.encoder.train()
    x = torch.ones(1, 4, SMALL.width)
    assert not encoder(inputs_embeds=x).last_hidden_state.equal(x)
    assert Encoder([]).train()(x, x, None).equal(x)


def test_a_new_model_starts_as_the_original_does(ours):
    """Queries from N(0, 1), attention from Xavier's; theirs N(0, 0.02)."""
    theirs = DetrForSegmentation(their_config(SMALL)).detr.model
    mine = build_model(SMALL, ours.categories).detr
    # In the order of the names: ours, theirs.
    queries = mine.query_embed, theirs.query_position_embeddings
    assert [q.weight.std().item() for q in queries] == pytest.approx(
        [1, 0.02], rel=0.1
    )
    projection = mine.transformer.encoder.layers[0].self_attn.in_proj_weight
    assert projection.std().item() == pytest.approx(
        (2 / (4 * SMALL.width)) ** 0.5, rel=0.1
    )
    theirs = theirs.encoder.layers[0].self_attn.q_proj.weight
    assert theirs.std().item() == pytest.approx(0.02, rel=0.1)


def test_their_own_resnet_trains_no_backbone_at_all(ours):
    """The original trains Res3 to Res5; theirs looks for other names."""
    theirs = their_model(ours).detr.model.backbone
    assert not any(p.requires_grad for p in theirs.parameters())
    assert any(p.requires_grad for p in ours.detr.backbone.parameters())


@torch.no_grad()
def test_the_pyramid_is_adapted_once_for_each_picture(ours):
    """Theirs adapt a copy of the backbone's features for each query."""
    images, padding = padded_batch(*SIZES)
    theirs = their_model(ours).requires_grad_(False)
    ours.requires_grad_(False)
    counts = []
    for run in (
        lambda: ours(images, padding, keep=all_queries),
        lambda: theirs(images, pixel_mask=(~padding).long()),
    ):
        with FlopCounterMode(display=False) as counter:
            run()
        counts.append(counter.get_total_flops())
    assert counts[1] > 1.3 * counts[0]


def test_ids_are_unique_after_stuff_was_merged():
    """Theirs number sky, person, sky, car as 1, 2, 1, 2."""
    labels = torch.tensor([1, 0, 1, 0])  # 1 is stuff
    masks = torch.full((4, 4, 8), -9.0)
    for i in range(4):
        masks[i, :, 2 * i : 2 * i + 2] = 9
    logits = torch.full((1, 4, 3), -9.0)
    logits[0, range(4), labels] = 9
    output = type("Output", (), {"logits": logits, "pred_masks": masks[None]})
    theirs = DetrImageProcessor().post_process_panoptic_segmentation(
        output, label_ids_to_fuse={1}
    )[0]
    assert [s["id"] for s in theirs["segments_info"]] == [1, 2, 1, 2]
    assert theirs["segmentation"].unique().tolist() == [1, 2]

    size = (4, 8)
    maps, ids, areas = panoptic_maps(
        labels[None], masks[None], (True, False), size, [size], [size]
    )
    assert ids.tolist() == [[1, 2, 0, 3]]
    assert maps.unique().tolist() == [1, 2, 3]
    assert areas.tolist() == [[16, 8, 0, 8]]


def test_boxes_stay_relative_to_the_picture_in_a_padded_batch():
    """Theirs are relative to the padded size."""
    pictures = [np.zeros((h, w, 3), np.uint8) for h, w in [(30, 40), (40, 40)]]
    truth = [
        {
            "image_id": i,
            "annotations": [
                {
                    "image_id": i,
                    "category_id": 0,
                    "iscrowd": 0,
                    "area": h * 40,
                    "bbox": [0, 0, 40, h],
                }
            ],
        }
        for i, h in enumerate((30, 40))
    ]
    theirs = DetrImageProcessor(do_resize=False)(
        pictures, annotations=truth, return_tensors="pt"
    )["labels"]
    assert theirs[0]["boxes"].tolist() == [[0.5, 0.375, 1, 0.75]]

    samples = [sample(torch.ones(h, 40), [1]) for h in (30, 40)]
    assert collate(samples).targets.boxes.tolist() == [[0.5, 0.5, 1, 1]] * 2
