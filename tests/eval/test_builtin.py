from __future__ import annotations

import numpy as np
import pytest

from eval.builtin import DRAW, Drawn, builtin


@pytest.mark.parametrize("kind", DRAW)
def test_scenes_are_exact(kind: str) -> None:
    """The photo is αF + (1 − α)B to within the rounding to 8 bits, for the B it implies."""
    scene = Drawn(kind, 0, (120, 160)).load()
    assert scene.image.shape == (120, 160, 3) and scene.alpha.dtype == np.float32
    assert scene.foreground is not None and scene.trimap is not None
    solid, clear = scene.alpha == 1, scene.alpha == 0
    assert clear.any() and (solid.any() or kind == "glass")
    assert (scene.image[solid] == scene.foreground[solid]).all()
    a = scene.alpha[..., None].astype(np.float64)
    behind = (scene.image - a * scene.foreground)[scene.alpha < 0.5] / (1 - a[scene.alpha < 0.5])
    assert behind.min() > -1.5 and behind.max() < 256.5
    known = (scene.trimap == 0) | (scene.trimap == 255)
    assert set(np.unique(scene.alpha[known])) <= {0.0, 1.0}


def test_soft_kinds_are_soft_and_glass_is_clear() -> None:
    shares = {}
    for kind in DRAW:
        alpha = Drawn(kind, 1, (120, 160)).load().alpha
        shares[kind] = float(((alpha > 0.05) & (alpha < 0.95)).mean())
    assert shares["hard"] < 0.06
    assert min(shares[kind] for kind in ("hair", "fur", "lace")) > 0.03
    assert shares["glass"] > shares["hard"]


def test_the_set_is_the_same_every_time() -> None:
    first, again = (builtin((96, 128), each=1) for _ in range(2))
    assert [s.name for s in first.samples] == [f"{kind}-0" for kind in DRAW]
    for one, other in zip(first.samples, again.samples, strict=True):
        assert one.load().data == other.load().data
    assert Drawn("fur", 0, (96, 128)).load().data != Drawn("fur", 1, (96, 128)).load().data


def test_a_small_subject_keeps_its_shape_and_its_distance() -> None:
    whole = Drawn("hard", 0, (90, 120)).load().alpha
    small = Drawn("hard", 0, (300, 400), 0.3).load().alpha
    assert np.array_equal(small[105:195, 140:260], whole)
    assert np.count_nonzero(small) == np.count_nonzero(whole) > 0
    names = [builtin((96, 128), subject=share).name for share in (1.0, 0.5)]
    assert names == ["builtin-128x96", "builtin-128x96-0.5"]
