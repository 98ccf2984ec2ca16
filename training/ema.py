"""Exponential moving average of the weights, which is what is validated and exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def averaged(model: nn.Module, decay: float, step: int = 0) -> AveragedModel:
    """Build the moving average of a model's weights and buffers, as it is after ``step`` updates.

    The decay rises as (1 + n) / (10 + n) with the n-th update up to ``decay``: the random first
    weights are soon forgotten. Call ``update_parameters(model)`` after each step of the optimizer;
    the averaged network is ``.module``.
    """

    def update(average: Tensors, current: Tensors, count: Tensor | int) -> None:
        keep = min(decay, int(count) / (9 + int(count)))
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, 1 - keep)
        else:  # the number of batches that a normalisation has seen
            torch._foreach_copy_(average, current)

    ema = AveragedModel(model, multi_avg_fn=torch.no_grad()(update), use_buffers=True)
    ema.n_averaged.fill_(1 + step)  # the weights that training begins with count as the first
    return ema.requires_grad_(False)
