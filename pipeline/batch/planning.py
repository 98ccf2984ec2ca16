"""Which photos, and where each goes. Nothing is read or written here but folders' listings.

Names: a folder is mirrored, ``sub/a.jpg`` to ``OUT/sub/a.png``. Where two photos would share a
name (``a.jpg`` and ``a.webp``) both keep their whole one, ``a.jpg.png`` and ``a.webp.png``; so a
file never holds another photo's cutout, whatever is added later.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline import image_io
from pipeline.batch.jobs import STREAM, Job
from pipeline.errors import SettingsError
from pipeline.output import FORMATS

_ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)


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
    for entry in inputs:
        if entry == str(STREAM):
            jobs.append(Job(STREAM, name=Path("stdin.image")))
            continue
        matches, base = [entry], Path(entry).parent
        if glob.has_magic(entry) and not os.path.lexists(entry):
            matches = sorted(glob.glob(entry, recursive=True)) or matches
            base = _fixed_part(entry)
        for match in matches:
            path = Path(match)
            if os.path.isdir(path):
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
            shown = image_io.PICTURE.fullmatch(name) and not name.startswith(".")
            if shown and os.path.isfile(path):
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
    one = len(jobs) == 1 and not any(os.path.isdir(entry) for entry in inputs)
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
        folders = [entry for entry in inputs if os.path.isdir(entry)]
        if folders:
            raise SettingsError(f"{folders[0]} is a folder: say with -o where its cutouts go")
        ending = f"-cutout{ending}"
    elif any(
        os.path.isdir(entry) and os.path.realpath(entry) == os.path.realpath(out)
        for entry in inputs
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
        if out is not None and Path(out).suffix.lower() in _ENDINGS and not os.path.isdir(out):
            raise SettingsError(
                f"{out} is one picture's name, and there are several: give a folder"
            )
        planned = named(jobs, None if out is None else Path(out), ending)
    sources = {os.path.realpath(job.source): job.source for job in jobs}
    for job in planned:
        if source := sources.get(os.path.realpath(job.target)):
            raise SettingsError(f"the photo {source} would be overwritten: choose another -o")
    return planned


def named(jobs: Sequence[Job], out: Path | None, ending: str) -> list[Job]:
    """Give every job a target below ``out``, or beside its photo, that no other job has.

    Raises :class:`SettingsError` where that cannot be.
    """
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
