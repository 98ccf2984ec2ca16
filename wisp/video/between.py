"""The cutout of a frame from those before and after it, along optical flow.

Two frames of a clip differ by where things are, and hardly by what they are: so every second one
need not be looked at. What is fetched from both sides is averaged by how far the flow is to be
trusted (:mod:`wisp.video.motion`); an edge that is new in one of them is seen in the other.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from pipeline import Result
from wisp.video.motion import Alpha, Image, Link, leads, moved, uncertain

#: How much of the alpha may be in doubt, on average over a neighbourhood of the frame, before a
#: frame is cut out itself.
DOUBT = 0.05
_NEAR = 1 / 15  # of the reduced frame's longer side: a side of a neighbourhood
_OPAQUE = 1 - 0.5 / 255  # from here on alpha is written as 255, and the colour is the photo's
_TINY = np.float32(1e-3)


def doubt(before: Alpha, after: Alpha, behind: Link, ahead: Link) -> float:
    """How far two frames leave open what the alpha between them is, where it is worst, 0..1.

    It is where what they say differs, and the photo agrees with neither.

    Parameters
    ----------
    before, after
        Their alphas, (H, W) float32 in 0..1.
    behind, ahead
        Link the frame between to the one before, and the one after to it.
    """
    size = behind.trust.shape[::-1]
    one, two = (
        moved(np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32), flow)
        for alpha, flow in ((before, behind.back), (after, ahead.ahead))
    )
    open_ = cv2.absdiff(one, two) * (1 - np.maximum(behind.trust, ahead.trust_ahead))
    near = max(1, round(_NEAR * max(size)))
    return float(cv2.blur(open_, (near, near)).max())


def between(before: Result, image: Image, after: Result, behind: Link, ahead: Link) -> Result:
    """Make the cutout of a frame, (H, W, 3) uint8 RGB, from its neighbours'.

    ``behind`` links it to the frame before, ``ahead`` the frame after to it.
    """
    alpha = before.alpha.copy()
    foreground = image.copy()
    here, there = behind.trust + _TINY, ahead.trust_ahead + _TINY
    shares = cv2.resize(here / (here + there), alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
    for area in uncertain([before.alpha, after.alpha], [behind.back, ahead.ahead]):
        share = shares[area]
        past = leads(behind.back, area, alpha.shape)
        future = leads(ahead.ahead, area, alpha.shape)
        one, two = past.alpha(before.alpha), future.alpha(after.alpha)
        alpha[area] = two + share * (one - two)
        soft = (alpha[area] > 0) & (alpha[area] < _OPAQUE)
        if not soft.any():
            continue
        # What was taken out of the photo's colours, and not these: they would lose their grain.
        first, second = (
            side.colours(result.foreground, soft)
            - side.colours(result.photo.image, soft).astype(np.float32)
            for side, result in ((past, before), (future, after))
        )
        colours = image[area][soft] + second + share[soft][:, None] * (first - second)
        foreground[area][soft] = np.clip(colours + 0.5, 0, 255).astype(np.uint8)
    return replace(
        after,
        photo=replace(after.photo, image=image),
        alpha=alpha,
        coarse=alpha if after.coarse.shape == alpha.shape else after.coarse,
        foreground=foreground,
        tiles=after.tiles[:0],
        timings={},
    )
