"""A job: what is asked for, how it is watched, and what comes of it."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property

from pipeline import Output, Progress
from pipeline.retouch import Stroke
from pipeline.selection import EVERYTHING, Selection
from service.errors import TimedOut
from service.region import corners

MEDIA = {
    "png": "image/png",
    "webp": "image/webp",
    "jpg": "image/jpeg",
    "tiff": "image/tiff",
    "zip": "application/zip",
}

#: The stages of a cutout that a client is shown, with the share of the work that lies before each.
STAGES = {
    "wait": 0.0,
    "read": 0.02,
    "coarse": 0.08,
    "roi": 0.27,
    "refine": 0.3,
    "colour": 0.87,
    "finish": 0.9,
}

#: Those of a look inside.
LOOK_STAGES = {
    "wait": 0.0,
    "read": 0.02,
    "coarse": 0.04,
    "roi": 0.1,
    "refine": 0.11,
    "colour": 0.27,
    "blocks": 0.28,
    "tiles": 0.35,
    "draw": 0.75,
}


class Abandoned(Exception):
    """Nobody waits for this job any more."""


class Watch:
    """Looks in on a running job."""

    def __init__(self, seconds: float, report: Progress | None = None) -> None:
        self.deadline = time.monotonic() + seconds
        self.gone = threading.Event()
        self.ending: Exception | None = None  # what the job is to end with
        self.worked = 0.0  # seconds of a processor that decoding its picture has had so far
        self.reports: list[Progress] = [report] if report else []

    def check(self) -> None:
        """Raise :class:`Abandoned`, :class:`TimedOut` or ``ending`` where the job is to end."""
        if self.ending:
            raise self.ending
        if self.gone.is_set():
            raise Abandoned
        if time.monotonic() > self.deadline:
            raise TimedOut("the picture took too long: send a smaller one, or try again later")

    def step(self, stage: str, share: float) -> None:
        """Say where the job is. Raises as :meth:`check` does."""
        self.check()
        for report in tuple(self.reports):
            report(stage, share)


@dataclass(frozen=True)
class Job:
    """One picture, and what is wanted of it."""

    image: bytes
    model: str = ""
    refine: bool = True
    output: Output = Output()
    #: Reduce the photo to at most so many pixels beforehand; None leaves it.
    pixels: int | None = None
    #: Only what lies in this rectangle of the photo as it was sent can be foreground: see
    #: :func:`service.region.rectangle`.
    region: str = ""
    #: What is to be cut, but for a mask.
    wanted: Selection = EVERYTHING
    #: A picture of a mask that replaces stage 1, if any.
    mask: bytes | None = None
    #: What was drawn into the matte with a brush, in this order.
    strokes: tuple[Stroke, ...] = ()
    #: For whom the matte is kept a while, if at all: see :class:`service.mattes.Mattes`.
    visitor: str = ""
    #: Also the pictures that the page shows: alpha, ROI, both cutouts to compare.
    previews: bool = False
    #: Instead of the file, one of those pictures: the first thing to see after a stroke.
    pane: str = ""
    #: Instead of the cutout, the picture of a look inside, as PNG.
    inside: bool = False

    def __post_init__(self) -> None:
        """Raise :class:`BadRequest` for a region that is none."""
        if self.region:
            corners(self.region)

    @cached_property
    def photo(self) -> str:
        """Name the photo by its bytes."""
        return hashlib.sha256(self.image).hexdigest()

    @cached_property
    def matte(self) -> str:
        """Name the matte before any stroke, but for the model: all that the networks are given."""
        mask = self.mask and hashlib.sha256(self.mask).hexdigest()
        return repr((self.photo, self.refine, self.pixels, self.region, self.wanted.key, mask))

    @cached_property
    def key(self) -> str:
        """Name the job by all that its answer depends on, but for the weights."""
        shown = (self.output.key, self.previews, self.inside, self.pane)
        asked = repr((self.model, self.matte, self.strokes, shown))
        return hashlib.sha256(asked.encode()).hexdigest()


_MAGIC = b"wisp2\n"


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
    #: As of :class:`pipeline.Result`: how likely the subject is whole, and whether to say so.
    confidence: float = 1.0
    unsure: bool = False
    previews: dict[str, bytes] = field(default_factory=dict)
    cached: bool = False

    @property
    def media(self) -> str:
        return MEDIA[self.format]

    def pack(self) -> bytes:
        """Make one block of bytes, with a checksum: a cache may be torn, old or another's."""
        fields = {
            name: getattr(self, name)
            for name in ("format", "width", "height", "box", "empty", "model", "refined")
            + ("patches", "seconds", "notes", "confidence", "unsure")
        }
        parts = {"": self.data, **self.previews}
        fields["parts"] = [[name, len(data)] for name, data in parts.items()]
        head = json.dumps(fields).encode()
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
        fields = json.loads(body[start : start + length])
        at, parts = start + length, {}
        for name, size in fields.pop("parts"):
            parts[name] = body[at : at + size]
            at += size
        fields["box"], fields["notes"] = tuple(fields["box"]), tuple(fields["notes"])
        return cls(data=parts.pop(""), previews=parts, cached=True, **fields)
