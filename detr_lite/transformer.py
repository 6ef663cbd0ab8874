"""The transformer: an encoder over positions, a decoder over queries.

Batch first throughout.  Parameter names are the original's (and those of
nn.MultiheadAttention), so its weights load as they are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with M heads.

    Source: Vaswani et al. 2017; paper, appendix A.1.  Same parameters and
    initialization as nn.MultiheadAttention.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Mix the values for each query.

        query: (B, Q, d); key, value: (B, L, d);
        padding_mask: (B, L) bool, True = a key to leave out.
        Returns (B, Q, d).
        """
        q, k, v = (
            self._split(F.linear(x, w, b))
            for x, w, b in zip(
                (query, key, value),
                self.in_proj_weight.chunk(3),
                self.in_proj_bias.chunk(3),
                strict=True,
            )
        )
        allowed = None
        if padding_mask is not None:
            allowed = ~padding_mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(
            q, k, v, allowed, self.dropout if self.training else 0.0
        )
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def weights(
        self, query: Tensor, key: Tensor, padding_mask: Tensor | None = None
    ) -> Tensor:
        """Return the attention weights, (B, M, Q, L); each row sums to 1."""
        (wq, wk, _), (bq, bk, _) = (
            self.in_proj_weight.chunk(3),
            self.in_proj_bias.chunk(3),
        )
        q = self._split(F.linear(query, wq, bq))
        k = self._split(F.linear(key, wk, bk))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if padding_mask is not None:
            hidden = padding_mask[:, None, None, :]
            scores = scores.masked_fill(hidden, float("-inf"))
        return scores.softmax(-1)

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, d) -> (B, M, L, d / M)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Self-attention over positions, then a feed-forward network."""

    def __init__(self, width, heads, feedforward, dropout):
        super().__init__()
        self.self_attn = MultiHeadAttention(width, heads, dropout)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, pos: Tensor, padding_mask) -> Tensor:
        """x, pos: (B, L, d); padding_mask: (B, L) or None -> (B, L, d)."""
        where = x + pos  # positions go to queries and keys, not to values
        mixed = self.self_attn(where, where, x, padding_mask)
        x = self.norm1(x + self.dropout(mixed))
        hidden = self.dropout(self.linear1(x).relu())
        return self.norm2(x + self.dropout(self.linear2(hidden)))


class DecoderLayer(nn.Module):
    """Queries look at each other, then at the encoded image."""

    def __init__(self, width, heads, feedforward, dropout):
        super().__init__()
        self.self_attn = MultiHeadAttention(width, heads, dropout)
        self.multihead_attn = MultiHeadAttention(width, heads, dropout)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, query_pos: Tensor, memory, pos, padding_mask
    ) -> Tensor:
        """x, query_pos: (B, N, d); memory, pos: (B, L, d) -> (B, N, d)."""
        where = x + query_pos
        mixed = self.self_attn(where, where, x)
        x = self.norm1(x + self.dropout(mixed))
        mixed = self.multihead_attn(
            x + query_pos, memory + pos, memory, padding_mask
        )
        x = self.norm2(x + self.dropout(mixed))
        hidden = self.dropout(self.linear1(x).relu())
        return self.norm3(x + self.dropout(self.linear2(hidden)))


class Encoder(nn.Module):
    """A stack of encoder layers; the positions enter at each of them."""

    def __init__(self, layers: list[EncoderLayer]):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, pos: Tensor, padding_mask) -> Tensor:
        """(B, L, d) -> (B, L, d)."""
        for layer in self.layers:
            x = layer(x, pos, padding_mask)
        return x


class Decoder(nn.Module):
    """A stack of decoder layers; each one's result is returned, normalized."""

    def __init__(self, layers: list[DecoderLayer], width: int):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)

    def forward(self, x, query_pos, memory, pos, padding_mask) -> Tensor:
        """(B, N, d) queries -> (layers, B, N, d)."""
        results = []
        for layer in self.layers:
            x = layer(x, query_pos, memory, pos, padding_mask)
            results.append(x)
        return self.norm(torch.stack(results))


class Transformer(nn.Module):
    """Encoder and decoder, post-norm, as in the paper's figure 10."""

    def __init__(
        self,
        width: int = 256,
        heads: int = 8,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        feedforward: int = 2048,
        dropout: float = 0.1,
    ):
        super().__init__()
        args = (width, heads, feedforward, dropout)
        self.width, self.heads = width, heads
        self.encoder = Encoder(
            [EncoderLayer(*args) for _ in range(encoder_layers)]
        )
        self.decoder = Decoder(
            [DecoderLayer(*args) for _ in range(decoder_layers)], width
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Tensor,
        padding_mask: Tensor | None,
        query_embed: Tensor,
        pos: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Encode the image, then decode the queries from it.

        src, pos: (B, d, h, w); padding_mask: (B, h, w) bool, or None if
        nothing is padding; query_embed: (N, d).
        Returns the box embeddings of every decoder layer, (layers, B, N, d)
        (`hs` in the original), and `memory`, (B, d, h, w).
        """
        size = src.shape[-2:]
        tokens, pos = (x.flatten(2).transpose(1, 2) for x in (src, pos))
        mask = None if padding_mask is None else padding_mask.flatten(1)
        memory = self.encoder(tokens, pos, mask)
        query_pos = query_embed.expand(src.shape[0], -1, -1)
        start = torch.zeros_like(query_pos)
        embeddings = self.decoder(start, query_pos, memory, pos, mask)
        return embeddings, memory.transpose(1, 2).unflatten(2, size)
