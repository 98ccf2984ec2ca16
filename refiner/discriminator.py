"""The discriminator: PatchGANs at two scales (Isola et al., 2017; Wang et al., 2018).

It judges composites over random backgrounds (as AlphaGAN does, Lutz et al., 2018), for a matte is
as good as the picture that it makes; and the gradients of alpha, where ragged strands show. It sees
the photo beside them, as Pix2Pix's does: what looks right may not be what this photo shows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from refiner.losses import sobel

#: What is judged: composite, photo, and alpha's gradients along x and y.
JUDGED = 3 + 3 + 2


class PatchGAN(nn.Module):
    """Judge windows of 34 px: (N, JUDGED, H, W) to the features of each layer, verdict last."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = ((JUDGED, width, 2), (width, 2 * width, 2), (2 * width, 4 * width, 1))
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
    """PatchGANs on a picture and on its half: (N, JUDGED, H, W) to a list of features a scale."""

    def __init__(self, width: int = 32, scales: int = 2) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchGAN(width) for _ in range(scales))

    def forward(self, picture: Tensor) -> list[list[Tensor]]:
        features = []
        for scale in self.scales:
            features.append(scale(picture))
            picture = F.avg_pool2d(picture, 2)
        return features


def judged(alpha: Tensor, foreground: Tensor, background: Tensor, image: Tensor) -> Tensor:
    """Put together what is judged of a cutout, (N, JUDGED, H, W)."""
    # A gradient is an eighth of a step at most; a normal step shall weigh as a colour does.
    gradients = [4 * direction for direction in sobel(alpha)]
    return torch.cat([over(alpha, foreground, background), image, *gradients], 1)


def over(alpha: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Composite: α·F + (1 − α)·B, (N, 3, H, W)."""
    return torch.lerp(background, foreground, alpha)
