import numpy as np
import pytest

pytest.importorskip("torch")

from u2net import metrics


@pytest.fixture
def square() -> np.ndarray:
    truth = np.zeros((40, 40), np.float32)
    truth[10:30, 8:28] = 1
    return truth


def test_perfect_and_inverse(square):
    assert metrics.max_f_beta([metrics.precision_recall(square, square)]) == pytest.approx(1)
    assert metrics.iou(square, square) == 1
    assert metrics.iou(1 - square, square) == 0


def test_f_beta_by_hand(square):
    """A map that finds the subject and as much again: precision 1/2, recall 1."""
    wide = square.copy()
    wide[10:30, 28:40] = wide[10:30, 0:8] = 1
    curve = metrics.precision_recall(wide, square)
    assert curve[:, 0] == pytest.approx(0.5) and curve[:, 1] == pytest.approx(1)
    assert metrics.max_f_beta([curve]) == pytest.approx(1.3 * 0.5 / (0.3 * 0.5 + 1))


def test_precision_recall_against_counting(square):
    rng = np.random.default_rng(0)
    noisy = np.clip(square * 0.5 + rng.random(square.shape) * 0.5, 0, 1)
    curve = metrics.precision_recall(noisy, square)
    for level in (1, 100, 200):
        marked = np.rint(noisy * 255) >= level
        hit = (marked & (square > 0)).sum()
        expected = (hit / max(marked.sum(), 1), hit / square.sum())
        assert curve[level - 1] == pytest.approx(expected)


def test_empty_scenes(square):
    empty = np.zeros_like(square)
    assert metrics.iou(empty, empty) == 1
    assert np.isfinite(metrics.precision_recall(empty, empty)).all()
