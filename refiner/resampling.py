"""Means and enlargements of maps, as the generator's parts need them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def box_mean(x: Tensor, size: int) -> Tensor:
    """Mean over ``size`` × ``size`` pixels, of those that lie inside; the shape stays."""
    rows = F.avg_pool2d(x, (size, 1), 1, (size // 2, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, size), 1, (0, size // 2), count_include_pad=False)


def upsample(x: Tensor, factor: int) -> Tensor:
    """Enlarge bilinearly, (N, C, H, W) to (N, C, H·factor, W·factor)."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
