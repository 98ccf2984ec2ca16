"""The learning rate of a step, and the one place where it is set."""

from __future__ import annotations

import math

from torch.optim import Optimizer


def warmup_cosine(step: int, steps: int, warmup: int, floor: float) -> float:
    """Return the factor of the peak rate at a step: a linear warm-up times a cosine to ``floor``.

    The cosine spans all ``steps`` (Loshchilov and Hutter, 2017, without restarts).

    >>> [round(warmup_cosine(step, 100, 10, 0.1), 2) for step in (0, 9, 50, 100)]
    [0.1, 0.98, 0.55, 0.1]
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * step / steps))
    return rise * (floor + (1 - floor) * fall)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the rate of all parameter groups, each times its own ``scale`` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
