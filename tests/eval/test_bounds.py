"""The bundled models hold what they reached on the built-in set, but for a small margin."""

from __future__ import annotations

import json

import pytest

from eval import methods
from eval.builtin import Drawn
from eval.compare import BOUNDS
from eval.measure import measure
from eval.methods import Input
from eval.results import higher_is_better
from pipeline import Settings, models
from tests.eval import bounds

CARDS = (models.coarse_model(Settings().model), models.refiner_model(Settings().refiner))


pytestmark = pytest.mark.skipif(
    not all(card.path.is_file() for card in CARDS), reason="the bundled weights are not here"
)


def test_quality_is_held() -> None:
    held, now = json.loads(bounds.FILE.read_text()), bounds.reached()
    assert set(held) == {"coarse", "wisp"}
    worse = []
    for label, figures in held.items():
        for name, old in figures.items():
            loss = (old - now[label][name]) * (1 if higher_is_better(name) else -1)
            if not BOUNDS[name].allows(loss, old):
                worse.append(f"{label} {name}: {old} → {now[label][name]:.4f}")
    assert not worse, "; ".join(worse) + " (python -m tests.eval.bounds writes new bounds)"


@pytest.mark.parametrize("number", range(3))
def test_a_hard_edge_never_gets_softer(number: int) -> None:
    scene = Drawn("hard", number).load()
    error = {}
    for spec in methods.parse("coarse,wisp"):
        answer = methods.build(spec)(Input(scene.name, scene.data, scene.image))
        error[spec.label] = measure(methods.as_rgba(scene.image, answer), scene)["gradient"]
    assert error["wisp"] < error["coarse"]
