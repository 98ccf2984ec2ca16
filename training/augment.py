"""What the augmentations of whole batches have in common."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def random_subset(n: int, share: float, rng: np.random.Generator) -> Tensor:
    """Choose each of ``n`` pictures with probability ``share``: the chosen indices, (k,) int64."""
    return torch.from_numpy(np.flatnonzero(rng.random(n) < share))
