"""The losses, each on its own, and one expression of them all: :func:`reconstruction`.

Shapes: alpha, weight (N, 1, H, W); foreground, background, image (N, 3, H, W); all 0..1. ``weight``
is what the pipeline lets through of a change: nothing is asked for where nothing is used. Every
loss is a weighted mean per pixel, so that its size does not depend on the size of the ROI.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """How much each term counts, with its reason."""

    #: Alpha, absolute difference: what SAD measures.
    l1: float = 1.0
    #: Alpha, squared: what PSNR measures; large faults weigh more.
    l2: float = 1.0
    #: Gradient of alpha (published recipe 1.0 / 1.5 / 0.5 for L1, gradient, perceptual).
    gradient: float = 1.0
    #: Laplacian pyramid of alpha (Hou and Liu, 2019): its coarse levels alone add up to 6.
    laplacian: float = 0.3
    #: The composite over the true colours (Xu et al., 2017).
    composition: float = 0.5
    #: Foreground colour where alpha is neither 0 nor 1.
    foreground: float = 0.5
    #: What is worse than the coarse mask was, counted once more: a fault that stage 2 makes itself
    #: is seen, one that it leaves is forgiven.
    harm: float = 0.0
    #: Patches that come out worse than they went in, by how much of what was wrong in them: the
    #: term above also holds back a patch that gains far more than it loses, this one does not.
    worse: float = 0.0
    #: What thin structures lack, counted once more: whiskers have few pixels, so means forget them.
    thin: float = 0.0
    #: How much alpha differs between a patch and the same patch with other noise and compression.
    consistency: float = 0.0


def weighted_mean(error: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over all pixels and channels."""
    return (error * weight).sum() / (weight.sum() * error.shape[1] + 1e-6)


def l1(alpha: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference."""
    return weighted_mean((alpha - truth).abs(), weight)


def l2(alpha: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean squared difference."""
    return weighted_mean((alpha - truth).square(), weight)


def sobel(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel gradients (kernel divided by 8) along x and y, each of the picture's shape."""
    padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    smooth_y = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    smooth_x = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    dx = (smooth_y[..., 2:] - smooth_y[..., :-2]) / 8
    dy = (smooth_x[..., 2:, :] - smooth_x[..., :-2, :]) / 8
    return dx, dy


def gradient(alpha: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Absolute difference of the Sobel gradients, both directions."""
    dx, dy = sobel(alpha - truth)
    return weighted_mean(dx.abs() + dy.abs(), weight)


def laplacian(alpha: Tensor, truth: Tensor, weight: Tensor, levels: int = 5) -> Tensor:
    """Absolute difference of Laplacian pyramids, level k counting 2ᵏ / levels.

    Weighted as in RVM (Lin et al., 2022), but with the mean of 2 × 2 pixels for a 5 × 5 Gaussian,
    which is cheaper.
    """
    difference, total = alpha - truth, torch.zeros((), device=alpha.device)
    for level in range(levels):
        small = F.avg_pool2d(difference, 2)
        detail = difference
        if level < levels - 1:
            detail = difference - F.interpolate(small, scale_factor=2.0, mode="bilinear")
        total = total + 2**level * weighted_mean(detail.abs(), weight)
        difference, weight = small, F.avg_pool2d(weight, 2)
    return total / levels


def composition(
    alpha: Tensor, truth: Tensor, foreground: Tensor, image: Tensor, weight: Tensor
) -> Tensor:
    """Absolute difference of the true foreground put over the photo with either alpha.

    (α − α*)·(F − B) without B: F − I = (1 − α*)(F − B), so it is taken from the photo, and counts
    where the colours tell the layers apart.
    """
    difference = (foreground - image).abs() / (1 - truth).clamp_min(0.1)
    return weighted_mean((alpha - truth).abs() * difference.clamp(max=1), weight)


def colour(foreground: Tensor, true: Tensor, alpha: Tensor, weight: Tensor) -> Tensor:
    """Foreground colour, absolute, where it shows and is mixed: weighted by 4·α(1 − α) and √α."""
    mixed = alpha.sqrt() * ((alpha > 0.02) & (alpha < 0.99)).float()
    return weighted_mean((foreground - true).abs(), weight * mixed)


def harm(alpha: Tensor, truth: Tensor, coarse: Tensor, weight: Tensor) -> Tensor:
    """By how much the absolute error grew, where it grew; 0 where it fell or stayed."""
    grown = (alpha - truth).abs() - (coarse - truth).abs()
    return weighted_mean(grown.clamp_min(0), weight)


def worse(
    alpha: Tensor, truth: Tensor, coarse: Tensor, weight: Tensor, margin: float = 0.05
) -> Tensor:
    """By how much of a patch's absolute error it grew, where it grew; the mean over all patches.

    It has to fall by the share ``margin``, so that what just passes here also passes elsewhere. A
    patch with less than 0.005 wrong a pixel counts as if it had that: a percent of nothing is none.
    """
    before = ((coarse - truth).abs() * weight).sum((1, 2, 3))
    ours = ((alpha - truth).abs() * weight).sum((1, 2, 3))
    scale = before.clamp_min(0.005 * weight.sum((1, 2, 3)) + 1e-6)
    return ((ours - (1 - margin) * before) / scale).clamp_min(0).mean()


def thin(alpha: Tensor, truth: Tensor, weight: Tensor, width: int = 7) -> Tensor:
    """What alpha lacks of structures narrower than ``width`` px: those an opening takes away."""
    eroded = -F.max_pool2d(-truth, width, 1, width // 2)
    top_hat = truth - F.max_pool2d(eroded, width, 1, width // 2)
    return weighted_mean((truth - alpha).clamp_min(0) * top_hat, weight)


def reconstruction(
    refined: Tensor,
    image: Tensor,
    coarse: Tensor,
    alpha: Tensor,
    foreground: Tensor,
    weight: Tensor,
    w: Weights,
) -> Tensor:
    """Add up all terms that need no second network.

    ``refined`` (N, 4, H, W) is the generator's answer; ``alpha`` and ``foreground`` are the truth.
    """
    ours, ours_f = refined[:, :1], refined[:, 1:]
    return (
        w.l1 * l1(ours, alpha, weight)
        + w.l2 * l2(ours, alpha, weight)
        + w.gradient * gradient(ours, alpha, weight)
        + w.laplacian * laplacian(ours, alpha, weight)
        + w.composition * composition(ours, alpha, foreground, image, weight)
        + w.foreground * colour(ours_f, foreground, alpha, weight)
        + w.harm * harm(ours, alpha, coarse, weight)
        + w.worse * worse(ours, alpha, coarse, weight)
        + w.thin * thin(ours, alpha, weight)
    )


def adversarial(features: list[list[Tensor]], real: bool) -> Tensor:
    """LSGAN (Mao et al., 2017): squared distance of each scale's verdict from 1 or 0, averaged."""
    verdicts = [(scale[-1] - float(real)).square().mean() for scale in features]
    return torch.stack(verdicts).mean()


def feature_matching(fake: list[list[Tensor]], real: list[list[Tensor]]) -> Tensor:
    """Absolute difference of the discriminator's features, all scales and layers (Pix2PixHD)."""
    pairs = [
        (f - r.detach()).abs().mean()
        for at_fake, at_real in zip(fake, real, strict=True)
        for f, r in zip(at_fake[:-1], at_real[:-1], strict=True)
    ]
    return torch.stack(pairs).mean()
