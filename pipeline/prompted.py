"""Ask a network that is told what to cut: SAM and its kin (Kirillov et al., 2023).

One half sees the photo, once; the other answers for points and a box with a mask, in milliseconds.
The mask is a coarse one like any other: stage 2 redraws its edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import coarse, views
from pipeline.models import Prompted
from pipeline.views import Box, Map, Sight

SIDE = 1024  # px: the photo's longer side, as the network sees it
_CELLS = 256  # of the answer, over a square of that side
#: What a place means to the network. One that means nothing has to go with points without a box.
DROP, KEEP, CORNER, OTHER_CORNER, NOTHING = 0, 1, 2, 3, -1

Point = tuple[float, float]


def see(
    network: Prompted,
    image: NDArray[np.uint8],
    box: Box | None,
    keep: Sequence[Point],
    drop: Sequence[Point],
) -> Sight:
    """Find the one thing that points and a box mean, in pixels of a photo, (H, W, 3) uint8."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    means = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    seen = np.asarray(cv2.resize(image, size, interpolation=means), np.float32)
    (embeddings,) = network.encoder.run(["image_embeddings"], {"input_image": seen})
    places, labels = _said(box, keep, drop)
    sure, logits = network.decoder.run(
        ["iou_predictions", "low_res_masks"],
        {
            "image_embeddings": embeddings,
            "point_coords": (places * scale).astype(np.float32)[None],
            "point_labels": labels[None],
            "mask_input": np.zeros((1, 1, _CELLS, _CELLS), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array([height, width], np.float32),
        },
    )
    best = np.asarray(logits[0, int(np.argmax(sure[0]))], np.float32)
    return _sight(best, (height, width), size)


def _said(
    box: Box | None, keep: Sequence[Point], drop: Sequence[Point]
) -> tuple[NDArray[np.float64], Map]:
    places = [*keep, *drop]
    labels = [KEEP] * len(keep) + [DROP] * len(drop)
    if box:
        places += [(box.left, box.top), (box.right, box.bottom)]
        labels += [CORNER, OTHER_CORNER]
    else:
        places.append((0, 0))
        labels.append(NOTHING)
    return np.array(places, np.float64), np.array(labels, np.float32)


def _sight(logits: Map, shape: tuple[int, int], size: tuple[int, int]) -> Sight:
    """Take the photo's part of an answer, (256, 256), for what stage 1 sees."""
    likely = np.asarray(1 / (1 + np.exp(-np.clip(np.nan_to_num(logits), -80, 80))), np.float32)
    cells = (
        max(1, round(size[1] * likely.shape[0] / SIDE)),
        max(1, round(size[0] * likely.shape[1] / SIDE)),
    )
    seen = views.part(likely, Box(0, 0, size[1], size[0]), (SIDE, SIDE), cells)
    return Sight(coarse.upsample(seen, shape), cells, Box(0, 0, *shape), seen, seen, 1)
