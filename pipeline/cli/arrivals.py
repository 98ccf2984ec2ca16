"""Photos that come into folders, each as soon as it has come to rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import click

#: Milliseconds between two looks at a file: one that is the same in both is not being copied.
_LOOK = 1000


def at_rest(
    folders: Sequence[str], list_photos: Callable[[], Iterable[Path]]
) -> Iterator[set[Path]]:
    """Yield photos that are there, and then those that come or change, without an end.

    A photo is handed out once its size and its time of change have stayed the same from one look
    to the next, so that a half-copied one is waited for; if it grows on later, it comes again.

    Parameters
    ----------
    folders
        Watched with all that is below them.
    list_photos
        Returns the photos that count; it is asked whenever something has changed.
    """
    try:
        from watchfiles import watch
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"--watch needs more packages: pip install 'wispcut[watch]' ({error})"
        ) from error
    known: dict[Path, tuple[int, int]] = {}  # as they were when they were handed out
    moving: dict[Path, tuple[int, int]] = {}  # as they were at the last look
    look = True  # at the start for what is there, later when something has changed
    for changes in watch(
        *folders,
        watch_filter=None,
        debounce=_LOOK,
        rust_timeout=_LOOK,
        yield_on_timeout=True,
        recursive=True,
    ):
        now = {}
        if look or changes or moving:
            now = {path: mark for path in list_photos() if (mark := _mark(path)) != known.get(path)}
        resting = {path for path, mark in now.items() if mark[0] and moving.get(path) == mark}
        known.update({path: now[path] for path in resting})
        moving = {path: mark for path, mark in now.items() if path not in resting and mark[0]}
        look = False
        if resting:
            yield resting


def _mark(path: Path) -> tuple[int, int]:
    try:
        stat = os.stat(path)
    except OSError:  # gone since it was listed
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
