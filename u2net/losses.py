"""What the student is trained on: block features, side maps, ground truth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of a feature (B, C, H, W) over the teacher's variance, a scalar around 0..1.

    ``student`` may be the first few of the batch; the variance is that of all of ``teacher``.

    FitNets' hint (Romero et al., ICLR 2015, eq. 3) without a regressor, as both have the same
    channels. Each channel is measured by its own variance, so that the faint ones are learned
    too; a tenth of the mean variance is added, so that dead channels do not outweigh them.
    """
    teacher = teacher.float()
    variance = teacher.var((0, 2, 3), keepdim=True)
    scale = variance + 0.1 * variance.mean() + 1e-6
    return ((student.float() - teacher[: len(student)]) ** 2 / scale).mean()


def thinned(feature: Tensor, side: int = 80) -> Tensor:
    """Every k-th pixel of a feature (B, C, H, W), so that some ``side`` a row are left.

    The same weights act on all pixels: a full-size feature taught at all of them costs as much as
    its forward pass, and says little more.
    """
    step = max(1, feature.shape[-1] // side)
    return feature[..., ::step, ::step]


def sharpen(probability: Tensor, gain: float) -> Tensor:
    """A map in 0..1 with its logit multiplied by ``gain``: 0, a half and 1 stay what they are."""
    p = probability**gain
    return p / (p + (1 - probability) ** gain)


def targets(
    teacher: list[Tensor], truth: Tensor, has_truth: Tensor, truth_weight: float, gain: float
) -> list[Tensor]:
    """What each of the seven maps should be, (B, 1, H, W) in 0..1.

    Where there is truth (``has_truth`` (B,) is 1): ``truth_weight`` of it, and the rest of the
    teacher's map; elsewhere the teacher's map alone. That is sharpened by ``gain``, since no
    min-max stretch follows.
    """
    share = (truth_weight * has_truth).view(-1, 1, 1, 1)
    return [share * truth + (1 - share) * sharpen(t.float(), gain) for t in teacher]


def map_loss(
    logits: list[Tensor], target: list[Tensor], overlap: float, weight: Tensor | None = None
) -> Tensor:
    """Deep supervision (U²-Net, eq. 1): the sum over the maps of the cross-entropy above its
    least possible value, and ``overlap`` times 1 - soft IoU (BASNet, Qin et al. 2019, eq. 6).

    The soft IoU looks at a subject as a whole, however small, and drives its inside to 1.
    ``weight`` (B, 1, H, W) in 0..1 says how much each pixel counts; all of them do without it.
    """
    total = torch.zeros((), device=logits[0].device)
    w = torch.ones_like(target[0]) if weight is None else weight
    for d, t in zip(logits, target, strict=True):
        entropy = torch.special.entr(t) + torch.special.entr(1 - t)
        apart = F.binary_cross_entropy_with_logits(d.float(), t, reduction="none") - entropy
        total = total + (w * apart).mean()
        if overlap:
            p = d.float().sigmoid()
            common = (w * p * t).sum((1, 2, 3))
            union = (w * (p + t - p * t)).sum((1, 2, 3))
            # An empty scene has no subject to overlap with: the constant keeps it at 0 loss.
            missed = w.mean((1, 2, 3)) * (1 - (common + 50) / (union + 50))
            total = total + overlap * missed.mean()
    return total


def truth_error(logits: list[Tensor], truth: Tensor, has_truth: Tensor) -> Tensor:
    """Mean absolute error of d0 where there is truth; 0 without any. For the progress log."""
    error = (logits[0].detach().float().sigmoid() - truth).abs().mean((1, 2, 3))
    return (error * has_truth).sum() / has_truth.sum().clamp(min=1)
