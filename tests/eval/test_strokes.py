"""What strokes are worth: where a hand draws, what comes of it, and that the tables say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pytorch_optimizer", reason="training needs the extra 'train'")

from eval import hand, strokes
from eval.confidence import Case
from pipeline import Cutout
from tests import networks

SHAPE = (120, 160)
MISSED = (slice(40, 72), slice(80, 136))  # of the subject: as dark as the ground, and reddish


@pytest.fixture(scope="module")
def case() -> Case:
    """A bright subject, one part of which is too dark for a network that goes by brightness."""
    photo = np.full((*SHAPE, 3), 20, np.uint8)
    truth = np.zeros(SHAPE, bool)
    truth[20:100, 24:80] = True
    photo[truth] = 240
    photo[MISSED] = (70, 0, 0)
    truth[MISSED] = True
    return Case("made", photo, truth, np.ones(SHAPE, bool))


@pytest.fixture(scope="module")
def cutout(tmp_path_factory: pytest.TempPathFactory) -> Cutout:
    folder: Path = tmp_path_factory.mktemp("nets")
    return Cutout(
        model=str(networks.stage1(folder / "tiny.onnx", gain=4.0)),
        refiner=str(networks.stage2(folder / "same.onnx")),
        threads=1,
    )


def test_a_hand_follows_the_largest_mistake_with_a_brush_that_fits(case):
    alpha = case.truth.astype(np.float32)
    alpha[MISSED] = 0
    alpha[0:10, 0:10] = 1  # a smaller one
    drawn = hand.next_stroke(alpha, case, np.random.default_rng(1))
    assert drawn and drawn.restore
    x, y = (np.array(drawn.points) * (160, 120)).T
    assert np.median(np.abs(y - 56)) < 4 and ((y > 40) & (y < 72)).all()
    assert np.ptp(x) > 30 and ((x > 80) & (x < 136)).all()
    assert 32 < drawn.width * 160 < 48  # the mistake is 32 px wide
    alpha[MISSED] = 1
    erased = hand.next_stroke(alpha, case, np.random.default_rng(1))
    assert erased and not erased.restore and max(erased.points[0]) < 0.1
    assert hand.next_stroke(case.truth.astype(np.float32), case, np.random.default_rng(1)) is None


def test_what_is_too_thin_to_be_seen_is_left_alone(case):
    alpha = case.truth.astype(np.float32)
    alpha[20:100, 78:80] = 0
    assert hand.largest(alpha, case)
    alpha[20:100, 78:79] = 1
    assert hand.largest(alpha, case) is None


def test_strokes_on_what_is_wrong_lower_the_error_and_nothing_else_changes(
    case, cutout, monkeypatch
):
    monkeypatch.setattr(strokes, "PIXELS", 100 * 130)
    kept = strokes.measure(cutout, iter([case]))
    (none, two, four) = kept.figures[0]
    assert two[2] < 0.5 * none[2] and four[2] <= two[2] and two[0] > none[0] + 3
    assert kept.strokes >= 2 and kept.beyond == 0
    assert set(kept.seconds) == {strokes.FIRST, "a click to keep", "a box", "a stroke"}
    lines = strokes.table(kept.figures).splitlines()
    assert lines[2].startswith("| all, 1 | none |") and lines[2].endswith("| 1.00 |")
    assert float(lines[3].split("|")[-2]) < 0.5
    assert len(strokes.times(kept.seconds).splitlines()) == 2 + len(kept.seconds)


def test_a_change_far_from_a_stroke_is_counted(case, cutout):
    result = cutout.cut(case.photo)
    drawn = hand.next_stroke(result.alpha, case, np.random.default_rng(1))
    assert drawn
    after = cutout.retouch(result, drawn)
    assert strokes.beyond(drawn, result, after, cutout.settings) == 0
    after.alpha[-1, :7] += 0.5
    assert strokes.beyond(drawn, result, after, cutout.settings) == 7


def test_a_table_has_the_geometric_mean_of_the_photos_drawn_on():
    right = [(30.0, 0.9, 4.0)] * 3
    wrong = [(10.0, 0.3, 8.0), (20.0, 0.8, 4.0), (22.0, 0.9, 0.8)]
    other = [(10.0, 0.3, 8.0), (12.0, 0.8, 1.0), (22.0, 0.9, 0.8)]
    assert strokes.table([right, wrong, other]).splitlines()[2:] == [
        "| all, 3 | none | 33% | 16.7 dB | 1.00 |",
        "| all, 3 | 2 | 67% | 20.7 dB | 0.25 |",
        "| all, 3 | 4 | 100% | 24.7 dB | 0.10 |",
        "| not found, 2 | none | 0% | 10.0 dB | 1.00 |",
        "| not found, 2 | 2 | 50% | 16.0 dB | 0.25 |",
        "| not found, 2 | 4 | 100% | 22.0 dB | 0.10 |",
    ]
