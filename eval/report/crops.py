"""The best, the median and the worst edge of a run, cut out to be looked at."""

from __future__ import annotations

import base64
import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eval import regions
from eval.cache import Cache
from eval.run import Row, Run
from eval.scenes import Scene

SIDE = 320  # px: an edge at twice its size still fits half a page
RANKED_BY = "psnr@edge"


def choose(rows: list[Row], label: str) -> list[tuple[str, Row]]:
    """Return the rows of the best, the median and the worst edge of a method, fewer if few."""
    ranked = sorted(
        (row for row in rows if RANKED_BY in row.outcomes[label].figures),
        key=lambda row: row.outcomes[label].figures[RANKED_BY],
        reverse=True,
    )
    if not ranked:
        return []
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    chosen: dict[int, str] = {}
    for title, place in places.items():
        chosen.setdefault(place, title)
    return [(title, ranked[place]) for place, title in chosen.items()]


def window(truth: NDArray[np.float32], side: int = SIDE) -> tuple[slice, slice]:
    """Return the square (or what the image has of it) with the most edge in it."""
    height, width = truth.shape
    rows, columns = min(side, height), min(side, width)
    edge = regions.edge(truth).astype(np.float32)
    total = cv2.boxFilter(
        edge, -1, (columns, rows), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT
    )[: height - rows + 1, : width - columns + 1]
    y, x = np.unravel_index(int(total.argmax()), total.shape)
    return slice(int(y), int(y) + rows), slice(int(x), int(x) + columns)


def crops(run: Run, store: Cache, reference: str) -> list[dict[str, Any]]:
    """Return the crops as data URIs: the photo, the truth, and what each method made of it."""
    crops = []
    for title, row in choose(run.rows, reference):
        scene = row.sample.load()
        area = window(scene.alpha)
        layers = {"photo": scene.image[area], "truth": _truth(scene)[area]}
        for label, outcome in row.outcomes.items():
            if not outcome.failure:
                layers[label] = np.asarray(Image.open(store.picture(outcome.key)))[area]
        crops.append(
            {
                "title": title,
                "image": row.name,
                "value": row.outcomes[reference].figures[RANKED_BY],
                "size": [area[1].stop - area[1].start, area[0].stop - area[0].start],
                "values": {
                    label: outcome.figures.get(RANKED_BY) for label, outcome in row.outcomes.items()
                },
                "layers": {name: data_uri(pixels) for name, pixels in layers.items()},
            }
        )
    return crops


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return RGB or RGBA pixels as a lossless WebP data URI; colours under alpha 0 are kept."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "WEBP", lossless=True, exact=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _truth(scene: Scene) -> NDArray[np.uint8]:
    """The true cutout; with the photo's colours where the true ones are not known."""
    colours = scene.image if scene.foreground is None else scene.foreground
    return np.dstack([colours, np.round(scene.alpha * 255).astype(np.uint8)])
