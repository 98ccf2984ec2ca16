"""The discriminator: PatchGANs at two scales (Isola et al., 2017; Wang et al., 2018).

It judges composites over random backgrounds, not mattes (as AlphaGAN does, Lutz et al., 2018): a
matte is as good as the picture that it makes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchGAN(nn.Module):
    """Judge overlapping windows of 34 px: (N, 3, H, W) to features of each layer, verdict last."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = ((3, width, 2), (width, 2 * width, 2), (2 * width, 4 * width, 1))
        self.layers = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(inputs, outputs, 4, stride, 1)), nn.LeakyReLU(0.2)
            )
            for inputs, outputs, stride in sizes
        )
        self.verdict = nn.Conv2d(4 * width, 1, 4, 1, 1)

    def forward(self, picture: Tensor) -> list[Tensor]:
        features = [picture]
        for layer in self.layers:
            features.append(layer(features[-1]))
        return [*features[1:], self.verdict(features[-1])]


class Discriminator(nn.Module):
    """PatchGANs on the picture and on its half: (N, 3, H, W) to a list of features a scale."""

    def __init__(self, width: int = 32, scales: int = 2) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchGAN(width) for _ in range(scales))

    def forward(self, picture: Tensor) -> list[list[Tensor]]:
        features = []
        for scale in self.scales:
            features.append(scale(picture))
            picture = F.avg_pool2d(picture, 2)
        return features


def over(alpha: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Composite: α·F + (1 − α)·B, (N, 3, H, W)."""
    return torch.lerp(background, foreground, alpha)
