"""Positional encodings: where in the image a feature comes from."""

import math

import torch
from torch import Tensor, nn


class SinePositionalEncoding(nn.Module):
    """Sines and cosines of the row and of the column, at many wavelengths.

    The first half of the channels encodes y, the second x.  Positions count
    the unpadded rows and columns and are scaled to (0, 2 pi], so that an
    encoding means the same place in images of different sizes.

    Args:
        width: d, the channels of the encoding; a multiple of 4.
        temperature: the longest wavelength over the shortest.
        cycles: full turns of the fastest sine over the image.

    Source: paper, appendix A.4; PositionEmbeddingSine in the original, with
    normalize=True.
    """

    def __init__(
        self,
        width: int,
        temperature: float = 10000.0,
        cycles: float = 1.0,
    ):
        super().__init__()
        self.width = width
        self.temperature = temperature
        self.cycles = cycles

    def forward(self, padding_mask: Tensor) -> Tensor:
        """(B, h, w) bool, True = padding -> (B, d, h, w)."""
        y, x = ((~padding_mask).cumsum(side).float() for side in (1, 2))
        turn = 2 * math.pi * self.cycles
        y = y / (y[:, -1:, :] + 1e-6) * turn
        x = x / (x[:, :, -1:] + 1e-6) * turn
        half = self.width // 2
        pair = torch.arange(half, device=x.device) // 2
        wavelength = self.temperature ** (2 * pair.float() / half)
        encoded = []
        for position in (y, x):
            angle = position[..., None] / wavelength
            sine, cosine = angle[..., 0::2].sin(), angle[..., 1::2].cos()
            encoded.append(torch.stack((sine, cosine), -1).flatten(-2))
        return torch.cat(encoded, -1).permute(0, 3, 1, 2)
