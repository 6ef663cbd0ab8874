"""Attention maps: where in the encoded image each box embedding looks."""

import pytest
import torch
from support import randomized

from detr_lite.attention_maps import AttentionMaps
from detr_lite.transformer import MultiHeadAttention

WIDTH, HEADS = 16, 4


@pytest.fixture
def inputs():
    """Two images with 3 embeddings, the second padded to 4 x 5."""
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[1, 2:], mask[1, :, 3:] = True, True
    embeddings = torch.randn(2, 3, WIDTH, dtype=torch.float64)
    memory = torch.randn(2, WIDTH, 4, 5, dtype=torch.float64)
    return embeddings, memory, mask


def attention(**options):
    return randomized(AttentionMaps(WIDTH, HEADS, **options)).double()


@torch.no_grad()
def test_maps_equal_the_formula_by_loops(inputs):
    run = attention()
    embeddings, memory, mask = inputs
    found = run(*inputs)
    assert found.shape == (2, 3, HEADS, 4, 5)
    part = WIDTH // HEADS
    for b in range(2):
        keys = run.k_linear(memory[b].flatten(1).T)
        for n in range(3):
            query = run.q_linear(embeddings[b, n])
            scores = torch.stack(
                [
                    keys[:, m * part : (m + 1) * part]
                    @ query[m * part : (m + 1) * part]
                    / part**0.5
                    for m in range(HEADS)
                ]
            )
            raised = scores.exp() * ~mask[b].flatten()
            wanted = (raised / raised.sum()).view(HEADS, 4, 5)
            torch.testing.assert_close(found[b, n], wanted)


@torch.no_grad()
def test_joint_softmax_sums_to_one_over_all_heads_and_pixels(inputs):
    sums = attention()(*inputs).sum((2, 3, 4))
    torch.testing.assert_close(sums, torch.ones_like(sums))


@torch.no_grad()
def test_separate_softmax_sums_to_one_for_each_head(inputs):
    sums = attention(joint_softmax=False)(*inputs).sum((3, 4))
    assert sums.shape == (2, 3, HEADS)
    torch.testing.assert_close(sums, torch.ones_like(sums))


@torch.no_grad()
@pytest.mark.parametrize("joint", [True, False])
def test_padding_gets_nothing_and_the_rest_does_not_notice(inputs, joint):
    run = attention(joint_softmax=joint)
    maps = run(*inputs)
    mask = inputs[2]
    assert (maps[1][..., mask[1]] == 0).all()
    embeddings, memory, _ = inputs
    alone = run(
        embeddings[1:],
        memory[1:, :, :2, :3],
        torch.zeros(1, 2, 3, dtype=torch.bool),
    )
    torch.testing.assert_close(maps[1:, :, :, :2, :3], alone)


@torch.no_grad()
def test_permuting_the_embeddings_permutes_the_maps(inputs):
    run = attention()
    embeddings, memory, mask = inputs
    order = [2, 0, 1]
    shuffled = run(embeddings[:, order], memory, mask)
    torch.testing.assert_close(shuffled, run(*inputs)[:, order])


@torch.no_grad()
def test_maps_that_start_from_an_attention_are_its_weights(inputs):
    """One head's map is what that attention's weights are without values."""
    embeddings, memory, mask = inputs
    trained = randomized(MultiHeadAttention(WIDTH, HEADS)).double()
    run = attention(joint_softmax=False)
    run.start_from(trained)
    tokens = memory.flatten(2).transpose(1, 2)
    weights = trained.weights(embeddings, tokens, mask.flatten(1))
    wanted = weights.transpose(1, 2).unflatten(-1, (4, 5))
    torch.testing.assert_close(run(*inputs), wanted)
