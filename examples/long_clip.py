"""A long clip: does memory stay where it is?

    python examples/long_clip.py [--minutes 10] [--fps 25] [--size 160x90] [--to webm] [--networks]

Makes a clip in which something moves, cuts it out, and reads the memory of its own process all the
while. Prints it at ten moments, and how much it grows by in a minute of clip: the slope of a
straight line through all readings behind the first tenth, in which the networks, the codecs and
their buffers are set up. Fails where that adds up to more than 3 % over the clip. Without
--networks what cuts out is a disc that is known: then 15 000 frames take minutes, not hours, and
all the rest is what `wisp video` does. Linux only.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import av
import click
import numpy as np
from tqdm import tqdm

from pipeline import Cutout, Output, Result
from pipeline.image_io import Photo
from pipeline.memory import compact
from wisp.video import Behind, CutoutVideo, cut_clip, open_source, sink_for
from wisp.video.cutout import SETTINGS

_SETTLED = 0.1  # of the clip, after which memory is to stay as it is
_GROWTH = 0.03  # of the memory, over the whole clip
_READINGS = 1000


def disc(number: int, height: int, width: int) -> np.ndarray:
    """How far each pixel lies within a disc that goes round, (H, W) float32 in 0..1."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = number / 40
    down = height * (0.5 + 0.15 * np.sin(angle))
    across = width * (0.5 + 0.15 * np.cos(angle))
    return np.clip(height * 0.28 - np.hypot(y - down, x - across), 0, 1).astype(np.float32)


def draw(path: Path, frames: int, fps: int, height: int, width: int) -> None:
    """Write a clip of a disc over a pattern, with noise in every frame."""
    noise = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    ground = np.stack([90 + 40 * np.sin(x / 9), 110 + 40 * np.cos(y / 7), 80 + x % 32], 2)
    with av.open(str(path), "w") as clip:
        stream = clip.add_stream("libx264", fps, {"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in tqdm(range(frames), "drawing", disable=None):
            inside = disc(number, height, width)[..., None]
            seen = ground + inside * (np.array([220, 60, 40]) - ground)
            seen += noise.normal(0, 2, seen.shape)
            picture = np.clip(seen, 0, 255).astype(np.uint8)
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        clip.mux(stream.encode())


class Disc:
    """A cutout without a network: it knows where the disc is."""

    def __init__(self) -> None:
        """Begin at the clip's first frame."""
        self._number = 0

    def __call__(self, image: np.ndarray, **_: object) -> Result:
        """Cut the disc out of the next frame."""
        alpha = disc(self._number, *image.shape[:2])
        self._number += 1
        edge = (alpha > 0) & (alpha < 1)
        return Result(Photo(image), alpha, image, alpha, edge, np.zeros((0, 2), np.intp), {})


def resident() -> float:
    """Memory of this process, in MB (of 2²⁰ bytes)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this reads /proc, which Linux alone has")


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="Length of the clip.")
@click.option("--fps", default=25, show_default=True, help="Frames a second.")
@click.option("--size", default="160x90", show_default=True, help="Of a frame.")
@click.option("--to", default="webm", type=click.Choice(["webm", "mov", "mkv"]), show_default=True)
@click.option("--networks", is_flag=True, help="Cut out with Wisp's own: about a second a frame.")
def main(minutes: float, fps: int, size: str, to: str, networks: bool) -> None:
    """Cut a long clip out, and see whether memory grows."""
    compact()  # as the command does
    width, height = (int(side) for side in size.split("x"))
    frames = round(minutes * 60 * fps)
    readings: list[tuple[float, float]] = []  # minutes of the clip, MB
    every = max(1, frames // _READINGS)

    with tempfile.TemporaryDirectory() as folder, tqdm(total=frames, disable=None) as bar:
        path = Path(folder, "clip.mp4")
        draw(path, frames, fps, height, width)
        source = open_source(str(path))
        sink = sink_for(Path(folder, f"cut.{to}"), source, True, False, {})

        def told(done: int, _: int | None) -> None:
            bar.update(done - bar.n)
            if done % every == 0:
                readings.append((done / fps / 60, resident()))

        cutout = Cutout(SETTINGS) if networks else Disc()
        report = cut_clip(source, sink, CutoutVideo(cutout), Behind(Output(), source.size), told)

    at, memory = np.array(readings).T
    settled = at >= _SETTLED * minutes
    slope = float(np.polyfit(at[settled], memory[settled], 1)[0])
    seconds = report.seconds / report.frames
    print(f"{report.frames} frames of {size}, {fps} a second: {seconds:.3f} s each")
    for share in np.linspace(0.1, 1, 10):
        nearest = int(np.abs(at - share * minutes).argmin())
        print(f"{at[nearest]:7.2f} min {memory[nearest]:7.1f} MB")
    print(f"grows by {slope:+.3f} MB a minute; at most {memory.max():.1f} MB")
    if slope * minutes > _GROWTH * float(memory[settled].mean()):
        sys.exit("memory grows with the clip")


if __name__ == "__main__":
    main()
