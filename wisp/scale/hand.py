"""One photo from its place to the place of its cutout: fetch, cut, store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from pipeline.errors import DiskFull, OutputError, WispError
from wisp.scale.cutter import Piece, fetch
from wisp.scale.errors import StoreError
from wisp.scale.places import Place
from wisp.scale.rows import PICTURE, STORE, Row
from wisp.scale.sources import Item


class Cuts(Protocol):
    """What is needed of a :class:`wisp.scale.Cutter`."""

    def open(self) -> None: ...
    def cut(self, path: str, data: bytes, software: str = "") -> Piece: ...


@dataclass(frozen=True)
class Task:
    """A photo, the name of its cutout, and what to write into it."""

    number: int
    item: Item
    target: str
    software: str = ""


@dataclass(frozen=True)
class Done:
    """What became of a task; ``image`` is the cutout where it is still to be written."""

    row: Row
    image: bytes | None = None
    #: Whether no other photo can succeed either: the disk is full.
    final: bool = False


@dataclass(frozen=True)
class Hand:
    """Does tasks; pickles. ``out`` is where it writes the cutouts; None hands them back."""

    cutter: Cuts
    out: Place | None = None

    def fetch(self, task: Task) -> bytes | Done:
        """Return the photo's bytes, or what became of it."""
        item = task.item
        try:
            return item.data if item.data is not None else fetch(item.address, item.size)
        except WispError as error:
            return Done(self._failed(task, str(error), _fault(error)))

    def cut(self, task: Task, data: bytes | Done) -> Done:
        """Cut it out, unless it has failed already."""
        if isinstance(data, Done):
            return data
        piece = self.cutter.cut(task.item.path, data, task.software)
        width, height = piece.size or (None, None)
        row = Row(
            task.item.path, task.target if piece.image is not None else "", piece.status,
            piece.error, "" if piece.status == "done" else PICTURE, piece.notes, piece.confidence,
            round(piece.seconds, 4), width, height, len(data),
            None if piece.image is None else len(piece.image), task.item.version,
        )  # fmt: skip
        return Done(row, piece.image)

    def store(self, task: Task, done: Done) -> Done:
        """Write the cutout, where that is the hand's to do."""
        if self.out is None or done.image is None:
            return done
        try:
            self.out.write(task.target, done.image)
        except WispError as error:
            row = replace(
                done.row, output="", status="failed", error=str(error), fault=STORE, bytes_out=None
            )
            return Done(row, final=isinstance(error, DiskFull))
        return replace(done, image=None)

    def do(self, task: Task) -> Done:
        """Do a task from beginning to end."""
        return self.store(task, self.cut(task, self.fetch(task)))

    @staticmethod
    def _failed(task: Task, error: str, fault: str) -> Row:
        return Row(task.item.path, error=error, fault=fault, version=task.item.version)


def _fault(error: WispError) -> str:
    return STORE if isinstance(error, (StoreError, OutputError)) else PICTURE
