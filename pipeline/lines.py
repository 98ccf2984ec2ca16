"""Let the alpha that stage 2 draws keep to the photo's colours.

Within a small window, alpha is a linear function of colour (the colour-line assumption of
closed-form matting; Levin et al., 2008), which the generator knows at half resolution only. So its
answer is fitted by such functions, one a window, and their mean is the colour-guided filter (He et
al., 2013, section 3.4). Where it was sure the answer stays: there a fit can only smear.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.patches import TILE, pad

Plane = NDArray[np.float32]

#: Windows are 9 px wide at half the resolution, where the coefficients are had for a third of the
#: time and no less well (He and Sun, 2015, "Fast guided filter"). On 62 whole held-out scenes that
#: gains 0.13 dB, at the edge too, with less absolute and gradient error; a reach of 3 px instead
#: of 8 gains two thirds of it, of 11 px no more.
RADIUS = 4
#: Variance of a colour, 0..1, below which it tells nothing: that of one and a half grey levels.
NOISE = 3e-5
#: How far what is unsure moves: three quarters of the way at a half, less towards 0 and 1. All the
#: way at a half gains nothing more and loses some of the gradient.
SHARE = 3.0


def follow(
    image: NDArray[np.uint8],
    mask: NDArray[np.float32],
    origins: NDArray[np.intp],
    redrawn: Iterable[NDArray[np.float32]],
) -> Iterator[NDArray[np.float32]]:
    """Let each redrawn patch's alpha follow the photo.

    ``image``, ``mask`` and ``origins`` are those of :func:`pipeline.generator.redraw`, ``redrawn``
    what it yields of them, (4, 128, 128) float32 in 0..1 each, and so is what this yields: alpha
    moved, colours as they were. The redrawn patches are changed in place. One that kept its mask,
    as on a failure, keeps it.

    It is for the patches at full size only: at what the generator sees from afar there are no
    strands, and on the same scenes their edges lose what these gain.
    """
    for (y, x), patch in zip(origins, redrawn, strict=True):
        here = np.s_[y : y + TILE, x : x + TILE]
        if not np.array_equal(patch[0], pad(mask[here])):
            patch[0] = towards_line(pad(image[here]) * np.float32(1 / 255), patch[0])
        yield patch


def towards_line(image: Plane, alpha: Plane) -> Plane:
    """Move what is unsure of an alpha towards a local linear function of colour.

    Parameters
    ----------
    image, alpha
        A patch of the photo, (H, W, 3) float32 in 0..1, and its alpha, (H, W) float32 in 0..1.

    Returns
    -------
    (H, W) float32 in 0..1. What is 0 or 1 stays, bit for bit.
    """
    fitted = np.clip(_guided(image, alpha), 0, 1)
    moved = alpha + SHARE * alpha * (1 - alpha) * (fitted - alpha)
    return np.asarray(moved, np.float32)


def _guided(image: Plane, alpha: Plane) -> Plane:
    """The guided filter of ``alpha`` with a colour guide, (H, W) float32."""
    height, width = alpha.shape
    guide = image - np.float32(0.5)  # about zero, means of products keep their small digits
    half = ((width + 1) // 2, (height + 1) // 2)
    small = cv2.resize(np.dstack([guide, alpha]), half, interpolation=cv2.INTER_AREA)
    fields = _coefficients(np.asarray(small, np.float32).transpose(2, 0, 1).copy())
    *along, rest = (cv2.resize(field, (width, height)) for field in fields)
    for slope, colour in zip(along, cv2.split(guide), strict=True):
        rest += slope * colour
    return np.asarray(rest, np.float32)


def _coefficients(layers: Plane) -> list[Plane]:
    """What times R, G, B and 1 is alpha: for each pixel the mean of all windows it lies in.

    ``layers`` are R, G, B and alpha, (4, H, W); the answer is four planes, (H, W).
    """
    r, g, b, alpha = layers
    mean_r, mean_g, mean_b, mean = _blur(r), _blur(g), _blur(b), _blur(alpha)
    # The covariance of colour and alpha, and the inverse of that of colour, by its adjugate.
    vr = _blur(r * alpha) - mean_r * mean
    vg = _blur(g * alpha) - mean_g * mean
    vb = _blur(b * alpha) - mean_b * mean
    rr = _blur(r * r) - mean_r * mean_r + NOISE
    gg = _blur(g * g) - mean_g * mean_g + NOISE
    bb = _blur(b * b) - mean_b * mean_b + NOISE
    rg = _blur(r * g) - mean_r * mean_g
    rb = _blur(r * b) - mean_r * mean_b
    gb = _blur(g * b) - mean_g * mean_b
    arr, arg, arb = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    agg, agb, abb = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    scale = 1 / np.maximum(rr * arr + rg * arg + rb * arb, NOISE**3)
    kr = (arr * vr + arg * vg + arb * vb) * scale
    kg = (arg * vr + agg * vg + agb * vb) * scale
    kb = (arb * vr + agb * vg + abb * vb) * scale
    rest = mean - kr * mean_r - kg * mean_g - kb * mean_b
    return [_blur(field) for field in (kr, kg, kb, rest)]


def _blur(plane: Plane) -> Plane:
    size = 2 * RADIUS + 1
    blurred = cv2.blur(plane, (size, size), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32)
