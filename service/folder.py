"""The folder of the service's data: one service at a time writes in it."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import SettingsError

_CHOOSE = "choose another folder with --data or WISP_DATA"


@contextmanager
def taken(folder: Path) -> Iterator[Callable[[str], None]]:
    """Hold a folder, until the process ends at the latest; make it where it is not there.

    Yields what is to be told the service's URL, for a second one to say who holds the folder.

    Raises :class:`SettingsError` where another process holds it, or it cannot be written to.
    """
    note = folder / "serve.json"

    def tell(url: str) -> None:
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        facts = {"pid": os.getpid(), "host": platform.node(), "url": url, "since": started}
        with suppress(OSError):  # it only helps to say more
            note.write_text(json.dumps(facts), encoding="utf-8")

    lock = FileLock(folder / "serve.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise SettingsError(
            f"{folder} is in use by another wisp serve{_holder(note)}: stop that one, or {_CHOOSE}"
        ) from None
    except NotImplementedError:  # by some network's file system
        logging.getLogger("wisp").warning(
            "the data folder cannot be locked: make sure that no other service uses it"
        )
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be written to ({error.strerror or error}): {_CHOOSE}"
        ) from error
    try:
        yield tell
    finally:
        lock.release()


def _holder(note: Path) -> str:
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
        return (
            f" (process {facts['pid']} on {facts['host']}, {facts['url']}, since {facts['since']})"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ""
