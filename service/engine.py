"""The models, and one job done with them, in a thread of its own.

A job can be watched while it runs: what stage it is in, whether its client has gone, whether its
time is over. The pipeline knows nothing of that: it reports its progress, and is called off there.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import struct
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import Cutout, Progress, Result, Settings, foreground, image_io, models
from pipeline.compose import levels, rgba
from pipeline.errors import ModelMissing
from service import look as looks
from service.errors import TimedOut
from service.look import Look
from service.settings import ServiceSettings

#: The stages of a job that a client is shown, with the share of the work that lies before each.
STAGES = {
    "wait": 0.0,
    "read": 0.02,
    "coarse": 0.08,
    "roi": 0.27,
    "refine": 0.3,
    "colour": 0.87,
    "finish": 0.9,
}


class Abandoned(Exception):
    """Nobody waits for this job any more."""


class Watch:
    """Looks in on a running job."""

    def __init__(self, seconds: float, report: Progress | None = None) -> None:
        self.deadline = time.monotonic() + seconds
        self.gone = threading.Event()
        self.reports: list[Progress] = [report] if report else []

    def step(self, stage: str, share: float) -> None:
        """Say where the job is. Raises :class:`Abandoned` or :class:`TimedOut` to end it."""
        if self.gone.is_set():
            raise Abandoned
        if time.monotonic() > self.deadline:
            raise TimedOut("the picture took too long: send a smaller one, or try again later")
        for report in tuple(self.reports):
            report(stage, share)


@dataclass(frozen=True)
class Job:
    """One picture, and what is wanted of it."""

    image: bytes
    model: str = ""
    refine: bool = True
    look: Look = Look()
    #: Also the pictures that the page shows: alpha, ROI, both cutouts to compare.
    panes: bool = False

    @cached_property
    def key(self) -> str:
        """Name the job by all that its answer depends on, but for the weights."""
        told = f"{self.model}|{self.refine}|{self.panes}|{self.look.key}|"
        return hashlib.sha256(told.encode() + hashlib.sha256(self.image).digest()).hexdigest()


@dataclass(frozen=True)
class Answer:
    """The file that was asked for, and what is worth knowing of it."""

    data: bytes
    format: str
    width: int
    height: int
    box: tuple[int, int, int, int]
    empty: bool
    model: str
    refined: bool
    patches: int
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()
    panes: dict[str, bytes] = field(default_factory=dict)
    cached: bool = False

    @property
    def media(self) -> str:
        return looks.MEDIA[self.format]

    def pack(self) -> bytes:
        """Make one block of bytes, with a checksum: a cache may be torn, old or another's."""
        told = {
            name: getattr(self, name)
            for name in ("format", "width", "height", "box", "empty", "model", "refined")
            + ("patches", "seconds", "notes")
        }
        parts = {"": self.data, **self.panes}
        told["parts"] = [[name, len(data)] for name, data in parts.items()]
        head = json.dumps(told).encode()
        body = b"".join((_MAGIC, struct.pack(">I", len(head)), head, *parts.values()))
        return body + hashlib.sha256(body).digest()

    @classmethod
    def unpack(cls, block: bytes) -> Answer | None:
        """Read what :meth:`pack` wrote; None where it is not whole."""
        body, mark = block[:-32], block[-32:]
        if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != mark:
            return None
        start = len(_MAGIC) + 4
        (length,) = struct.unpack(">I", body[len(_MAGIC) : start])
        told = json.loads(body[start : start + length])
        at, parts = start + length, {}
        for name, size in told.pop("parts"):
            parts[name] = body[at : at + size]
            at += size
        told["box"], told["notes"] = tuple(told["box"]), tuple(told["notes"])
        return cls(data=parts.pop(""), panes=parts, cached=True, **told)


_MAGIC = b"wisp1\n"


class Engine:
    """Holds the models, and does jobs. Safe to use from several threads."""

    def __init__(self, settings: ServiceSettings, folder: Path | None = None) -> None:
        self.settings = settings
        self.folder = folder  # of models that were downloaded
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Cutout] = OrderedDict()
        self._sums: dict[Path, str] = {}
        self.default = (
            settings.model if settings.model in models.COARSE else Path(settings.model).stem
        )

    def names(self) -> dict[str, str]:
        """Return the models that can be asked for: name to what :class:`Settings` takes.

        Only these: no path that a client sends ever reaches the file system.
        """
        found = {self.default: self.settings.model}
        found |= {name: name for name, card in models.COARSE.items() if card.path.is_file()}
        if self.folder and self.folder.is_dir():
            found |= {path.stem: str(path) for path in sorted(self.folder.glob("*.onnx"))}
        return found

    def resolve(self, name: str) -> str:
        """Return the full name of a model. Raises :class:`ModelMissing` for an unknown one."""
        name = name or self.default
        if name not in (known := self.names()):
            raise ModelMissing(f"no model {name[:64]!r}: use one of {', '.join(known)}")
        return name

    def checksum(self, name: str) -> str:
        """Return the SHA-256 of both stages' weights together."""
        sums = []
        for card in (
            models.coarse_model(self.names()[name]),
            models.refiner_model(self.settings.refiner),
        ):
            if card.path not in self._sums:
                self._sums[card.path] = models.checksum(card.path)
            sums.append(self._sums[card.path])
        return hashlib.sha256("".join(sums).encode()).hexdigest()

    def loaded(self) -> list[str]:
        return list(self._loaded)

    def load(self, name: str = "") -> Cutout:
        """Open a model, or take it from those that are open; two stay, the default among them.

        Raises :class:`pipeline.ModelError`.
        """
        name = self.resolve(name)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = Cutout(
                    Settings(
                        model=self.names()[name],
                        refiner=self.settings.refiner,
                        threads=self.settings.threads,
                        max_pixels=self.settings.max_pixels,
                    )
                )
            self._loaded.move_to_end(name)
            for other in list(self._loaded):
                if len(self._loaded) > 2 and other not in (name, self.default):
                    del self._loaded[other]
            return self._loaded[name]

    def run(self, job: Job, watch: Watch) -> Answer:
        """Do a job.

        Raises :class:`pipeline.WispError`, :class:`TimedOut`, or :class:`Abandoned`.
        """
        try:
            return self._run(job, watch.step)
        finally:
            trim()

    def _run(self, job: Job, step: Progress) -> Answer:
        start = time.perf_counter()
        name = self.resolve(job.model)
        cutout = self.load(name)
        step("read", 0.0)
        photo = looks.reduced(image_io.read(job.image, self.settings.max_pixels), job.look.pixels)
        read = time.perf_counter() - start
        area = looks.region(photo, job.look.roi)
        result = cutout(looks.as_array(photo, area), refine=job.refine, progress=step)
        step("finish", 0.0)
        result = looks.embedded(result, photo, area)
        begun = time.perf_counter()
        picture = looks.finish(result, job.look)
        panes = _panes(result) if job.panes else {}
        seconds = {"read": read, **{k: v for k, v in result.timings.items() if k != "read"}}
        seconds["finish"] = time.perf_counter() - begun
        seconds["total"] = time.perf_counter() - start
        return Answer(
            data=picture.data,
            format=picture.format,
            width=picture.width,
            height=picture.height,
            box=picture.box,
            empty=result.empty,
            model=name,
            refined=job.refine,
            patches=len(result.tiles),
            seconds={stage: round(value, 4) for stage, value in seconds.items()},
            notes=photo.notes,
            panes=panes,
        )


def _panes(result: Result) -> dict[str, bytes]:
    """Make the pictures that explain a cutout."""
    photo = result.photo.image
    plain = foreground.estimate(photo, result.coarse)
    pictures: dict[str, NDArray[np.uint8]] = {
        "photo": photo,
        "alpha": levels(result.alpha),
        "coarse": levels(result.coarse),
        "unrefined": rgba(plain, result.coarse),
        "refined": rgba(result.foreground, result.alpha),
        "roi": _marked(photo, result.roi),
    }
    return {name: image_io.encode(pixels, "webp", 92) for name, pixels in pictures.items()}


def _marked(photo: NDArray[np.uint8], roi: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Show the ROI: the photo in it, in colour; the rest dimmed to grey."""
    dim = (photo.mean(2) * 0.35 + 20).astype(np.uint8)
    return np.where(roi[..., None], photo, dim[..., None])


try:
    _malloc_trim = ctypes.CDLL(None).malloc_trim
except (AttributeError, OSError):  # not glibc
    _malloc_trim = None  # type: ignore[assignment]


def trim() -> None:
    """Give freed memory back to the system: glibc keeps it, and a server would only ever grow."""
    if _malloc_trim:
        _malloc_trim(0)
