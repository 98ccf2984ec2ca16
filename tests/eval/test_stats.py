from __future__ import annotations

import numpy as np
import pytest

from eval import stats


def test_the_interval_is_that_of_a_normal_mean() -> None:
    values = np.random.default_rng(3).normal(10, 2, 400)
    mean = stats.mean(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert mean.value == pytest.approx(values.mean())
    assert mean.low == pytest.approx(values.mean() - half, abs=0.05)
    assert mean.high == pytest.approx(values.mean() + half, abs=0.05)


def test_pairing_sees_what_means_hide() -> None:
    images = np.random.default_rng(0).normal(20, 5, 30)  # images differ by far more than methods
    mine = images + 0.3 + np.random.default_rng(1).normal(0, 0.1, 30)
    gain = stats.paired(mine, images, higher_is_better=True)
    assert gain.difference.low > 0.2 and gain.wins == 30
    alone = stats.mean(mine)
    assert alone.low < stats.mean(images).value < alone.high


def test_lower_can_be_better() -> None:
    gain = stats.paired([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], higher_is_better=False)
    assert (gain.wins, gain.ties, gain.losses) == (1, 1, 1)


def test_ratios_do_not_depend_on_who_is_first() -> None:
    a, b = np.array([1.0, 2.0, 9.0]), np.array([2.0, 3.0, 3.0])
    assert stats.ratio(a, b).value == pytest.approx(1 / stats.ratio(b, a).value)


def test_no_values_are_no_mean() -> None:
    with pytest.raises(ValueError, match="no values"):
        stats.mean([])
