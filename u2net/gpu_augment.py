"""Training views made in batches where the network is: on a GPU they cost next to nothing.

What :func:`u2net.dataset.augment` and :mod:`u2net.collage` do to one picture on a CPU core, in 20
to 30 ms, is done here to a whole batch, all geometry in one resampling. JPEG is left out: the
photos are JPEGs themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.sampling import random_subset
from u2net.dataset import Prepared

Random = np.random.Generator


def batches(
    prepared: Prepared,
    probs: np.ndarray,
    seed: int,
    steps: range,
    batch: int,
    size: int,
    strength: float,
    collage: float,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The batch of each step, on ``device``: images (B, 3, size, size) uint8, truth
    (B, 1, size, size) float32 0..1, has_truth (B,) float32 0 or 1.

    A pure function of the arguments and the kind of device. All pictures are kept on the device.
    """
    pack = torch.from_numpy(np.array(prepared.pack)).to(device)
    has_truths = torch.from_numpy(prepared.has_truth.astype(np.float32)).to(device)
    for step in steps:
        rng = np.random.default_rng((seed, step))
        chosen = torch.from_numpy(rng.choice(len(prepared), batch, p=probs)).to(device)
        layers = pack[chosen].permute(0, 3, 1, 2).float().div_(255)
        views = warp(layers, size, strength, rng)
        image, truth = views[:, :3], views[:, 3:]
        image, has_truth = join(image, truth, has_truths[chosen], collage, rng)
        image = jitter_colours(image, strength, rng)
        image = degrade(image, strength, rng)
        yield (image * 255 + 0.5).clamp_(0, 255).byte(), truth, has_truth


def column(values: np.ndarray, like: Tensor) -> Tensor:
    """Per-picture values (B,) or (B, C) as (B, C or 1, 1, 1) beside ``like``."""
    return torch.from_numpy(values.astype(np.float32)).reshape(len(values), -1, 1, 1).to(like)


def warp(layers: Tensor, size: int, strength: float, rng: Random) -> Tensor:
    """Crop, stretch, mirror and, a third of them, turn and shear: (B, C, S, S) to ``size``.

    ``strength`` 0..1 scales how small a crop may be, and how often a picture is turned.
    """
    n = len(layers)
    extent = rng.uniform(1 - 0.6 * strength, 1, (n, 2))  # of the picture, across and down
    middle = rng.uniform(extent - 1, 1 - extent)  # its corners lie at -1 and 1
    extent[:, 0] *= np.where(rng.random(n) < 0.5, -1, 1)
    theta = np.zeros((n, 2, 3))
    theta[:, 0, 0], theta[:, 1, 1] = extent.T
    turned = rng.random(n) < 0.33 * strength
    angle = np.deg2rad(rng.uniform(-25, 25, n)) * turned
    shear = rng.normal(0, 0.06, (n, 2)) * turned[:, None]
    spin = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1)
    spin = spin.reshape(n, 2, 2) @ np.stack(
        [np.ones(n), shear[:, 0], shear[:, 1], np.ones(n)], 1
    ).reshape(n, 2, 2)
    theta[:, :, :2] = spin @ theta[:, :, :2]
    theta[:, :, 2] = middle
    matrix = torch.from_numpy(theta).to(layers)
    grid = F.affine_grid(matrix, [n, layers.shape[1], size, size], align_corners=False)
    return F.grid_sample(layers, grid, "bilinear", "reflection", align_corners=False)


def join(
    image: Tensor, mask: Tensor, has_truth: Tensor, share: float, rng: Random
) -> tuple[Tensor, Tensor]:
    """Make some pictures of two: laid over each other, side by side, or one's subject on another.

    No such picture is a photo, and none has a truth any more, but every answer of a teacher says
    something of what it does (function matching; Beyer et al., CVPR 2022).
    """
    n, side = len(image), image.shape[-1]
    other, theirs = image.roll(1, 0), mask.roll(1, 0)
    way = rng.random(n)
    weight = column(np.where(way < 0.35, rng.uniform(0, 0.5, n), 0), image)
    across = torch.arange(side, device=image.device).view(1, 1, 1, -1) / side
    cut = column(np.where((way >= 0.35) & (way < 0.55), rng.uniform(0.25, 0.75, n), 0), image)
    weight = torch.maximum(weight, (across < cut).float())
    # A partner without a truth is laid on whole.
    empty = theirs.amax((1, 2, 3), keepdim=True) == 0
    extent = rng.uniform(0.25, 0.8, (n, 2))
    theta = np.zeros((n, 2, 3))
    theta[:, 0, 0], theta[:, 1, 1] = 1 / extent.T
    theta[:, :, 2] = rng.uniform(extent - 1, 1 - extent) / extent
    layers = torch.cat([other, torch.where(empty, torch.ones_like(theirs), theirs)], 1)
    grid = F.affine_grid(torch.from_numpy(theta).to(image), list(layers.shape), align_corners=False)
    small = F.grid_sample(layers, grid, "bilinear", "zeros", align_corners=False)
    put = column(way >= 0.55, image)
    weight = torch.where(put > 0, small[:, 3:], weight)
    other = torch.where(put > 0, small[:, :3], other)
    chosen = rng.random(n) < share
    weight = weight * column(chosen, image)
    return torch.lerp(image, other, weight), has_truth * (1 - column(chosen, has_truth).flatten())


def jitter_colours(image: Tensor, strength: float, rng: Random) -> Tensor:
    """Exposure, colour balance, gamma and saturation of seven tenths of the pictures."""
    n = len(image)
    on = (rng.random(n) < 0.7 * strength)[:, None]
    gain = np.exp((rng.normal(0, 0.15, (n, 1)) + rng.normal(0, 0.06, (n, 3))) * on)
    gamma = np.exp(rng.normal(0, 0.2, (n, 1)) * on)
    colourful = np.where(on, rng.uniform(0.2, 1.5, (n, 1)), 1)
    image = (image * column(gain, image)).clamp(0, 1) ** column(gamma, image)
    grey = image.mean(1, keepdim=True)
    return torch.lerp(grey, image, column(colourful, image)).clamp(0, 1)


def degrade(image: Tensor, strength: float, rng: Random) -> Tensor:
    """Small originals enlarged, blur and noise, each on some; how much is one draw a batch."""
    n, side = len(image), image.shape[-1]
    image = image.clone()
    chosen = random_subset(n, 0.25 * strength, rng)
    small = int(rng.integers(side // 3, side))
    if len(chosen):
        tiny = F.interpolate(image[chosen], (small, small), mode="area")
        image[chosen] = F.interpolate(tiny, (side, side), mode="bilinear")
    chosen = random_subset(n, 0.15 * strength, rng)
    sigma = rng.uniform(0.4, 1.6)
    if len(chosen):
        image[chosen] = blur(image[chosen], sigma)
    grain = torch.Generator(image.device).manual_seed(int(rng.integers(2**62)))
    noise = torch.randn(image.shape, generator=grain, device=image.device)
    level = np.where(rng.random(n) < 0.2 * strength, rng.uniform(2, 12, n) / 255, 0)
    return image + noise * column(level, image)


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, (B, C, H, W)."""
    reach = math.ceil(3 * sigma)
    at = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-((at / sigma) ** 2) / 2)
    kernel = (kernel / kernel.sum()).repeat(image.shape[1], 1, 1, 1)
    image = F.pad(image, (reach,) * 4, mode="reflect")
    image = F.conv2d(image, kernel, groups=image.shape[1])
    return F.conv2d(image, kernel.transpose(2, 3), groups=image.shape[1])
