"""Cut a folder out onto white, and put aside what a person should look at.

    python examples/batch.py photos/ cutouts/

`wisp cut photos/ -o cutouts/ --background white` does the first half, and goes on where it was
stopped; this shows how to have your own rule for each photo.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wisp import Cutout, ImageError, Output

SHOP = Output(background="white", crop=True, margin="5%")


def cut_folder(photos: Path, out: Path, at_a_time: int = 2) -> Iterator[tuple[Path, str]]:
    """Cut out every photo in a folder; yield each with what became of it."""
    cutout = Cutout()  # opened once, called from all threads

    def cut(photo: Path) -> tuple[Path, str]:
        try:
            result = cutout(photo)
        except ImageError as error:  # the photo's fault; the others go on
            return photo, str(error)
        sure = not (result.empty or result.unsure)
        folder = out if sure else out / "look"
        folder.mkdir(parents=True, exist_ok=True)
        result.save(folder / f"{photo.stem}.jpg", SHOP)
        return photo, "done" if sure else "look at it"

    with ThreadPoolExecutor(at_a_time) as pool:  # so many photos are in memory at a time
        yield from pool.map(cut, sorted(path for path in photos.iterdir() if path.is_file()))


if __name__ == "__main__":
    for photo, became in cut_folder(Path(sys.argv[1]), Path(sys.argv[2])):
        print(f"{photo.name}: {became}")
