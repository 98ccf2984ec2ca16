"""Alpha that holds still, by what is said of the frames before and after.

Two steps, both along optical flow (:mod:`wisp.video.motion`):

1. The median of the alphas before, now and after: what is said of one frame alone is dropped.
2. What was written for the frame before, mixed in, as a recursive filter does. But only where the
   flow can be trusted: elsewhere the past is not to be seen.
"""

from __future__ import annotations

import cv2
import numpy as np

from wisp.video.motion import Alpha, Link, along, uncertain

#: Share of the past where it is trusted. On clips with an exact alpha the change between frames is
#: 0.32 (still) to 0.45 (walking) of what it is without all this; at 0.5 it is 0.37 to 0.50, and the
#: error of the alpha the same.
KEEP = 0.67


class Steady:
    """Makes the alphas of a clip hold still, one after the other, with a frame's delay."""

    def __init__(self) -> None:
        """Begin a clip."""
        self._link: Link | None = None  # of the frame that came last to the one before it
        self._raw: Alpha | None = None  # what came with the frame that came last
        self._before: Alpha | None = None  # what came with the one before
        self._written: Alpha | None = None  # what was made of the one before

    def push(self, alpha: Alpha, coming: Link | None) -> Alpha | None:
        """Take the next frame, and return the steady alpha of the one before it.

        Parameters
        ----------
        alpha
            What was made of the frame alone, (H, W) float32 in 0..1.
        coming
            How it hangs together with the one before; None where a scene begins.

        Returns
        -------
        (H, W) float32 in 0..1; None for the first frame, which nothing comes before.
        """
        done = self._finished(None if coming is None else alpha, coming)
        if coming is None:
            self._written = None
        self._link = coming
        self._before, self._raw = self._raw, alpha
        return done

    def last(self) -> Alpha | None:
        """Return the steady alpha of the last frame; None where there was none."""
        return self._finished(None, None)

    def _finished(self, following: Alpha | None, ahead: Link | None) -> Alpha | None:
        """Make the alpha of the frame that came last, now that the next one is known, or none."""
        alpha = self._raw
        if alpha is None:
            return None
        behind, before, written = self._link, self._before, self._written
        if behind is not None and before is not None:
            alpha = alpha.copy()
            alphas = [a for a in (before, alpha, following, written) if a is not None]
            flows = [behind.back] if ahead is None else [behind.back, ahead.ahead]
            trust = cv2.resize(behind.trust, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
            for area in uncertain(alphas, flows):
                now = alpha[area]
                if following is not None and ahead is not None:
                    after = along(following, ahead.ahead, area)
                    now = _median(along(before, behind.back, area), now, after)
                if written is not None:
                    now = now + KEEP * trust[area] * (along(written, behind.back, area) - now)
                alpha[area] = now
        self._written = alpha
        return alpha


def _median(a: Alpha, b: Alpha, c: Alpha) -> Alpha:
    return np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
