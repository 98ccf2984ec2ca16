"""The outputs are those of before: see `tests.keep`."""

from __future__ import annotations

import numpy as np

from tests.keep import SIDE, digests, kept

#: Levels of 255 that a cell of 16×16 px and more may be off: processors round differently. That can
#: move the box of the second look by a pixel: a few cells of a photo may be off by more.
MOST, FEW, MEAN = 2, 0.02, 0.1


def test_the_same_photos_give_the_outputs_that_were_kept():
    expected = kept().astype(int)
    different = {}
    for number, (name, digest) in enumerate(digests()):
        error = np.abs(digest - expected[SIDE * number : SIDE * (number + 1)])
        if (error.max(-1) > MOST).mean() > FEW or error.mean() > MEAN:
            different[name] = f"up to {error.max()}, {error.mean():.2f} on average"
    assert not different, f"other outputs: where that was meant, python -m tests.keep ({different})"
    assert len(expected) == SIDE * (number + 1)
