"""Photos that have transparency already: what the networks see of them, and when it is enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline import compose
from pipeline.image_io import Photo

#: What a photo is laid on, the first that stands out from it: white, as most products are shown.
_GROUNDS = (255, 0, 128)
#: How far, in levels, the brightest difference of a pixel must be for it to stand out.
_APART = 64
#: Share of the visible that may fail to stand out: highlights and shadows do.
_LOST = 0.1
#: From this IoU on stage 1 sees what the alpha shows already. Cutouts of ours come to 0.93 and
#: more, round portraits with their background to 0.6.
_SAME = 0.85


def opaque(photo: Photo) -> NDArray[np.uint8]:
    """Lay a photo on a ground that it stands out from, (H, W, 3) uint8.

    Colours under alpha 0 mean nothing, so the networks are to see one colour there; a white logo on
    white would be nothing to them.
    """
    if photo.alpha is None:
        return photo.image
    step = max(1, round((photo.alpha.size / 1e6) ** 0.5))  # a million pixels tell as much as all
    image, alpha = photo.image[::step, ::step].astype(np.int16), photo.alpha[::step, ::step]
    total = max(float(alpha.sum()), 1e-6)
    lost = [
        float(alpha[np.abs(image - ground).max(2) < _APART].sum()) / total for ground in _GROUNDS
    ]
    least = next((i for i, share in enumerate(lost) if share <= _LOST), int(np.argmin(lost)))
    ground = _GROUNDS[least]
    return compose.over(photo.image, photo.alpha, (ground, ground, ground))


def separates(alpha: NDArray[np.float32], mask: NDArray[np.float32]) -> bool:
    """Tell whether a photo's own alpha is the subject's already.

    Parameters
    ----------
    alpha, mask
        The photo's, and what stage 1 says of it, (H, W) float32 in 0..1.
    """
    both = float(np.minimum(alpha, mask).sum())
    return both >= _SAME * float(np.maximum(alpha, mask).sum()) > 0
