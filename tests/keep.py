"""What the bundled networks make of photos that everyone has, kept small: `python -m tests.keep`.

A test compares with it, so that a change of outputs is seen where none was meant. Where one is
meant, as with new weights, run the command, look at ``tests/data/outputs.png`` and commit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from eval.builtin import PHOTOS, builtin
from pipeline import Cutout, Settings

KEPT = Path(__file__).parent / "data" / "outputs.png"
SIDE = 32


def digests() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Cut out the demo's photos and a small built-in set.

    Yields names and digests (32, 32, 4) uint8: averages of colour times alpha, and of alpha.
    """
    cutout = Cutout(Settings(threads=1))
    images = {name: getattr(data, name)() for name in PHOTOS}
    images |= {scene.name: scene.load().image for scene in builtin((240, 320), each=1).samples}
    for name, image in images.items():
        result = cutout(image)
        alpha = result.alpha[..., None]
        rgba = np.concatenate([result.foreground * alpha, alpha * 255], 2).astype(np.float32)
        small = cv2.resize(rgba, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        yield name, np.rint(small).astype(np.uint8)


def kept() -> NDArray[np.uint8]:
    """Return what was kept: the digests above each other, (32 N, 32, 4) uint8."""
    return np.asarray(Image.open(KEPT))


def main() -> None:
    KEPT.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate([digest for _, digest in digests()])).save(KEPT, optimize=True)
    print(f"{KEPT}: {KEPT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
