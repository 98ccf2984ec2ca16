"""What a run did, as a JSON document that is whole after each photo."""

from __future__ import annotations

import io
import json
import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.batch.jobs import Outcome
from pipeline.files import output_error

_STATUSES = ("done", "skipped", "failed")


def counts(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Count the outcomes by status."""
    totals = Counter(outcome.status for outcome in outcomes)
    return {status: totals[status] for status in _STATUSES}


class Report:
    """The report of a run, written as the run goes on.

    Each outcome is a line before the document's end, and is written together with a new end in
    one call: whenever the process is killed, the file is a whole document that holds all photos
    up to then. It says ``"interrupted": true`` until :meth:`close`.
    """

    def __init__(self, path: Path, total: int, facts: dict[str, Any]) -> None:
        """Begin the document.

        Parameters
        ----------
        path
            A file; what is there is overwritten. What is no regular file (a pipe) is written at
            the end.
        total
            Number of photos of the run.
        facts
            What to say first: versions, settings.

        Raises
        ------
        OutputError
            When the file cannot be written.
        """
        self._path, self._total, self._start = path, total, time.perf_counter()
        self._count = dict.fromkeys(_STATUSES, 0)
        head = json.dumps(facts, indent=2).removesuffix("\n}")
        self._file: BinaryIO = io.BytesIO()
        self._stream: BinaryIO | None = None
        try:
            if os.path.exists(path) and not os.path.isfile(path):
                self._stream = open(path, "wb")  # noqa: SIM115 - open as long as the run
            else:
                self._file = open(path, "wb")  # noqa: SIM115
        except (OSError, ValueError) as error:
            raise output_error(f"cannot write the report {path}", error) from error
        self._end = 0  # where the end of the document begins
        self._write(head + ',\n  "files": [', True)

    def add(self, outcome: Outcome) -> None:
        """Add what became of a photo. Raises :class:`OutputError`."""
        comma = "," if any(self._count.values()) else ""
        self._count[outcome.status] += 1
        self._write(f"{comma}\n    {json.dumps(entry(outcome))}", True)

    def close(self, interrupted: bool) -> None:
        """Say how the run ended. Raises :class:`OutputError`."""
        try:
            self._write("", interrupted)
            if self._stream:
                self._stream.write(cast(io.BytesIO, self._file).getvalue())
                self._stream.close()
        except OSError as error:
            raise output_error(f"cannot write the report {self._path}", error) from error
        finally:
            self._file.close()

    def _write(self, text: str, interrupted: bool) -> None:
        done = sum(self._count.values())
        end = {
            "interrupted": interrupted,
            "totals": {
                **self._count,
                "left": self._total - done,
                "seconds": round(time.perf_counter() - self._start, 3),
            },
        }
        data, tail = text.encode(), ("\n  ],\n" + json.dumps(end, indent=2)[2:] + "\n").encode()
        try:
            self._file.seek(self._end)
            self._file.write(data + tail)
            self._file.truncate()
            self._file.flush()
        except OSError as error:
            raise output_error(f"cannot write the report {self._path}", error) from error
        self._end += len(data)


def entry(outcome: Outcome) -> dict[str, Any]:
    """Return what became of a photo, as JSON can hold it."""
    return {
        "input": os.fsdecode(outcome.job.source),
        "output": os.fsdecode(outcome.job.target),
        "outputs": [os.fsdecode(path) for path in outcome.outputs],
        "status": outcome.status,
        "seconds": round(outcome.seconds, 4),
        "timings": {stage: round(t, 4) for stage, t in outcome.timings.items()},
        "size": outcome.size,
        "confidence": None if outcome.confidence is None else round(outcome.confidence, 3),
        "notes": outcome.notes,
        "error": outcome.error or None,
    }
