"""How sure stage 1 is: what it is made of, and what is said of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from eval.confidence import Case, alarmed, auroc, diagram, examine, fit, threshold, unseen
from pipeline import confidence, models
from pipeline.looks import Looks
from pipeline.views import Box, Sight
from tests.conftest import ellipse, fake_cutout
from tests.networks import Function


def sight(first: np.ndarray, second: np.ndarray, looks: int = 2) -> Sight:
    return Sight((first + second) / 2, (320, 320), Box(0, 0, *first.shape), first, second, looks)


def test_two_looks_that_agree_are_surer_than_two_that_do_not():
    whole = ellipse(80, 80)
    half = whole * (np.arange(80) < 40)
    agreed, apart = (confidence.of(sight(whole, other)) for other in (whole, half))
    assert 0 <= apart < agreed <= 1
    assert agreed > confidence.calibration().unsure > apart


@pytest.mark.parametrize("looks", [1, 2])
def test_a_result_is_unsure_by_what_was_fitted_for_its_looks(looks):
    least = confidence.calibration(looks).unsure
    assert confidence.calibration(1).unsure != confidence.calibration(2).unsure
    found = replace(fake_cutout(np.zeros((40, 40, 3), np.uint8)), looks=looks)
    assert replace(found, confidence=least - 0.01).unsure
    assert not replace(found, confidence=least + 0.01).unsure


def test_a_grey_mask_is_less_sure_than_a_clear_one():
    whole = ellipse(80, 80)
    for looks in (1, 2):
        clear, grey = (confidence.of(sight(m, m, looks)) for m in (whole, 0.6 * whole))
        assert grey < clear


def test_nothing_found_is_nothing_to_be_sure_of():
    nothing = np.full((80, 80), 0.3, np.float32)
    assert confidence.of(sight(nothing, nothing)) == 0
    figures = confidence.figures(sight(nothing * 0, nothing * 0))
    assert np.isfinite(figures).all()


def test_figures_lie_within_0_and_1():
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = rng.random((2, 30, 40), np.float32)
        figures = confidence.figures(sight(first, second))
        assert figures.shape == (len(confidence.FIGURES),)
        assert figures.min() >= 0 and figures.max() <= 1


def test_the_coefficients_are_of_the_bundled_network():
    facts = json.loads(confidence.FILE.read_text())
    assert facts["sha256"] == models.coarse_model(facts["model"]).sha256, (
        "stage 1 is another one now: python -m eval.confidence DATA --write fits them anew"
    )
    assert all(entry["measured_on"] >= 100 for entry in facts["looks"].values())


def test_a_fit_finds_what_made_the_data():
    rng = np.random.default_rng(1)
    figures = rng.random((4000, 3))
    chance = 1 / (1 + np.exp(-(6 * figures[:, 0] - 4 * figures[:, 1] - 1)))
    good = rng.random(4000) < chance
    weights, constant = fit(figures, good)
    likely = 1 / (1 + np.exp(-figures @ weights - constant))
    assert weights[0] > 3 > 0.5 > abs(weights[2]) and weights[1] < -2
    assert np.abs(likely - chance).mean() < 0.06
    assert auroc(likely, good) == pytest.approx(auroc(chance, good), abs=0.01)
    assert (likely[good] < threshold(likely, good)).mean() <= 0.05


def test_no_photo_is_scored_by_a_fit_that_saw_it():
    """A figure that tells each photo apart would be learned by heart; unseen, it says nothing."""
    rng = np.random.default_rng(2)
    good, folds = rng.random(200) < 0.5, np.arange(200) % 5
    names = np.eye(200)  # one figure a photo
    weights, constant = fit(names, good)
    assert auroc(names @ weights + constant, good) == 1
    assert auroc(unseen(names, good, folds), good) < 0.65


def test_no_photo_is_called_unsure_by_a_threshold_that_saw_it():
    rng = np.random.default_rng(4)
    good, folds = rng.random(2000) < 0.7, np.arange(2000) % 5
    figures = good[:, None] + rng.normal(0, 0.7, (2000, 2))
    alarms = alarmed(figures, good, folds)
    assert 0.03 < alarms[good].mean() < 0.07 and alarms[~good].mean() > 0.4
    # What becomes of one fold says nothing of where its own threshold lies.
    others = good.copy()
    others[folds == 0] = rng.random(400) < 0.7
    assert np.array_equal(alarmed(figures, others, folds)[folds == 0], alarms[folds == 0])


def test_a_diagram_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need the eval extra")
    rng = np.random.default_rng(3)
    score = rng.random(300)
    diagram(score, rng.random(300) < score, "Confidence", tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 300


def test_the_same_question_is_asked_once_whatever_the_inputs():
    class Session:
        asked = 0

        def run(self, outputs, inputs):
            self.asked += 1
            return [np.float64(sum(float(value.sum()) for value in inputs.values()))]

    session = Session()
    once = Looks(1 << 10).through(session, "one")
    photo, hints = np.ones((1, 3, 4, 4), np.float32), np.zeros((1, 2, 4, 4), np.float32)
    assert once.run(["d0"], {"input": photo, "hints": hints}) == [48]
    assert once.run(["d0"], {"input": photo.copy(), "hints": hints.copy()}) == [48]
    assert session.asked == 1
    assert once.run(["d0"], {"input": photo, "hints": hints + 1}) == [80]
    assert once.run(["d0"], {"input": photo}) == [48]
    assert session.asked == 3


def test_stage_1_is_measured_where_the_truth_is_known():
    """The network takes the brighter half for the subject; the truth is a quarter."""
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:, 32:] = 255
    truth, known = np.zeros((64, 64), bool), np.ones((64, 64), bool)
    truth[32:, 32:] = True
    session = Function(lambda view: (view[:, :1] > 0).astype(np.float32))
    card = replace(models.coarse_model("wisp"), hints=False, output_range=(0.0, 1.0))
    whole = Case("whole", photo, truth, known)
    below = Case("below", photo, truth, known & (np.arange(64) >= 32)[:, None])
    for looks, (all_of_it, lower) in examine(session, card, iter((whole, below))).items():
        assert all_of_it.overlap == pytest.approx(0.5, abs=0.03), looks
        assert all_of_it.error == pytest.approx(0.25, abs=0.03)
        assert lower.overlap > 0.93 and lower.error < 0.03
