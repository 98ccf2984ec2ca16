"""Small clips, made at test time, and a cutout that needs no network."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av", reason="clips need pip install 'wispcut[video]'")

from pipeline import Output  # noqa: E402
from tests.conftest import fake_cutout  # noqa: E402
from wisp.video import Behind, CutoutVideo, Report, cut_clip, open_source, sink_for  # noqa: E402

HEIGHT, WIDTH = 48, 64


def picture(number: int) -> np.ndarray:
    """A disc on a smooth ground, moved on by a pixel a frame, (48, 64, 3) uint8."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    ground = np.stack([60 + x, 80 + y, np.full_like(x, 120)], -1)
    inside = np.clip(14 - np.hypot(y - 24, x - 20 - number % 20), 0, 1)[..., None]
    return (ground + inside * (np.array([230, 60, 40]) - ground)).astype(np.uint8)


def write_clip(
    path: Path,
    frames: int = 10,
    codec: str = "libx264",
    times: list[int] | None = None,
    sound: bool = False,
    options: dict[str, str] | None = None,
    tags: tuple[int, int, int] = (1, 1, 1),
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> list[np.ndarray]:
    """Write a clip of 25 frames a second, or of ``times`` in steps of 1/1000 s."""
    pictures = [picture(number)[: size[0], : size[1]] for number in range(frames)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {"crf": "10"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = stream.time_base = Fraction(1, 1000)
        context.colorspace, context.color_primaries, context.color_trc = tags
        voice = container.add_stream("aac", rate=44100) if sound else None
        for number, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=tags[0])
            frame.pts = 40 * number if times is None else times[number]
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if voice is not None:
            _hum(container, voice, frames / 25)
    return pictures


def _hum(container: Any, stream: Any, seconds: float) -> None:
    samples = (np.sin(np.arange(int(seconds * 44100)) * 0.06) * 0.3).astype(np.float32)
    for start in range(0, len(samples) - 1023, 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def packets(path: Path, kind: str) -> list[tuple[bytes, Fraction]]:
    """What a file holds of a kind of stream, packet by packet: bytes and time."""
    with av.open(str(path)) as container:
        streams = [s for s in container.streams if s.type == kind]
        if not streams:
            return []
        return [
            (bytes(p), p.pts * p.time_base)
            for p in container.demux(*streams)
            if p.size and p.pts is not None
        ]


def cut(clip: Path, target: Path, resume: Any = False, stop_after: Any = 0, **look: Any) -> Report:
    """Cut a clip out with the fake cutout, as the command does."""
    source = open_source(str(clip))
    behind = Behind(Output(**look), source.size)
    sink = sink_for(target, source, behind.alpha, resume, {"look": sorted(look)})
    stop = (lambda: sink.written >= stop_after) if stop_after else None
    return cut_clip(source, sink, CutoutVideo(fake_cutout), behind, stop=stop)


def meant(clip: Path, **look: Any) -> list[Any]:
    """The pictures that a clip of this kind should hold."""
    source = open_source(str(clip))
    behind = Behind(Output(**look), source.size)
    results = CutoutVideo(fake_cutout)(source.frames())
    return [behind.picture(result, Fraction(0)) for result in results]


def ffmpeg(path: Path, *before: str, pixels: str = "rgba") -> np.ndarray:
    """What another program reads of a file, (N, H, W, C) uint8."""
    program = shutil.which("ffmpeg")
    if not program:
        pytest.skip("ffmpeg is not installed")
    command = [program, "-v", "error", *before, "-i", str(path), "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", pixels, "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    with av.open(str(path)) as container:
        height, width = container.streams.video[0].height, container.streams.video[0].width
    return np.frombuffer(done.stdout, np.uint8).reshape(
        -1, height, width, 4 if pixels == "rgba" else 3
    )
