"""How likely it is that the subject is whole: that stage 1 and the truth would overlap by 0.8.

A logistic regression of a few figures of what stage 1 saw: above all, how far two looks at the
photo agree (Wang et al., 2019, "Aleatoric uncertainty estimation with test-time augmentation",
section 2.2), and how grey the mask is. Its coefficients lie beside the weights that they were
fitted for, in ``weights/confidence.json``; ``python -m eval.confidence`` fits them anew.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.models import WEIGHTS
from pipeline.views import SUBJECT, Sight

FILE = WEIGHTS / "confidence.json"

#: What the regression sees, each in 0..1, in the box of the last look.
FIGURES = ("overlap", "agreed", "grey", "sure", "solid", "cut_off")


@dataclass(frozen=True)
class Calibration:
    """A fitted regression: a weight for each of :data:`FIGURES`, and a constant.

    ``unsure`` is the confidence below which a user is to be told.
    """

    weights: tuple[float, ...]
    constant: float
    unsure: float


def figures(sight: Sight) -> NDArray[np.float64]:
    """Return :data:`FIGURES` of what stage 1 saw, (6,) float64 in 0..1.

    Overlap of both answers as soft sets, and cut at one half; how grey their mean is, for its size;
    how sure its subject is, and how much of all that it shows is; the share of the box's rim that
    the subject covers.
    """
    first, second = sight.first, sight.second
    mean = (first + second) / 2
    one, two, subject = first > SUBJECT, second > SUBJECT, mean > SUBJECT
    total = float(mean.sum()) + 1e-6
    count = int(subject.sum())
    rim = np.concatenate([subject[0], subject[-1], subject[:, 0], subject[:, -1]])
    return np.array(
        [
            float(np.minimum(first, second).sum())
            / (float(np.maximum(first, second).sum()) + 1e-6),
            int((one & two).sum()) / max(int((one | two).sum()), 1),
            min(1.0, float((4 * mean * (1 - mean)).sum()) / total),
            float(mean[subject].mean()) if count else 0.0,
            float((mean > 0.95).sum()) / max(int((mean > 0.05).sum()), 1),
            float(rim.mean()),
        ]
    )


def of(sight: Sight) -> float:
    """Return the probability, 0..1, that IoU with the truth is 0.8 or more; 0 of nothing found.

    Calibrated for the bundled network; for others it is a hint.
    """
    if sight.mask.max() < SUBJECT:
        return 0.0
    fitted = calibration(sight.looks)
    return 1 / (1 + math.exp(-fitted.constant - float(figures(sight) @ np.array(fitted.weights))))


@lru_cache
def calibration(looks: int = 2) -> Calibration:
    """Return what was fitted for so many looks."""
    entry = json.loads(FILE.read_text())["looks"][str(looks)]
    weights = tuple(float(entry["weights"][name]) for name in FIGURES)
    return Calibration(weights, float(entry["constant"]), float(entry["unsure"]))
