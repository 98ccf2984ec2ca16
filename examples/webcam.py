"""A camera without its background, live.

    python examples/webcam.py --background green | ffplay -f rawvideo -pixel_format rgb24 \
        -video_size 640x360 -

Needs ``pip install 'wispcut[video]'``. CAMERA is a number (0 is the first one), or a clip to try it
with. What is shown is always the newest picture: while one is cut out, others are passed over, so
it lags by one picture and not by more and more. On a CPU take --no-refine and a small size.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from wisp import Cutout, Output, Settings
from wisp.video import Behind, CutoutVideo

Picture = NDArray[np.uint8]


def newest(camera: str, size: tuple[int, int], every: bool) -> Iterator[Picture]:
    """Yield the camera's newest picture as often as one is asked for, (H, W, 3) uint8 RGB.

    ``every`` one is yielded where the camera is a file: it waits, as no camera does.
    """
    capture = cv2.VideoCapture(int(camera) if camera.isdigit() else camera)
    if not capture.isOpened():
        raise click.ClickException(f"there is no camera {camera}")
    came, latest, ended = threading.Condition(), list[Picture](), threading.Event()

    def watch() -> None:
        while not ended.is_set():
            there, picture = capture.read()
            with came:
                if every:
                    came.wait_for(lambda: not latest or ended.is_set())
                if not there:
                    ended.set()
                else:
                    latest[:] = [np.asarray(picture, np.uint8)]
                came.notify_all()

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        while True:
            with came:
                came.wait_for(lambda: latest or ended.is_set())
                if not latest:
                    return
                picture = latest.pop()
                came.notify_all()
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            yield np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        with came:
            ended.set()
            came.notify_all()
        watching.join(timeout=5)
        capture.release()


@click.command()
@click.argument("camera", default="0")
@click.option("--size", default="640x360", show_default=True)
@click.option("--background", default="green", show_default=True, help="A colour, a picture, blur.")
@click.option("--no-refine", is_flag=True, help="Stage 1 alone: several times as fast.")
@click.option("--model", default=Settings.model, show_default=True)
@click.option("--refiner", default=Settings.refiner, show_default=True)
def main(
    camera: str, size: str, background: str, no_refine: bool, model: str, refiner: str
) -> None:
    """Write CAMERA's pictures to standard output, as raw rgb24, with another background."""
    width, height = map(int, size.split("x"))
    behind = Behind(Output(background=background), (height, width))
    settings = Settings(model=model, refiner=refiner, refine=not no_refine, views=1)
    pictures = newest(camera, (width, height), not camera.isdigit())
    try:
        for result in CutoutVideo(Cutout(settings))(pictures):
            sys.stdout.buffer.write(behind.picture(result).colours.tobytes())
            sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever watched has seen enough
        sys.stderr.close()


if __name__ == "__main__":
    main()
