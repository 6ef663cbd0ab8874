"""The transformer against PyTorch's, and the properties it must have."""

import pytest
import torch
from support import randomized
from torch import nn

from detr_lite.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    MultiHeadAttention,
    Transformer,
)

WIDTH, HEADS, HIDDEN = 16, 4, 24


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def tokens(*shape):
    return torch.randn(*shape, WIDTH, dtype=torch.float64)


@pytest.fixture
def padding():
    """Of two images with 7 positions, the second has 3 of padding."""
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[1, 4:] = True
    return mask


@pytest.fixture
def attention():
    """Our attention, and PyTorch's with the same weights."""
    mine = randomized(MultiHeadAttention(WIDTH, HEADS)).double()
    other = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
    other.load_state_dict(mine.state_dict())
    return mine, other


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
def test_attention_equals_pytorchs(attention, padding, padded):
    mine, other = attention
    query, key, value = tokens(2, 5), tokens(2, 7), tokens(2, 7)
    mask = padding if padded else None
    wanted, weights = other(
        query, key, value, mask, average_attn_weights=False
    )
    close(mine(query, key, value, mask), wanted)
    close(mine.weights(query, key, mask), weights)


@torch.no_grad()
def test_attention_weights_of_each_query_and_head_sum_to_one(attention):
    weights = attention[0].weights(tokens(2, 5), tokens(2, 7))
    assert weights.shape == (2, HEADS, 5, 7)
    close(weights.sum(-1), torch.ones(2, HEADS, 5, dtype=torch.float64))


@torch.no_grad()
def test_encoder_layer_without_positions_equals_pytorchs(padding):
    mine = randomized(EncoderLayer(WIDTH, HEADS, HIDDEN, 0.1)).double().eval()
    other = nn.TransformerEncoderLayer(
        WIDTH, HEADS, HIDDEN, batch_first=True, dtype=torch.float64
    ).eval()
    other.load_state_dict(mine.state_dict())
    x = tokens(2, 7)
    wanted = other(x, src_key_padding_mask=padding)
    found = mine(x, torch.zeros_like(x), padding)
    close(found[~padding], wanted[~padding])


@torch.no_grad()
def test_decoder_layer_without_positions_equals_pytorchs(padding):
    mine = randomized(DecoderLayer(WIDTH, HEADS, HIDDEN, 0.1)).double().eval()
    other = nn.TransformerDecoderLayer(
        WIDTH, HEADS, HIDDEN, batch_first=True, dtype=torch.float64
    ).eval()
    other.load_state_dict(mine.state_dict())
    x, memory = tokens(2, 5), tokens(2, 7)
    wanted = other(x, memory, memory_key_padding_mask=padding)
    found = mine(
        x, torch.zeros_like(x), memory, torch.zeros_like(memory), padding
    )
    close(found, wanted)


def encoder():
    layers = [EncoderLayer(WIDTH, HEADS, HIDDEN, 0.1) for _ in range(2)]
    return randomized(Encoder(layers)).double().eval()


@torch.no_grad()
def test_encoder_without_positions_cannot_tell_places_apart():
    run, x, order = encoder(), tokens(1, 7), torch.randperm(7)
    nowhere = torch.zeros_like(x)
    close(run(x[:, order], nowhere, None), run(x, nowhere, None)[:, order])


@torch.no_grad()
def test_encoder_with_positions_can_tell_places_apart():
    run, x, pos = encoder(), tokens(1, 7), tokens(1, 7)
    swapped = [1, 0, *range(2, 7)]
    shuffled = run(x[:, swapped], pos, None)
    assert (shuffled - run(x, pos, None)[:, swapped]).abs().max() > 0.1


@torch.no_grad()
def test_permuting_the_queries_permutes_what_the_decoder_returns():
    layers = [DecoderLayer(WIDTH, HEADS, HIDDEN, 0.1) for _ in range(2)]
    run = randomized(Decoder(layers, WIDTH)).double().eval()
    x, query_pos = tokens(1, 5), tokens(1, 5)
    rest = (tokens(1, 7), tokens(1, 7), None)
    order = torch.randperm(5)
    shuffled = run(x[:, order], query_pos[:, order], *rest)
    close(shuffled, run(x, query_pos, *rest)[:, :, order])


@torch.no_grad()
def test_only_queries_tell_the_decoders_answers_apart():
    """And in the first layer, self-attention tells nobody anything."""
    layers = [DecoderLayer(WIDTH, HEADS, HIDDEN, 0.1) for _ in range(2)]
    run = randomized(Decoder(layers, WIDTH)).double().eval()
    x, rest = torch.zeros(1, 5, WIDTH).double(), (tokens(1, 7), tokens(1, 7))
    same = run(x, tokens(1, 1).expand(-1, 5, -1), *rest, None)
    close(same, same[:, :, :1].expand_as(same))
    where = tokens(1, 5)
    mixed = layers[0].self_attn(where, where, x)
    close(mixed, mixed[:, :1].expand_as(mixed))
    before, where[:, 4] = run(x, where, *rest, None), tokens(1)
    others = (run(x, where, *rest, None) - before)[:, :, :4].abs()
    close(others[0], torch.zeros_like(others[0]))
    assert others[1].max() > 1e-3


@torch.no_grad()
def test_decoder_normalizes_what_it_returns_but_not_what_it_goes_on_with():
    layers = [DecoderLayer(WIDTH, HEADS, HIDDEN, 0.1) for _ in range(3)]
    run = randomized(Decoder(layers, WIDTH)).double().eval()
    x, query_pos = tokens(1, 5), tokens(1, 5)
    rest = (query_pos, tokens(1, 7), tokens(1, 7), None)
    results = run(x, *rest)
    for layer, result in zip(layers, results, strict=True):
        x = layer(x, *rest)
        close(result, run.norm(x))


@torch.no_grad()
def test_decoder_finds_places_by_their_positions():
    """Moved together with its position, a token may lie anywhere; without
    it, the image is another."""
    run = randomized(DecoderLayer(WIDTH, HEADS, HIDDEN, 0.1)).double().eval()
    x, query_pos = tokens(1, 5), tokens(1, 5)
    memory, pos, order = tokens(1, 7), tokens(1, 7), torch.randperm(7)
    before = run(x, query_pos, memory, pos, None)
    both = run(x, query_pos, memory[:, order], pos[:, order], None)
    close(both, before)
    one = run(x, query_pos, memory[:, order], pos, None)
    assert (one - before).abs().max() > 0.1


@torch.no_grad()
def test_positions_enter_queries_and_keys_but_not_values():
    """Where every key is the same, positions are all that tells them apart;
    a value that is the same everywhere is then what every query gets."""
    run = randomized(DecoderLayer(WIDTH, HEADS, HIDDEN, 0.1)).double().eval()
    x, query_pos = tokens(1, 5), tokens(1, 5)
    memory = tokens(1, 1).expand(-1, 7, -1)
    one, other = (
        run(x, query_pos, memory, pos, None)
        for pos in (tokens(1, 7), tokens(1, 7))
    )
    close(one, other)


@torch.no_grad()
def test_encoder_layers_values_have_no_positions_either():
    run = randomized(EncoderLayer(WIDTH, HEADS, HIDDEN, 0.1)).double().eval()
    x = tokens(1, 1).expand(-1, 7, -1)
    close(run(x, tokens(1, 7), None), run(x, tokens(1, 7), None))


@pytest.fixture
def transformer():
    return randomized(Transformer(WIDTH, HEADS, 1, 3, HIDDEN)).double()


def maps():
    return torch.randn(2, WIDTH, 3, 4, dtype=torch.float64)


@torch.no_grad()
def test_transformer_returns_every_decoder_layer_and_the_encoded_image(
    transformer,
):
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    embeddings, memory = transformer(maps(), mask, tokens(5), maps())
    assert embeddings.shape == (3, 2, 5, WIDTH)
    assert memory.shape == (2, WIDTH, 3, 4)


@torch.no_grad()
def test_padded_pictures_encode_as_they_do_alone(transformer):
    transformer.eval()
    src, pos, queries = maps(), maps(), tokens(5)
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[1, 2:], mask[1, :, 3:] = True, True
    embeddings, memory = transformer(src, mask, queries, pos)
    small = torch.zeros(1, 2, 3, dtype=torch.bool)
    alone, its_memory = transformer(
        src[1:, :, :2, :3], small, queries, pos[1:, :, :2, :3]
    )
    close(embeddings[:, 1:], alone)
    close(memory[1:, :, :2, :3], its_memory)


@torch.no_grad()
def test_dropout_acts_in_train_mode_alone(transformer):
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    inputs = (maps(), mask, tokens(5), maps())
    run = transformer.eval()
    assert torch.equal(run(*inputs)[0], run(*inputs)[0])
    run.train()
    assert not torch.equal(run(*inputs)[0], run(*inputs)[0])


@torch.no_grad()
def test_without_dropout_train_mode_computes_what_eval_mode_does():
    run = Transformer(WIDTH, HEADS, 1, 1, HIDDEN, dropout=0.0).double()
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    inputs = (maps(), mask, tokens(5), maps())
    assert torch.equal(run.train()(*inputs)[0], run.eval()(*inputs)[0])


def test_initial_weights_are_xaviers():
    """A (rows, columns) matrix has the std sqrt(2 / (rows + columns))."""
    run = Transformer(256, 8, 1, 1, 512)
    for parameter in run.parameters():
        if parameter.dim() > 1:
            wanted = (2 / sum(parameter.shape)) ** 0.5
            assert parameter.std().item() == pytest.approx(wanted, rel=0.02)
