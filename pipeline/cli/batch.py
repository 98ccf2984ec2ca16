"""Many photos in a row: which ones, where each goes, and one after the other without a stop.

Planning only looks; running only writes. In between there is a list of jobs that can be printed,
tested, and thrown away.

Names: a folder is mirrored, ``sub/a.jpg`` to ``OUT/sub/a.png``. Where two photos would share a
name (``a.jpg`` and ``a.webp``) both keep their whole one, ``a.jpg.png`` and ``a.webp.png``; so a
file never holds another photo's cutout, whatever is added later. A cutout counts as finished when
it is there, is not empty, and is not older than its photo, as ``make`` has it.
"""

from __future__ import annotations

import glob
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from pipeline import compose, image_io, render
from pipeline.cutout import Result
from pipeline.errors import OutputError, SettingsError, UnreadableImage, WispError
from pipeline.output import Output

#: The name that stands for standard input and output.
STREAM = Path("-")


@dataclass(frozen=True)
class Job:
    """One photo to cut out.

    Attributes
    ----------
    source, target
        Files; :data:`STREAM` is standard input or output.
    name
        What the photo is called below the output folder, without an ending of the output's own.
    problem
        Why it cannot be done, where that is known beforehand.
    """

    source: Path
    target: Path = STREAM
    name: Path = Path("cutout")
    problem: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    status
        "done", "skipped" (was finished before) or "failed".
    seconds
        From opening the photo to the finished file.
    timings
        Seconds by stage.
    size
        (width, height) of the photo in pixels; None if it was not read.
    notes
        What the user may want to know, a short sentence each.
    error
        Why it failed, in one line.
    """

    job: Job
    status: str
    seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    error: str = ""


def find(inputs: Sequence[str], avoid: Sequence[Path] = ()) -> list[Job]:
    """Find the photos that the inputs stand for.

    Parameters
    ----------
    inputs
        Files, folders (searched below, for names that look like pictures; hidden names and links
        to folders are passed over), patterns with ``*``, ``?``, ``[``, ``**``, or "-".
    avoid
        Folders that are not searched: those that are written to.

    Returns
    -------
    Jobs with ``source`` and ``name`` set, each photo once, folders in alphabetical order. A file
    that is not there is a job all the same: it is for the run to report it.
    """
    shut = {os.path.realpath(path) for path in avoid}
    jobs: list[Job] = []
    for given in inputs:
        if given == str(STREAM):
            jobs.append(Job(STREAM, name=Path("stdin.image")))
            continue
        matches, base = [given], Path(given).parent
        if glob.has_magic(given) and not os.path.lexists(given):
            matches = sorted(glob.glob(given, recursive=True)) or matches
            base = _fixed_part(given)
        for match in matches:
            path = Path(match)
            if path.is_dir():
                # As `cp -r` does: one folder is mirrored itself, of several each keeps its name.
                top = path if len(inputs) == len(matches) == 1 else base
                jobs += _below(path, top, shut)
            else:
                jobs.append(Job(path, name=_relative(path, base)))
    once: dict[str, Job] = {}
    for job in jobs:
        once.setdefault(os.path.abspath(job.source), job)
    return list(once.values())


def _fixed_part(pattern: str) -> Path:
    parts = Path(pattern).parts
    count = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:count])


def _relative(path: Path, base: Path) -> Path:
    """Name a path below a base, never above or outside of it (``..``, another drive)."""
    whole = os.path.abspath(path)
    relative = Path(os.path.relpath(whole, os.path.abspath(base)))
    return relative if relative.name and os.pardir not in relative.parts else Path(Path(whole).name)


def _below(folder: Path, base: Path, shut: set[str]) -> Iterator[Job]:
    failed: list[OSError] = []
    for root, folders, files in os.walk(folder, onerror=failed.append):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(root, name)) not in shut
        )
        for name in sorted(files):
            path = Path(root, name)
            if image_io.PICTURE.fullmatch(name) and not name.startswith(".") and path.is_file():
                yield Job(path, name=_relative(path, base))
        for error in failed:
            yield _shut(error, base)
        failed.clear()
    for error in failed:  # the folder itself
        yield _shut(error, base)


def _shut(error: OSError, base: Path) -> Job:
    path = Path(error.filename)
    return Job(path, name=_relative(path, base), problem=str(error.strerror).lower())


def names_file(inputs: Sequence[str], jobs: Sequence[Job], out: str) -> bool:
    """Tell whether ``out`` names the one file to write, and not a folder to write into."""
    one = len(jobs) == 1 and not any(os.path.isdir(given) for given in inputs)
    folder = os.path.isdir(out) or out.endswith(("/", os.sep))
    return one and not folder and (bool(Path(out).suffix) or os.path.exists(out))


def plan(inputs: Sequence[str], jobs: Sequence[Job], out: str | None, ending: str) -> list[Job]:
    """Give every job its target.

    Parameters
    ----------
    inputs, jobs
        What was asked for, and what :func:`find` found for it.
    out
        A file, a folder, "-", or None: then a file goes beside its photo as ``a-cutout.png``,
        and standard input to standard output.
    ending
        Of the files to write: ".png".

    Raises
    ------
    SettingsError
        When a photo would be written over, or two cutouts would be one file.
    """
    if out is None:
        folders = [given for given in inputs if os.path.isdir(given)]
        if folders:
            raise SettingsError(f"{folders[0]} is a folder: say with -o where its cutouts go")
        ending = f"-cutout{ending}"
    elif any(
        os.path.isdir(given) and os.path.realpath(given) == os.path.realpath(out)
        for given in inputs
    ):
        raise SettingsError(f"{out} holds the photos: give another folder for the cutouts")
    if out == str(STREAM) or (out is None and [job.source for job in jobs] == [STREAM]):
        if len(jobs) > 1:
            raise SettingsError("standard output takes one picture: give -o FOLDER for several")
        return [replace(job, target=STREAM) for job in jobs]
    if out is not None and names_file(inputs, jobs, out):
        planned = [replace(jobs[0], target=Path(out))]
    else:
        if out is not None and os.path.exists(out) and not os.path.isdir(out):
            raise SettingsError(f"{out} is a file, and there are several photos: give a folder")
        planned = _named(jobs, None if out is None else Path(out), ending)
    sources = {os.path.realpath(job.source): job.source for job in jobs}
    for job in planned:
        if source := sources.get(os.path.realpath(job.target)):
            raise SettingsError(f"the photo {source} would be overwritten: choose another -o")
    return planned


def _named(jobs: Sequence[Job], out: Path | None, ending: str) -> list[Job]:
    whole = [False] * len(jobs)  # whether a job keeps the ending of its photo

    def target(job: Job, keep: bool) -> Path:
        folder = job.source.parent if out is None else out / job.name.parent
        return folder / ((job.name.name if keep else job.name.stem) + ending)

    while True:
        targets = [target(job, keep) for job, keep in zip(jobs, whole, strict=True)]
        shared = {path for path, count in Counter(targets).items() if count > 1}
        if not shared:
            return [
                replace(job, target=path, name=job.name if keep else job.name.with_suffix(""))
                for job, path, keep in zip(jobs, targets, whole, strict=True)
            ]
        clash = [path in shared for path in targets]
        if all(keep for keep, clashes in zip(whole, clash, strict=True) if clashes):
            one, two, *_ = (job.source for job, bad in zip(jobs, clash, strict=True) if bad)
            raise SettingsError(
                f"{one} and {two} would both be written to {sorted(shared)[0]}: "
                "give the folder that holds them, or cut them out in two runs"
            )
        whole = [keep or clashes for keep, clashes in zip(whole, clash, strict=True)]


def finished(job: Job) -> bool:
    """Tell whether the target is there, is not empty, and is not older than the source."""
    if STREAM in (job.source, job.target):
        return False
    try:
        source, target = os.stat(job.source), os.stat(job.target)
    except OSError:
        return False
    return target.st_size > 0 and target.st_mtime_ns >= source.st_mtime_ns


def process(
    job: Job,
    cutout: Callable[[Path | BinaryIO], Result],
    output: Output,
    stages: Path | None = None,
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

    Raises
    ------
    WispError
        When the photo cannot be read, or the result cannot be written.
    """
    if job.problem:
        raise UnreadableImage(job.problem)
    start = time.perf_counter()
    result = cutout(sys.stdin.buffer if job.source == STREAM else job.source)
    cut = time.perf_counter()
    if stages:
        for stage, picture in (
            ("coarse", compose.levels(result.coarse)),
            ("roi", compose.levels(result.roi.astype("float32"))),
            ("alpha", compose.levels(result.alpha)),
            ("foreground", result.foreground),
        ):
            name = job.name.with_name(f"{job.name.name}.{stage}.png")
            _write(stages / name, image_io.encode(picture))
    data = render.to_bytes(result, output)
    if job.target == STREAM:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = str(error.strerror).lower()
            raise OutputError(f"cannot write standard output: {reason}") from error
    else:
        _write(job.target, data)
    height, width = result.alpha.shape
    now = time.perf_counter()
    notes = (*result.photo.notes, *(("no subject found",) if result.empty else ()))
    timings = {**result.timings, "write": now - cut}
    return Outcome(job, "done", now - start, timings, (width, height), notes)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = str(error.strerror).lower()
        raise OutputError(f"cannot make the folder {path.parent}: {reason}") from error
    image_io.write(path, data)


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
    finished, and no others begun.
    """
    if workers == 1:
        yield from (_outcome(job, work) for job in jobs)
        return
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

    waiting = iter(jobs)
    pool = ThreadPoolExecutor(workers)
    under_way: set[Future[Outcome]] = set()
    try:
        while True:
            for job in waiting:
                under_way.add(pool.submit(_outcome, job, work))
                if len(under_way) >= workers:
                    break
            if not under_way:
                return
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _outcome(job: Job, work: Callable[[Job], Outcome]) -> Outcome:
    start = time.perf_counter()
    try:
        return work(job)
    except WispError as error:
        reason = str(error).removeprefix(f"{job.source}: ")
    except MemoryError:
        reason = "not enough memory for this photo"
    except BrokenPipeError:  # whoever reads our standard output has seen enough
        raise
    except Exception as error:  # a fault of ours: still, the other photos are to be cut out
        reason = f"unexpected {type(error).__name__}: {error}; please report it"
    reason = " ".join(reason.split())
    return Outcome(job, "failed", time.perf_counter() - start, error=reason)
