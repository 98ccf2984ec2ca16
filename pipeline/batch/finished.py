"""Whether a photo's cutout is there already, made as it would be made now.

A cutout carries a mark: a digest of the settings it was made with, and of its photo's size and
time of change as they were before the photo was read. The mark stands in the file's EXIF data
(``Software``), since there it is written, moved and deleted together with the picture; an index
beside the pictures can be lost, can be out of step after a crash, and two runs would fight for it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from enum import Enum
from pathlib import Path
from typing import Any

from pipeline import models
from pipeline.batch.jobs import STREAM, Job, numbered
from pipeline.output import Output
from pipeline.selection import EVERYTHING, Selection
from pipeline.settings import Settings

_MARK = re.compile(rb"Wisp, settings ([0-9a-f]{16}), photo ([0-9a-f]{16})")
_PART = 1 << 16  # bytes at each end of a file: where EXIF data lies in every format written here

#: Settings that change the time or the memory a photo takes, and not its cutout.
_NEUTRAL = {
    "batch_size",
    "providers",
    "threads",
    "max_pixels",
    "decode_seconds",
    "network_seconds",
}


class State(Enum):
    """What is known of a job's target."""

    MISSING = "to be made"  # not there, empty, or made of another photo or with other settings
    FINISHED = "finished"  # made of this photo, with these settings
    UNKNOWN = "unknown"  # newer than the photo, but without a mark: by what, nobody knows


def settings_digest(
    settings: Settings,
    output: Output,
    wanted: Selection = EVERYTHING,
    mask: Path | None = None,
) -> str:
    """Return 16 hexadecimal digits that stand for everything that a cutout depends on.

    ``mask`` is the file of a mask, in place of that of ``wanted``.

    Of a model in a file of the user's own that is the content of the file, of a bundled one its
    name: a newer version of Wisp does not make a million finished pictures unfinished.

    Raises :class:`pipeline.errors.ModelMissing` where there is no such model.
    """
    facts: dict[str, Any] = {
        entry.name: getattr(settings, entry.name)
        for entry in fields(settings)
        if entry.name not in _NEUTRAL
    }
    facts["network_seconds"] = 600.0  # which earlier marks hold, though it changes no cutout
    facts["model"] = _coarse_identity(settings.model)
    facts["refiner"] = _refiner_identity(settings.refiner) if settings.refine else None
    plain = wanted.mask is None and mask is None and wanted == EVERYTHING
    asked = [] if plain else [wanted.key, mask and photo_digest(mask)]
    return _digest(json.dumps([facts, output.key, *asked], sort_keys=True, default=repr))


def _coarse_identity(name: str) -> str:
    if name in models.COARSE:
        return name
    if name in models.PUBLIC:  # which need not be on this machine to know what it makes
        return models.PUBLIC[name].sha256
    card = models.coarse_model(name)
    return card.sha256 or models.checksum(card.path)


def _refiner_identity(name: str) -> str:
    if name in models.REFINERS:
        return name
    card = models.refiner_model(name)
    return card.sha256 or models.checksum(card.path)


def photo_digest(source: Path) -> str:
    """Return 16 hexadecimal digits for a photo's size and time; "" where it has none."""
    if source == STREAM:
        return ""
    try:
        stat = os.stat(source)
    except OSError:
        return ""
    return _digest(f"{stat.st_size} {stat.st_mtime_ns}")


def mark(settings: str, photo: str) -> str:
    """Return the mark of a cutout from both digests."""
    return f"Wisp, settings {settings}, photo {photo}"


def state(job: Job, settings: str) -> State:
    """Tell what is known of a job's target; ``settings`` is the digest of those of this run."""
    if STREAM in (job.source, job.target):
        return State.MISSING
    try:
        source, target = os.stat(job.source), os.stat(job.target)
        if not target.st_size:
            return State.MISSING
        mark = _read_mark(job.target, target.st_size)
    except OSError:
        return State.MISSING
    if mark:
        made_so = mark == (settings, photo_digest(job.source))
        return State.FINISHED if made_so else State.MISSING
    return State.UNKNOWN if target.st_mtime_ns >= source.st_mtime_ns else State.MISSING


def others(job: Job, settings: str) -> Iterator[Path]:
    """Yield the files beside a finished target that has one subject alone: of the further ones."""
    for number in itertools.count(2):
        target = numbered(job.target, number)
        if state(replace(job, target=target), settings) is not State.FINISHED:
            return
        yield target


def _read_mark(path: Path, size: int) -> tuple[str, str] | None:
    with open(path, "rb") as file:
        match = _MARK.search(file.read(_PART))
        if not match and size > _PART:
            file.seek(max(_PART, size - _PART))
            match = _MARK.search(file.read(_PART))
    return (match[1].decode(), match[2].decode()) if match else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
