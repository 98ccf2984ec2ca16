"""Alpha that holds still, by what is said of the frames before and after.

Motion is dense optical flow on reduced frames (DIS: Kroeger et al., 2016, "Fast Optical Flow using
Dense Inverse Search", in OpenCV). Two steps, both along it:

1. The median of the alphas before, now and after: what is said of one frame alone is dropped.
2. What was written for the frame before, mixed in, as a recursive filter does. But only where it
   can be trusted: where the photo, moved the same way, shows the same as the photo now, and where
   going there and back leads to where one started. Elsewhere something came into view, or the
   flow is wrong, and the past is not to be seen there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Flow = NDArray[np.float32]
Alpha = NDArray[np.float32]
Image = NDArray[np.uint8]
Area = tuple[slice, slice]
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float32])

#: Share of the past where it is trusted. On clips with an exact alpha the change between frames is
#: 0.32 (still) to 0.45 (walking) of what it is without all this; at 0.5 it is 0.37 to 0.50, and the
#: error of the alpha the same.
KEEP = 0.67
#: Levels of 255 from which on photos differ; below half of it they show the same. Noise and JPEG's
#: losses make differences of a few levels.
DIFFERENT = 16.0
#: Pixels of the reduced frame that there and back may miss; half of it is perfect.
ASTRAY = 1.0
#: Longer side of the reduced frames, in px: motion is smooth, and the cost ends here.
VIEW = 640
#: From this share of pixels without trust on, it is another scene.
CUT = 0.6
_BLUR = 1.1  # px; a difference of one pixel is noise, one of several is none
#: DIS crashes on what is smaller than its patches, on its coarsest scale, which the longer side
#: sets: so a strip of a frame is stretched to this share of its length.
_LEAST, _STRIP = 16, 0.5
_AREA = 128  # px a side of what is steadied at a time, and left out where nothing is in doubt


@dataclass(frozen=True)
class Link:
    """How two frames in a row hang together, on the reduced frames.

    Attributes
    ----------
    back, ahead
        Where each pixel of the later frame was in the earlier, and the other way round: (dx, dy)
        in pixels, (h, w, 2) float32.
    trust
        How far the later frame shows at a pixel what ``back`` leads to, (h, w) float32 in 0..1.
    """

    back: Flow
    ahead: Flow
    trust: Alpha

    @property
    def cut(self) -> bool:
        """Whether another scene begins between the two."""
        return float((self.trust == 0).mean()) > CUT


def reduced(image: Image) -> Image:
    """Reduce a frame to :data:`VIEW` px, its longer side; a small one stays as it is."""
    height, width = image.shape[:2]
    shrink = min(1.0, VIEW / max(height, width))
    least = max(_LEAST, round(_STRIP * shrink * max(height, width)))
    size = max(least, round(width * shrink)), max(least, round(height * shrink))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def link(earlier: Image, later: Image) -> Link:
    """Compare two reduced frames, (h, w, 3) uint8 RGB, of one size."""
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    before, now = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (earlier, later))
    back = dis.calc(now, before, None)
    ahead = dis.calc(before, now, None)
    differs = cv2.absdiff(later, moved(earlier, back)).max(2).astype(np.float32)
    same = _falling(cv2.GaussianBlur(differs, (0, 0), _BLUR), DIFFERENT)
    missed = back + moved(ahead, back)
    certain = _falling(cv2.magnitude(missed[..., 0], missed[..., 1]), ASTRAY)
    return Link(back, ahead, same * certain)


def _falling(value: NDArray[np.float32], limit: float) -> Alpha:
    """1 up to half of the limit, 0 from the limit on."""
    return np.clip(2 - value * np.float32(2 / limit), 0, 1)


def moved(picture: Pixels, flow: Flow) -> Pixels:
    """Fetch each pixel of a picture, (H, W[, C]), from where the flow, (H, W, 2), leads to."""
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    warped: Any = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return warped


def along(picture: Alpha, flow: Flow, area: Area) -> Alpha:
    """Fetch an area of a whole frame, (H, W) float32, from where a reduced frame's flow leads."""
    rows, columns = area
    height, width = picture.shape
    down, across = flow.shape[0] / height, flow.shape[1] / width
    size = columns.stop - columns.start, rows.stop - rows.start
    to_reduced = np.array(
        [
            [across, 0, (columns.start + 0.5) * across - 0.5],
            [0, down, (rows.start + 0.5) * down - 0.5],
        ]
    )
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    near: Any = cv2.warpAffine(flow, to_reduced, size, flags=flags, borderMode=border)
    x = near[..., 0] / across + np.arange(columns.start, columns.stop, dtype=np.float32)
    y = near[..., 1] / down + np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    # Bilinear would blur an edge a little more in each frame that the past is carried on through.
    fetched: Any = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=border)
    return np.asarray(np.clip(fetched, 0, 1), np.float32)


def _uncertain(alphas: list[Alpha], flows: list[Flow]) -> Iterator[Area]:
    """Yield the areas in which the alphas are not all 0, or all 1, as far as the flows reach."""
    height, width = alphas[0].shape
    reach = 2 + max(
        int(np.abs(flow[..., axis]).max() * length / flow.shape[1 - axis])
        for flow in flows
        for axis, length in ((0, width), (1, height))
    )
    for top in range(0, height, _AREA):
        for left in range(0, width, _AREA):
            around = (
                slice(max(0, top - reach), top + _AREA + reach),
                slice(max(0, left - reach), left + _AREA + reach),
            )
            least = min(float(alpha[around].min()) for alpha in alphas)
            if least == 1 or (least == 0 and not any(alpha[around].any() for alpha in alphas)):
                continue
            yield slice(top, min(height, top + _AREA)), slice(left, min(width, left + _AREA))


class Steady:
    """Makes the alphas of a clip hold still, one after the other, with a frame's delay."""

    def __init__(self) -> None:
        """Begin a clip."""
        self.cuts = 0  #: scenes that ended so far
        self._view: Image | None = None  # of the frame that came last
        self._link: Link | None = None  # from the frame before it; None at a scene's beginning
        self._raw: Alpha | None = None  # what came with the frame that came last
        self._before: Alpha | None = None  # what came with the one before
        self._written: Alpha | None = None  # what was made of the one before

    def push(self, image: Image, alpha: Alpha) -> Alpha | None:
        """Take the next frame, and return the steady alpha of the one before it.

        Parameters
        ----------
        image, alpha
            (H, W, 3) uint8 RGB; what was made of it alone, (H, W) float32 in 0..1.

        Returns
        -------
        (H, W) float32 in 0..1; None for the first frame, which nothing comes before.
        """
        view = reduced(image)
        coming: Link | None = None
        if self._view is not None and self._view.shape == view.shape:
            coming = link(self._view, view)
            if coming.cut:
                self.cuts += 1
                coming = None
        done = self._finished(None if coming is None else alpha, coming)
        if coming is None:
            self._written = None
        self._view, self._link = view, coming
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
            for area in _uncertain(alphas, flows):
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
