"""Attention maps: where in the encoded image each box embedding looks."""

import torch
from torch import Tensor, nn

from detr_lite.transformer import MultiHeadAttention


class AttentionMaps(nn.Module):
    """Multi-head attention scores, without values.

    Args:
        width: d.
        heads: M, the maps made for each embedding.
        joint_softmax: one softmax over all heads and positions together, as
            the original has it, or one for each head.

    Source: paper, section 4.4 and figure 8; MHAttentionMap in the original.
    """

    def __init__(self, width: int, heads: int, joint_softmax: bool = True):
        super().__init__()
        self.heads = heads
        self.joint_softmax = joint_softmax
        self.q_linear = nn.Linear(width, width)
        self.k_linear = nn.Linear(width, width)
        for linear in (self.q_linear, self.k_linear):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    @torch.no_grad()
    def start_from(self, attention: MultiHeadAttention) -> None:
        """Take over queries and keys of a trained attention of one width.

        The decoder's last cross-attention already looks at the object whose
        embedding it makes; from random weights, the maps would first have to
        learn that again.
        """
        q_weight, k_weight, _ = attention.in_proj_weight.chunk(3)
        q_bias, k_bias, _ = attention.in_proj_bias.chunk(3)
        self.q_linear.weight.copy_(q_weight)
        self.q_linear.bias.copy_(q_bias)
        self.k_linear.weight.copy_(k_weight)
        self.k_linear.bias.copy_(k_bias)

    def forward(
        self,
        box_embeddings: Tensor,
        memory: Tensor,
        padding_mask: Tensor | None,
    ) -> Tensor:
        """Return (B, N, M, h, w) maps.

        box_embeddings: (B, N, d); memory: (B, d, h, w), the image after the
        encoder; padding_mask: (B, h, w) bool, True = padding, or None.
        """
        size = memory.shape[-2:]
        q = self.q_linear(box_embeddings).unflatten(-1, (self.heads, -1))
        k = self.k_linear(memory.flatten(2).transpose(1, 2))
        k = k.unflatten(-1, (self.heads, -1))
        scores = torch.einsum("bnmc,blmc->bnml", q * q.shape[-1] ** -0.5, k)
        if padding_mask is not None:
            hidden = padding_mask.flatten(1)[:, None, None]
            scores = scores.masked_fill(hidden, float("-inf"))
        if self.joint_softmax:
            weights = scores.flatten(2).softmax(-1).view_as(scores)
        else:
            weights = scores.softmax(-1)
        return weights.unflatten(-1, size)
