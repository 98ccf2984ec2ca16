"""Stage 2: a Pix2PixHD-style generator redraws each patch (Wang et al., 2018)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.models import Session, watch
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
    """Redraw patch after patch, ``batch`` of them at a time: a large photo has hundreds.

    ``image``, ``mask`` and ``origins`` are those of :func:`pipeline.patches.extract`. Yields what
    :func:`run` makes of each, (4, 128, 128). ``on_progress`` is called after each batch with the
    share of the patches that is done, 0..1.
    """
    compute = watch.carried(partial(run, session))
    with ThreadPoolExecutor(1) as pool:
        # The next batch is computed while the caller blends this one.
        ahead = (
            pool.submit(compute, extract(image, mask, origins[start : start + batch]))
            for start in range(0, len(origins), batch)
        )
        coming = next(ahead, None)
        done = 0
        while coming:
            redrawn = coming.result()
            done += len(redrawn)
            if on_progress:
                on_progress(done / len(origins))
            coming = next(ahead, None)
            yield from redrawn
