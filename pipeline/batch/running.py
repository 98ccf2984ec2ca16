"""One photo after the other, without a stop."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline import compose, files, image_io, pieces, render
from pipeline.batch.finished import mark, photo_digest
from pipeline.batch.jobs import STREAM, Job, Outcome, numbered
from pipeline.errors import DiskFull, UnreadableImage, WispError
from pipeline.memory import enough_memory
from pipeline.output import Output
from pipeline.result import Result

UNSURE = (
    "unsure: the subject may be incomplete; "
    "try another --model, --box, --point, or the page's brush"
)


def process(
    job: Job,
    cutout: Callable[[Path | BinaryIO | bytes], Result],
    output: Output,
    stages: Path | None = None,
    settings: str = "",
    each: bool = False,
) -> Outcome:
    """Cut out one photo and write the result.

    Parameters
    ----------
    job
        Its source is read from standard input, and its target written to standard output, where
        they are :data:`STREAM`.
    cutout
        A :class:`pipeline.Cutout`.
    output
        How the result is written.
    stages
        Folder for what lies between: ``NAME.coarse.png``, ``.roi.png``, ``.alpha.png`` and
        ``.foreground.png``; None for none.
    settings
        Digest of the settings (:func:`pipeline.batch.finished.settings_digest`), which the file
        is marked with; without it the file gets no mark.
    each
        Write a file for each subject: ``job.target`` for the first, whose name ends in -1, and
        beside it -2, -3, …

    Raises
    ------
    WispError
        When the photo cannot be read, or the result cannot be written.
    """
    if job.problem:
        raise UnreadableImage(job.problem)
    start = time.perf_counter()
    # Before the photo is read: if it is replaced meanwhile, the mark is that of the old one.
    photo = photo_digest(job.source)
    result = cutout(_one_picture(sys.stdin.buffer.read()) if job.source == STREAM else job.source)
    cut = time.perf_counter()
    if stages:
        for stage, picture in (
            ("coarse", compose.levels(result.coarse)),
            ("roi", compose.levels(result.roi.astype("float32"))),
            ("alpha", compose.levels(result.alpha)),
            ("foreground", result.foreground),
        ):
            name = job.name.with_name(f"{job.name.name}.{stage}.png")
            files.write(stages / name, image_io.encode(picture), parents=True)
    if not output.shows_photo:
        result = _without_photo(result)
    others: list[Path] = []
    if job.target == STREAM:
        _to_standard_output(render.to_bytes(result, output))
    else:
        software = mark(settings, photo) if settings and photo else ""
        for number, part in _subjects(result) if each else [(1, result)]:
            data = render.to_bytes(part, output, software)
            target = numbered(job.target, number)
            files.write(target, data, parents=True)
            if number > 1:
                others.append(target)
    height, width = result.alpha.shape
    now = time.perf_counter()
    notes = notes_of(result)
    timings = {**result.timings, "write": now - cut}
    return Outcome(
        job,
        "done",
        now - start,
        timings,
        (width, height),
        notes,
        confidence=result.confidence,
        others=tuple(reversed(others)),
    )


def _without_photo(result: Result) -> Result:
    """Let go of the photo's pixels: those of 24 megapixels are 72 MB, beside the file's."""
    nothing = np.broadcast_to(np.uint8(0), result.photo.image.shape)
    return replace(result, photo=replace(result.photo, image=nothing))


def _subjects(result: Result) -> Iterator[tuple[int, Result]]:
    """Yield the subjects with their numbers, the first one last: it says that all are there.

    One at a time, for a photo of a hundred things would fill the memory.
    """
    numbers, order = pieces.apart(result.coarse, pieces.LEAST)
    for place in range(len(order), 0, -1):
        yield place, result.part(numbers == order[place - 1])
    if not order:
        yield 1, result


def notes_of(result: Result) -> tuple[str, ...]:
    """What the user may want to know of a cutout, a short sentence each."""
    if result.empty:
        return (*result.photo.notes, "no subject found")
    return (*result.photo.notes, *((UNSURE,) if result.unsure else ()))


def _one_picture(data: bytes) -> bytes:
    """Return ``data`` unless another picture follows the first one, which would be lost.

    That is told of PNG and WebP, which say where they end. A JPEG may hold others rightly.
    """
    end = len(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        end = 8
        while end + 12 <= len(data):
            kind = data[end + 4 : end + 8]
            end += 12 + struct.unpack_from(">I", data, end)[0]
            if kind == b"IEND":
                break
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        end = 8 + struct.unpack_from("<I", data, 4)[0]
        end += end % 2
    if data[end : end + 16].startswith(
        (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"II*", b"MM")
    ):
        raise UnreadableImage(
            "there is more than one picture: cut them out one at a time, or give their files"
        )
    return data


def _to_standard_output(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise files.output_error("cannot write standard output", error) from error


def run(
    jobs: Iterable[Job], work: Callable[[Job], Outcome], workers: int = 1
) -> Generator[Outcome, None, None]:
    """Do the jobs; a failed one does not stop the rest.

    Parameters
    ----------
    jobs, work
        Each job is handed to ``work``, which returns the outcome or raises.
    workers
        Threads. At most this many photos are in memory at a time.

    Yields
    ------
    Outcomes as they come. When the caller stops, or is interrupted, the photos under way are
    finished, and no others begun; so too after an outcome that is ``final``. An interruption is
    raised when their outcomes are told.
    """
    if workers == 1:
        for job in jobs:
            outcome = attempt(job, work)
            yield outcome
            if outcome.final:
                return
        return
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

    waiting = iter(jobs)
    pool = ThreadPoolExecutor(workers)
    under_way: set[Future[Outcome]] = set()
    stopped: KeyboardInterrupt | None = None
    try:
        while True:
            for job in waiting:  # none is left after a final outcome
                under_way.add(pool.submit(attempt, job, work))
                if len(under_way) >= workers:
                    break
            if not under_way:
                break
            try:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt as stop:
                if stopped:  # twice: at once
                    raise
                stopped, waiting = stop, iter(())
                continue
            for outcome in [future.result() for future in done]:
                yield outcome
                if outcome.final:
                    waiting = iter(())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if stopped:
        raise stopped


def attempt(job: Job, work: Callable[[Job], Outcome]) -> Outcome:
    """Do one job; what ``work`` raises becomes an outcome that says why it failed, in one line."""
    start = time.perf_counter()
    final = False
    try:
        with enough_memory():
            return work(job)
    except WispError as error:
        reason = str(error).removeprefix(f"{job.source}: ")
        final = isinstance(error, DiskFull)
    except BrokenPipeError:  # whoever reads our standard output has seen enough
        raise
    except Exception as error:  # a fault of ours: still, the other photos are to be cut out
        reason = f"unexpected {type(error).__name__}: {error}; please report it"
    reason = " ".join(reason.split())
    return Outcome(job, "failed", time.perf_counter() - start, error=reason, final=final)
