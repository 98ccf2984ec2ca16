"""A cutter that needs no network: what it makes is known beforehand. Worker processes import it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

from wisp.scale.cutter import Piece
from wisp.scale.hand import Hand
from wisp.scale.places import Place, open_place
from wisp.scale.run import cut_all
from wisp.scale.sources import open_source
from wisp.scale.summary import Summary, Wish
from wisp.scale.workers import inline, processes


def cutout(data: bytes) -> bytes:
    """What the fake cutter makes of a photo."""
    return b"cutout of " + hashlib.sha256(data).hexdigest().encode() * (1 + data[-1] % 50)


@dataclass
class Fake:
    """Photos whose bytes begin with "bad" fail, with "die" kill the process, with "slow" wait."""

    seconds: float = 0.0
    #: A file that is there once a "once" photo has killed its worker.
    marker: str = ""

    def open(self) -> None:
        pass

    def cut(self, path: str, data: bytes, software: str = "") -> Piece:
        time.sleep(self.seconds)
        if data.startswith(b"die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if data.startswith(b"once") and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if data.startswith(b"slow"):
            time.sleep(0.2)
        if data.startswith(b"bad"):
            return Piece(None, "failed", "this is not an image of a known kind", seconds=0.001)
        return Piece(cutout(data), "done", confidence=0.5, seconds=0.001, size=(4, 3))


def run(
    source: str,
    target: str | Place,
    *,
    to: str = "files",
    jobs: int = 0,
    cutter: Any = None,
    column: str | None = None,
    names: str | None = None,
    tell: Any = None,
    execute: Any = None,
    **wish: Any,
) -> Summary:
    """Run as the command does, with a fake cutter; without ``jobs`` in this process."""
    out = target if isinstance(target, Place) else open_place(target)
    wish.setdefault("facts", {"model": "fake"})
    wish.setdefault("digest", "0" * 16)
    return cut_all(
        open_source(source, column, names, avoid=out.address),
        out,
        Hand(cutter or Fake(), out if to == "files" and jobs else None),
        Wish(to, **wish),
        execute or ((lambda tasks, hand: processes(tasks, hand, jobs)) if jobs else inline),
        tell or (lambda summary, row: None),
    )


if __name__ == "__main__":  # so that a test can kill it: SRC DST KIND JOBS

    def _say(summary: Summary, row: Any) -> None:
        if row is not None:  # and which processes could be killed besides
            workers = (str(child.pid) for child in multiprocessing.active_children())
            print(row.path, *workers, flush=True)

    source, target, kind, jobs = sys.argv[1:]
    done = run(source, target, to=kind, jobs=int(jobs), shards=10, tell=_say)
    print(f"finished: {done.done} done, {done.skipped} skipped, {done.failed} failed", flush=True)
