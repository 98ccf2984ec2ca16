"""Clips with an exact alpha: a cutout that moves over a background, frame by frame.

A matte of a real clip is somebody's estimate. Here the motion is made up and the alpha is known:
the cutout is turned, moved and swayed, the background may pan, and then each frame gets noise and
JPEG's losses of its own, as a camera would add them. Written as VideoMatte240K's test sets are
laid out (Lin et al., 2021, "Robust High-Resolution Video Matting", §5): ``CLIP/com`` and
``CLIP/pha``, one picture a frame. ``CLIP/flow`` is the subject's exact motion, in KITTI's pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eval.metrics.temporal import write_flow

NOISE = 2.0  # standard deviation of a frame's noise, in levels of 255
JPEG = 90  # quality at which a frame is coded by itself
_STANDS = 0.85  # of the frame's height: how tall a subject of size 1 is


Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Pose:
    """Where things are in one frame; lengths in shares of the frame's height."""

    x: float = 0.0
    y: float = 0.0
    turn: float = 0.0  # degrees
    size: float = 1.0
    sway: float = 0.0  # how far the top of the subject leans, as hair does
    pan: float = 0.0  # how far the camera has turned: moves the subject and the background


#: The motions, each a pose for a time in seconds.
MOTIONS: dict[str, Callable[[float], Pose]] = {
    "still": lambda t: Pose(),
    "talk": lambda t: Pose(
        x=0.006 * np.sin(2.1 * t),
        y=0.005 * np.sin(3.7 * t),
        turn=1.5 * np.sin(1.7 * t),
        sway=0.01 * np.sin(2.9 * t),
    ),
    "walk": lambda t: Pose(
        x=0.22 * t - 0.1, y=0.012 * np.sin(9 * t), turn=2 * np.sin(4.5 * t), size=1 + 0.08 * t
    ),
    "pan": lambda t: Pose(pan=0.35 * t - 0.15, turn=1.0 * np.sin(2 * t)),
}


def clip(
    cutout: NDArray[np.uint8],
    background: NDArray[np.uint8],
    motion: str,
    size: tuple[int, int],
    frames: int,
    rate: float = 25.0,
    seed: int = 0,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Make a clip.

    Parameters
    ----------
    cutout, background
        Straight RGBA, (h, w, 4) uint8, and a photo, (h, w, 3) uint8, of any size.
    motion
        One of :data:`MOTIONS`.
    size
        (height, width) of the clip.
    frames, rate
        How many, and how many a second.
    seed
        Of the noise.

    Yields
    ------
    The frame, (H, W, 3) uint8, and its alpha, (H, W) float32 in 0..1.
    """
    rng = np.random.default_rng(seed)
    colour = cutout[..., :3].astype(np.float32) * (cutout[..., 3:] / np.float32(255))
    layer = np.dstack([colour, cutout[..., 3].astype(np.float32)])
    # A camera's pixel sees all that falls on it. Points taken from a larger picture sparkle as it
    # moves: the true alpha itself would flicker.
    height = round(_STANDS * size[0])
    if height < len(layer):
        width = max(1, round(layer.shape[1] * height / len(layer)))
        layer = cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA)
    for index in range(frames):
        pose = MOTIONS[motion](index / rate)
        behind = _background(background, pose, size)
        front = _subject(layer, pose, size)
        alpha = np.clip(front[..., 3] / np.float32(255), 0, 1)
        frame = front[..., :3] + (1 - alpha[..., None]) * behind
        frame += rng.normal(0, NOISE, frame.shape).astype(np.float32)
        picture = np.clip(frame + 0.5, 0, 255).astype(np.uint8)
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG])
        yield np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB), np.uint8), alpha


def _background(picture: NDArray[np.uint8], pose: Pose, size: tuple[int, int]) -> NDArray:
    """The background as the camera sees it: half as large again as the frame, to pan over."""
    height, width = size
    rows, columns = picture.shape[:2]
    scale = 1.5 * max(height / rows, width / columns)
    move = np.array(
        [
            [scale, 0, width / 2 - scale * columns / 2 - pose.pan * height],
            [0, scale, height / 2 - scale * rows / 2],
        ]
    )
    flags, border = cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101
    return cv2.warpAffine(
        picture.astype(np.float32), move, (width, height), flags=flags, borderMode=border
    )


def _subject(layer: NDArray[np.float32], pose: Pose, size: tuple[int, int]) -> NDArray[np.float32]:
    """The premultiplied cutout in its pose, (H, W, 4) float32 in 0..255; it stands on the floor."""
    across, down = _in_cutout(pose, layer.shape[:2], size)
    return np.clip(cv2.remap(layer, across, down, cv2.INTER_CUBIC), 0, 255)


def _in_cutout(pose: Pose, cutout: tuple[int, ...], size: tuple[int, int]) -> tuple[Plane, Plane]:
    """Where in the cutout, of shape (h, w), each pixel of a frame lies: columns and rows."""
    height, width = size
    scale, cos, sin, foot_x, foot_y = _placed(pose, cutout, size)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    # The lean grows with the height above the floor.
    dx = x - foot_x - np.float32(pose.sway * height) * (np.maximum(foot_y - y, 0) / height) ** 2
    dy = y - foot_y
    across = (dx * cos + dy * sin) / scale**2 + np.float32(cutout[1] / 2)
    down = (-dx * sin + dy * cos) / scale**2 + np.float32(cutout[0])
    return across.astype(np.float32), down.astype(np.float32)


def _placed(
    pose: Pose, cutout: tuple[int, ...], size: tuple[int, int]
) -> tuple[float, float, float, np.float32, np.float32]:
    """How the cutout is enlarged, turned, and where its foot stands in the frame."""
    height, width = size
    scale, angle = _STANDS * pose.size * height / cutout[0], np.radians(pose.turn)
    foot = width / 2 + (pose.x - pose.pan) * height, height * (1.0 + pose.y)
    return scale, scale * np.cos(angle), scale * np.sin(angle), *map(np.float32, foot)


def flow(
    cutout: tuple[int, ...], motion: str, size: tuple[int, int], index: int, rate: float = 25.0
) -> NDArray[np.float32]:
    """Say how the subject of a :func:`clip` moves: exactly, and of every pixel.

    ``cutout`` is the shape of the cutout, (h, w, ...). Returns where each pixel of frame ``index``
    was in the frame before, were it the subject's: (dx, dy) in pixels, (H, W, 2) float32.
    """
    height, width = size
    across, down = _in_cutout(MOTIONS[motion](index / rate), cutout, size)
    before = MOTIONS[motion]((index - 1) / rate)
    _, cos, sin, foot_x, foot_y = _placed(before, cutout, size)
    right, below = across - np.float32(cutout[1] / 2), down - np.float32(cutout[0])
    y = right * sin + below * cos + foot_y
    x = right * cos - below * sin + foot_x
    x += np.float32(before.sway * height) * (np.maximum(foot_y - y, 0) / height) ** 2
    rows, columns = np.mgrid[:height, :width]
    return np.stack([x - columns, y - rows], 2).astype(np.float32)


@click.command()
@click.argument("cutouts", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--background", "backgrounds", multiple=True, required=True,
    type=click.Path(exists=True, path_type=Path), help="A photo; taken in turn. May be repeated.",
)  # fmt: skip
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--motion", "motions", multiple=True, type=click.Choice(list(MOTIONS)))
@click.option("--size", default="854x480", show_default=True)
@click.option("--frames", default=12, show_default=True)
def main(
    cutouts: tuple[Path, ...],
    backgrounds: tuple[Path, ...],
    out: Path,
    motions: tuple[str, ...],
    size: str,
    frames: int,
) -> None:
    """Make clips of RGBA CUTOUTS, one for each motion, in folders of pictures."""
    width, height = map(int, size.split("x"))
    for number, path in enumerate(cutouts):
        cutout = np.asarray(Image.open(path).convert("RGBA"))
        behind = np.asarray(Image.open(backgrounds[number % len(backgrounds)]).convert("RGB"))
        for motion in motions or MOTIONS:
            folder = out / f"{motion}-{path.stem}"
            for kind in ("com", "pha", "flow"):
                (folder / kind).mkdir(parents=True, exist_ok=True)
            made = clip(cutout, behind, motion, (height, width), frames, seed=number)
            for index, (frame, alpha) in enumerate(made):
                grey = np.rint(alpha * 255).astype(np.uint8)
                Image.fromarray(frame).save(folder / "com" / f"{index:04d}.png")
                Image.fromarray(grey).save(folder / "pha" / f"{index:04d}.png")
                if index:
                    moved = flow(cutout.shape, motion, (height, width), index)
                    write_flow(folder / "flow" / f"{index:04d}.png", moved)


if __name__ == "__main__":
    main()
