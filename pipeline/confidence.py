"""How likely it is that the subject is whole: that stage 1 and the truth would overlap by 0.8.

A logistic regression of two figures of what stage 1 saw: how certain it is of each pixel, and how
far two looks at the photo agree (Wang et al., 2019, "Aleatoric uncertainty estimation with
test-time augmentation", section 2.2). Its coefficients lie beside the weights that they were fitted
for, in ``weights/confidence.json``; ``python -m eval.confidence`` fits them anew.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.models import WEIGHTS
from pipeline.views import CERTAIN, NEAR, SUBJECT, Sight, join, logit

FILE = WEIGHTS / "confidence.json"

#: What the regression sees, each in 0..1, in the box of the last look.
FIGURES = ("certainty", "agreement")

_LIKELY = 0.1  # what is likelier in than this may be the subject, and is asked how certain it is


@dataclass(frozen=True)
class Calibration:
    """A fitted regression: a weight for each of :data:`FIGURES`, and a constant.

    ``unsure`` is the confidence below which a user is to be told.
    """

    weights: tuple[float, ...]
    constant: float
    unsure: float


def figures(sight: Sight) -> NDArray[np.float64]:
    """Return :data:`FIGURES` of what stage 1 saw, (2,) float64 in 0..1.

    The mean distance of the log-odds from even ones where a subject may be, as a share of the
    largest that is told apart; the overlap of both answers as soft sets.
    """
    first, second = sight.first, sight.second
    joined = join(first, second, NEAR)
    likely, most = joined > _LIKELY, math.log(1 / CERTAIN - 1)
    certainty = float(np.abs(logit(joined[likely])).mean()) / most if likely.any() else 0.0
    either = float(np.maximum(first, second).sum())
    agreement = float(np.minimum(first, second).sum()) / (either + 1e-6)
    return np.clip([certainty, agreement], 0.0, 1.0)


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
