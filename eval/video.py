"""Measures clips: how far the mattes are off, and how much they flicker.

A clip is a folder of frames beside a folder of alphas of the same names, ``com`` and ``pha`` as in
VideoMatte240K's test sets, or ``images`` and ``alphas``. What is measured frame by frame is one
frame and the one before it, so a clip may be as long as it likes.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eval.datasets import SUFFIXES
from eval.methods import Spec, as_rgba, build
from eval.methods.external import pixels_of, timed
from eval.methods.protocol import Input, MethodError, Outside
from eval.metrics.error import mae
from eval.metrics.temporal import aligned_change, dtssd, photo_flow, read_flow
from eval.scenes import DatasetError

#: Names of the folders of a clip: of its frames, and of its alphas.
FRAMES, ALPHAS = ("com", "images", "frames"), ("pha", "alphas", "masks")
#: And of one that a made clip has: how its subject moves from the frame before to each.
FLOWS = "flow"
#: The method that sees a clip, and not frame after frame.
VIDEO = "video"
#: The figures, and what they are called in a table. Lower is better for each.
FIGURES = {
    "mad": "MAD ×1000",
    "dtssd": "dtSSD ×100",
    "change": "Aligned change ×1000",
    "seconds": "s a frame",
    "processor": "Processor s a frame",
    "megabytes": "MB",
}
TRUTH = "the truth itself"

Matte = NDArray[np.float32]
Figures = dict[str, float]
Told = Callable[[str], None]


@dataclass(frozen=True)
class Clip:
    """A clip on disk: each frame, its true alpha, and its subject's true motion where known."""

    name: str
    frames: tuple[Path, ...]
    alphas: tuple[Path, ...]
    flows: dict[str, Path] = field(default_factory=dict)  # by the frame's name, without its ending


def find(root: Path, limit: int | None = None) -> list[Clip]:
    """Find the clips below a folder, the folder itself included; ``limit`` frames of each.

    Raises :class:`eval.scenes.DatasetError` where there is none, or a frame has no alpha.
    """
    clips = []
    for folder in [root, *sorted(path for path in root.rglob("*") if path.is_dir())]:
        parts = [
            next((folder / name for name in names if (folder / name).is_dir()), None)
            for names in (FRAMES, ALPHAS)
        ]
        if parts[0] is None or parts[1] is None:
            continue
        frames, alphas = ({p.stem: p for p in _pictures(part)} for part in parts if part)
        lacking = sorted(frames.keys() - alphas.keys())
        if lacking:
            raise DatasetError(f"{frames[lacking[0]]} has no alpha in {parts[1]}")
        names = sorted(frames)[:limit]
        name = str(folder.relative_to(root)) if folder != root else root.resolve().name
        flows = folder / FLOWS
        known = {p.stem: p for p in _pictures(flows)} if flows.is_dir() else {}
        pictures, true = (tuple(table[n] for n in names) for table in (frames, alphas))
        clips.append(Clip(name, pictures, true, known))
    if not clips:
        raise DatasetError(f"{root} has no clip: a folder com/ of frames beside pha/ of alphas")
    return clips


def _pictures(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]


@dataclass
class Written:
    """The mattes that a command wrote of a whole clip, and what it took for them."""

    mattes: Iterator[Matte]
    seconds: float  # a frame, with the command's start
    processor: float  # seconds a frame, of all cores together
    megabytes: float

    def __iter__(self) -> Iterator[Matte]:
        return self.mattes


def measure(clip: Clip, mattes: Iterable[Matte]) -> Figures:
    """Measure the mattes of a clip, one for each frame, taken as they come.

    ``seconds`` is the time from asking for a matte to having it, on average, unless they are
    :class:`Written` already. ``processor`` is what all cores together spent meanwhile: it says what
    a method costs on a machine that is busy otherwise, too.
    """
    columns: dict[str, list[float]] = {name: [] for name in FIGURES}
    before: tuple[Matte, Matte, NDArray[np.uint8]] | None = None
    waiting = iter(mattes)
    for frame, alpha in zip(clip.frames, clip.alphas, strict=True):
        start, spent = time.perf_counter(), time.process_time()
        try:
            matte = next(waiting)
        except StopIteration:
            raise MethodError(f"{clip.name}: fewer answers than frames") from None
        columns["seconds"].append(time.perf_counter() - start)
        columns["processor"].append(time.process_time() - spent)
        photo, truth = _photo(frame), _alpha(alpha)
        columns["mad"].append(mae(matte, truth) * 1000)
        if before is not None:
            columns["dtssd"].append(dtssd(before[0], matte, before[1], truth))
            known = clip.flows.get(frame.stem)
            motion = (read_flow(known), None) if known else photo_flow(before[2], photo)
            change = aligned_change(before[0], matte, truth, *motion)
            if change is not None:
                columns["change"].append(change)
        before = matte, truth, photo
    if isinstance(mattes, Written):
        columns["seconds"], columns["megabytes"] = [mattes.seconds], [mattes.megabytes]
        columns["processor"] = [mattes.processor]
    return {name: float(np.mean(values)) for name, values in columns.items() if values}


def mattes(spec: Spec, clip: Clip, scratch: Path) -> Iterable[Matte]:
    """Let a method answer for a clip.

    :data:`VIDEO` sees the clip as a whole, and so does a ``command``: its ``{in}`` is a .mov in
    ProRes 4444, which more tools read than a lossless .mkv, and the ``{out}`` that it is to write a
    .mov with alpha, or a grey one; both lie in ``scratch``. A ``folder`` holds a clip's answers as
    the clip holds its alphas. All other methods answer frame after frame.
    """
    if spec.kind == "command":
        return _commanded(spec.option("run"), clip, scratch)
    return _answers(spec, clip)


def _answers(spec: Spec, clip: Clip) -> Iterator[Matte]:
    if spec.kind == VIDEO:
        from wisp.video import CutoutVideo

        for result in CutoutVideo()(_photo(path) for path in clip.frames):
            yield result.alpha
    elif spec.kind == "folder":
        yield from _finished(Path(spec.option("path")) / clip.name, clip)
    else:
        method = build(spec)
        for path in clip.frames:
            photo = _photo(path)
            answer = method(Input(path.stem, path.read_bytes(), photo))
            pixels = answer.pixels if isinstance(answer, Outside) else answer
            if pixels.ndim == 2:  # floats: nothing is rounded that was not
                yield np.asarray(pixels, np.float32)
            else:
                yield as_rgba(photo, pixels)[..., 3] / np.float32(255)


def _commanded(line: str, clip: Clip, scratch: Path) -> Written:
    source, target = scratch / "in.mov", scratch / "out.mov"
    target.unlink(missing_ok=True)
    _write(clip, source)
    words = [
        word.replace("{in}", str(source)).replace("{out}", str(target))
        for word in shlex.split(line)
    ]
    before = os.times()
    seconds, megabytes = timed(words, scratch / "log")
    spent = os.times()
    processor = sum(spent[2:4]) - sum(before[2:4])  # of processes that have ended
    if not target.is_file():
        raise MethodError(f"{words[0]} ended well, but wrote no output")
    frames = len(clip.frames)
    return Written(_read(target, clip), seconds / frames, processor / frames, megabytes)


def _write(clip: Clip, target: Path) -> None:
    from wisp.video.clip import Colour
    from wisp.video.coding import Encoder, Picture, coding_for

    rate = Fraction(25)
    frames = map(_photo, clip.frames)
    first = next(frames)
    size = first.shape[0], first.shape[1]
    encoder = Encoder(target, coding_for(target, True), size, rate, 1 / rate, Colour())
    for number, photo in enumerate(chain([first], frames)):
        encoder.write(Picture(photo), number)
    encoder.close()


def _read(path: Path, clip: Clip) -> Iterator[Matte]:
    """Read a clip's alpha, or its grey where it has none, at the size of the clip's frames."""
    import av

    width, height = Image.open(clip.frames[0]).size
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            seen = frame.to_ndarray(format="rgba")
            alpha = any(part.is_alpha for part in frame.format.components)
            matte = seen[..., 3] if alpha else seen[..., :3].mean(2)
            yield cv2.resize(matte.astype(np.float32) / np.float32(255), (width, height))


def _finished(folder: Path, clip: Clip) -> Iterator[Matte]:
    inner = next((folder / name for name in ALPHAS if (folder / name).is_dir()), folder)
    there = {path.stem: path for path in _pictures(inner)} if inner.is_dir() else {}
    for frame in clip.frames:
        if frame.stem not in there:
            raise MethodError(f"{inner} has no {frame.stem}")
        pixels = pixels_of(there[frame.stem])
        yield pixels if pixels.ndim == 2 else pixels[..., 3] / np.float32(255)


def _photo(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def _alpha(path: Path) -> Matte:
    return np.asarray(Image.open(path).convert("L"), np.float32) / np.float32(255)


def run(clips: list[Clip], specs: list[Spec], tell: Told) -> dict[str, dict[str, Figures]]:
    """Measure methods on clips: figures by method, and by clip. The truth is measured too:
    along a flow that is not perfect even it changes, and no true matte changes less."""
    by_method: dict[str, dict[str, Figures]] = {TRUTH: {}}
    for clip in clips:
        figures = measure(clip, (_alpha(path) for path in clip.alphas))
        by_method[TRUTH][clip.name] = {"change": figures["change"]} if "change" in figures else {}
    for spec in specs:
        by_method[spec.label] = {}
        for number, clip in enumerate(clips, 1):
            tell(f"{spec.label}: {clip.name} ({number} of {len(clips)})")
            with TemporaryDirectory(prefix="wisp-bench-") as scratch:
                answers = mattes(spec, clip, Path(scratch))
                by_method[spec.label][clip.name] = measure(clip, answers)
    return by_method


def table(by_method: dict[str, dict[str, Figures]]) -> str:
    """The means over all clips, as a Markdown table: each clip counts the same."""
    lines = ["| method | " + " | ".join(FIGURES.values()) + " |", "|---|" + "---:|" * len(FIGURES)]
    for method, clips in by_method.items():
        cells = []
        for name in FIGURES:
            values = [figures[name] for figures in clips.values() if name in figures]
            cells.append(f"{np.mean(values):.2f}" if values else "")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def save(folder: Path, by_method: dict[str, dict[str, Figures]], command: str) -> None:
    """Write ``video.json`` and ``video.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    data: dict[str, Any] = {"command": command, "figures": by_method}
    (folder / "video.json").write_text(json.dumps(data, indent=2) + "\n")
    (folder / "video.md").write_text(f"`{command}`\n\n{table(by_method)}\n")
