"""Perceptual distance: LPIPS where it can be had, else the features of a SqueezeNet from a file."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import ModelInvalid

_FIRE = {"fire2": (64, 16, 64), "fire3": (128, 16, 64), "fire4": (128, 32, 128)}
_FIRE |= {"fire5": (256, 32, 128)}
_TAPS = ("conv1", "fire3", "fire5")  # features compared: the last ones before each pooling


class Fire(nn.Module):
    """Squeeze, then expand by 1×1 and 3×3 (Iandola et al., 2016)."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze1x1(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class SqueezeNetFeatures(nn.Module):
    """Distance of unit-length features of SqueezeNet v1.1, Caffe layout. This is not LPIPS.

    Input (N, 3, H, W) RGB 0..1; the weights want BGR, 0..255, less (104, 117, 123).
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2)
        self.fire = nn.ModuleDict({name: Fire(*sizes) for name, sizes in _FIRE.items()})
        state = torch.load(weights, map_location="cpu", weights_only=True)
        found = {}
        for name in self.state_dict():
            # Caffe's names: c.fire2_squeeze1x1.weight for fire.fire2.squeeze1x1.weight here.
            short = name.removeprefix("fire.")
            theirs = "c." + short.replace(".", "_", short.count(".") - 1)
            if theirs not in state:
                raise ModelInvalid(f"{weights} is no SqueezeNet v1.1 in Caffe's names: no {theirs}")
            found[name] = state[theirs].float()
        self.load_state_dict(found)
        self.requires_grad_(False)

    def forward(self, picture: Tensor, true: Tensor) -> Tensor:
        """Mean squared distance of unit features, a scalar."""
        pairs = zip(self.taps(picture), self.taps(true), strict=True)
        return torch.stack([(a - b).square().sum(1).mean() for a, b in pairs]).sum()

    def taps(self, picture: Tensor) -> list[Tensor]:
        """Unit-length features at three depths, each (N, C, h, w)."""
        x = picture.flip(1) * 255 - picture.new_tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)
        x = F.relu(self.conv1(x))
        found = [x]
        for name, fire in self.fire.items():
            if name in ("fire2", "fire4"):
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            x = fire(x)
            if name in _TAPS:
                found.append(x)
        return [F.normalize(x, dim=1) for x in found]


def perceptual(weights: Path | None) -> nn.Module:
    """LPIPS (Zhang et al., 2018) if no file is given, else :class:`SqueezeNetFeatures`.

    Raises ImportError where neither lpips nor a file is there.
    """
    if weights is not None:
        return SqueezeNetFeatures(weights)
    import lpips  # its backbone is downloaded on first use

    metric = lpips.LPIPS(net="vgg", verbose=False).requires_grad_(False)

    class Rescaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.metric = metric

        def forward(self, picture: Tensor, true: Tensor) -> Tensor:
            return self.metric(picture, true, normalize=True).mean()

    return Rescaled()
