"""Stage 2: a Pix2PixHD-style generator redraws each patch (Wang et al., 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.models import Session, lanes
from pipeline.patches import extract

INPUT, OUTPUT = "patches", "refined"


class Redraw(Protocol):
    """:func:`redraw` with its session and settings."""

    def __call__(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[np.float32],
        origins: NDArray[np.intp],
        /,
    ) -> Iterable[NDArray[np.float32]]: ...


def run(session: Session, patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """Redraw a batch of patches.

    Parameters
    ----------
    session
        A generator network with input ``patches`` and output ``refined``.
    patches
        (N, 4, 128, 128) float32 in 0..1: R, G, B, coarse.

    Returns
    -------
    (N, 4, 128, 128) float32 in 0..1: alpha, then the straight foreground colour R, G, B. A patch
    for which the network answers anything but numbers comes back unchanged.
    """
    refined = np.array(session.run([OUTPUT], {INPUT: patches})[0], np.float32)
    bad = ~np.isfinite(refined).all((1, 2, 3))
    refined[bad] = patches[bad][:, [3, 0, 1, 2]]
    return np.clip(refined, 0, 1, out=refined)


def redraw(
    session: Session,
    image: NDArray[np.uint8],
    mask: NDArray[np.float32],
    origins: NDArray[np.intp],
    batch: int,
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Redraw patch after patch, a few of them at a time: a large photo has hundreds.

    ``image``, ``mask`` and ``origins`` are those of :func:`pipeline.patches.extract`; ``batch`` is
    the most patches a run, of a session with :class:`pipeline.models.lanes.Lanes` fewer. Yields
    what :func:`run` makes of each, (4, 128, 128). ``on_progress`` is called after each run with the
    share of the patches that is done, 0..1.
    """
    count = session.count if isinstance(session, lanes.Lanes) else 1
    most = min(batch, lanes.MOST) if count > 1 else batch
    rounds = math.ceil(len(origins) / (count * most))
    # As many parts as lanes in each round, so that none has nothing to do in the last one.
    shares = np.array_split(origins, max(1, min(rounds * count, len(origins))))
    parts = (extract(image, mask, share) for share in shares if len(share))
    done = 0
    for redrawn in lanes.side_by_side(partial(run, session), parts, count):
        done += len(redrawn)
        if on_progress:
            on_progress(done / len(origins))
        yield from redrawn
