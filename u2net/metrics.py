"""How good a subject map is: the measures of the salient-object literature.

Everywhere: ``prediction`` and ``truth`` are (H, W) float in 0..1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.floating]
THRESHOLDS = 255


def mae(prediction: Map, truth: Map) -> float:
    """Mean absolute error."""
    return float(np.abs(prediction - truth).mean())


def precision_recall(prediction: Map, truth: Map) -> NDArray[np.float64]:
    """(255, 2) precision and recall of ``prediction >= t`` for t = 1/255 .. 1; truth cut at half.

    Precision is 1 where nothing is predicted. Without a subject in the truth recall is 1.
    """
    level = np.clip(np.rint(prediction * 255), 0, 255).astype(np.int64)
    subject = truth > 0.5
    # Counts of pixels at or above each level, from the histograms summed from the top.
    hit = np.bincount(level[subject], minlength=256)[::-1].cumsum()[::-1][1:]
    found = np.bincount(level.ravel(), minlength=256)[::-1].cumsum()[::-1][1:]
    precision = np.where(found, hit / np.maximum(found, 1), 1.0)
    recall = hit / subject.sum() if subject.any() else np.ones(THRESHOLDS)
    return np.stack((precision, recall), 1)


def max_f_beta(curves: list[NDArray[np.float64]], beta2: float = 0.3) -> float:
    """The greatest F-beta over the thresholds, of the precision and recall averaged over photos.

    beta² = 0.3 weighs precision (Achanta et al., CVPR 2009; U²-Net, section 4.3).
    """
    precision, recall = np.mean(curves, 0).T
    f = (1 + beta2) * precision * recall / np.maximum(beta2 * precision + recall, 1e-12)
    return float(f.max())


def s_measure(prediction: Map, truth: Map, alpha: float = 0.5) -> float:
    """Structure measure (Fan et al., ICCV 2017, eq. 10): alpha · object + (1 - alpha) · region.

    ``truth`` is cut at half. Of an empty or a full truth, only the mean of the prediction counts.
    """
    subject = truth > 0.5
    share = subject.mean()
    if share == 0:
        return float(1 - prediction.mean())
    if share == 1:
        return float(prediction.mean())
    inside = _object_score(prediction[subject])
    outside = _object_score(1 - prediction[~subject])
    value = alpha * (share * inside + (1 - share) * outside)
    return float(max(value + (1 - alpha) * _region_score(prediction, subject), 0.0))


def _object_score(values: NDArray[np.floating]) -> float:
    """Equation 4: near 1 where the values are bright and alike."""
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return 2 * mean / (mean * mean + 1 + spread + 1e-8)


def _region_score(prediction: Map, subject: NDArray[np.bool_]) -> float:
    """Equation 8: SSIM of the four quarters about the subject's centroid, weighed by area."""
    ys, xs = np.nonzero(subject)
    y, x = round(ys.mean()) + 1, round(xs.mean()) + 1
    total = 0.0
    for rows in (slice(0, y), slice(y, None)):
        for columns in (slice(0, x), slice(x, None)):
            quarter = subject[rows, columns].astype(np.float64)
            if quarter.size:
                share = quarter.size / subject.size
                total += share * _ssim(prediction[rows, columns].astype(np.float64), quarter)
    return total


def _ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Structural similarity of two whole regions, as the S-measure takes it."""
    count = max(a.size - 1, 1)
    ma, mb = a.mean(), b.mean()
    va, vb = ((a - ma) ** 2).sum() / count, ((b - mb) ** 2).sum() / count
    cross = ((a - ma) * (b - mb)).sum() / count
    top, bottom = 4 * ma * mb * cross, (ma**2 + mb**2) * (va + vb)
    if top:
        return float(top / (bottom + 1e-8))
    return 1.0 if bottom == 0 else 0.0


def iou(a: Map, b: Map, threshold: float = 0.5) -> float:
    """Intersection over union of the two maps cut at ``threshold``; 1 where both are empty."""
    ours, theirs = a > threshold, b > threshold
    union = (ours | theirs).sum()
    return float((ours & theirs).sum() / union) if union else 1.0
