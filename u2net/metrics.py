"""How good subject maps are, where the benchmark's measures of one photo do not say it.

Everywhere: ``prediction`` and ``truth`` are (H, W) float in 0..1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.floating]
THRESHOLDS = 255


def precision_recall(prediction: Map, truth: Map) -> NDArray[np.float64]:
    """(255, 2) precision and recall of ``prediction >= t`` for t = 1/255 .. 1; truth cut at half.

    Precision is 1 where nothing is predicted. Without a subject in the truth recall is 1.
    """
    level = np.clip(np.rint(prediction * 255), 0, 255).astype(np.int64)
    subject = truth > 0.5
    # Counts of pixels at or above each level, from the histograms summed from the top.
    hit = np.bincount(level[subject], minlength=256)[::-1].cumsum()[::-1][1:]
    positives = np.bincount(level.ravel(), minlength=256)[::-1].cumsum()[::-1][1:]
    precision = np.where(positives, hit / np.maximum(positives, 1), 1.0)
    recall = hit / subject.sum() if subject.any() else np.ones(THRESHOLDS)
    return np.stack((precision, recall), 1)


def max_f_beta(curves: list[NDArray[np.float64]], beta2: float = 0.3) -> float:
    """The greatest F-beta over the thresholds, of the precision and recall averaged over photos.

    beta² = 0.3 weighs precision (Achanta et al., CVPR 2009; U²-Net, section 4.3).
    """
    precision, recall = np.mean(curves, 0).T
    f = (1 + beta2) * precision * recall / np.maximum(beta2 * precision + recall, 1e-12)
    return float(f.max())


def iou(a: Map, b: Map, threshold: float = 0.5) -> float:
    """Intersection over union of the two maps cut at ``threshold``; 1 where both are empty."""
    ours, theirs = a > threshold, b > threshold
    union = (ours | theirs).sum()
    return float((ours & theirs).sum() / union) if union else 1.0
