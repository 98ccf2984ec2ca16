"""How often each picture is drawn, or changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


def sampling_probs(sources: ArrayLike, weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the probability of each picture, (N,), from the name of its source.

    A source's weight (1 where ``weights`` does not name it) is shared among its pictures.

    >>> sampling_probs(["a", "a", "b"], {"a": 3.0}).tolist()
    [0.375, 0.375, 0.25]
    """
    names = np.asarray(sources)
    probs = np.zeros(len(names))
    for name in np.unique(names):
        inside = names == name
        probs[inside] = weights.get(str(name), 1.0) / inside.sum()
    return probs / probs.sum()


def random_subset(n: int, share: float, rng: np.random.Generator) -> Tensor:
    """Choose each of ``n`` pictures with probability ``share``: the chosen indices, (k,) int64."""
    return torch.from_numpy(np.flatnonzero(rng.random(n) < share))
