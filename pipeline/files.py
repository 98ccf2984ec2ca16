"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import DiskFull, OutputError

try:
    import fcntl
except ImportError:  # Windows, where nobody can delete a file that is open
    fcntl = None  # type: ignore[assignment]

# A short name of its own: the target's may be as long as names can be.
_PREFIX, _SUFFIX = ".wisp-", ".part"


@contextmanager
def replacing(target: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a new file that takes the name ``target`` when the block ends, if it ends well.

    It lies in the same folder, with the permissions of any new file; its path is its ``name``.
    It is locked as long as it is written, so that :func:`remove_leftovers` can tell it from what
    a killed process left behind.

    Raises :class:`OutputError`, or :class:`DiskFull`, where the file system refuses.
    """
    try:
        with _partial(Path(target)) as file:
            yield file
    except (OSError, ValueError) as error:
        raise output_error(f"cannot write {target}", error) from error


@contextmanager
def placing(target: str | os.PathLike[str]) -> Iterator[Path]:
    """As :func:`replacing`, for what writes a file by its name: yield the path to write to.

    The errors of the block, and of the file system, are left as they are.
    """
    with _partial(Path(target)) as file:
        yield Path(file.name)


@contextmanager
def _partial(target: Path) -> Iterator[BinaryIO]:
    partial = target.with_name(f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}")
    try:
        with open(partial, "xb") as file:
            with suppress(OSError):  # some network drives lock nothing, and hold files all the same
                _lock(file)
            yield file
            file.flush()
            if fcntl is not None:  # while it is locked nobody takes it for a leftover
                os.replace(partial, target)
        if fcntl is None:  # Windows gives no other name to a file that is open
            os.replace(partial, target)
    finally:
        with suppress(OSError, ValueError):
            partial.unlink(missing_ok=True)


def write(target: str | os.PathLike[str], data: bytes | str, parents: bool = False) -> None:
    """Write a file whole or not at all; text as UTF-8. With ``parents`` its folder is made.

    What is no regular file (a pipe, ``/dev/null``) is written to directly. Raises as
    :func:`replacing` does.
    """
    data = data.encode() if isinstance(data, str) else data
    if parents:
        folder = Path(target).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(f"cannot make the folder {folder}", error) from error
    try:
        if Path(target).exists() and not Path(target).is_file():
            Path(target).write_bytes(data)
            return
    except (OSError, ValueError) as error:
        raise output_error(f"cannot write {os.fspath(target)}", error) from error
    with replacing(target) as file:
        file.write(data)


def copy(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copy a file whole or not at all. Raises as :func:`replacing` does."""
    with replacing(target) as copied, open(source, "rb") as original:
        shutil.copyfileobj(original, copied, 1 << 20)


def remove_leftovers(folder: str | os.PathLike[str]) -> int:
    """Delete the unfinished files of killed processes from a folder; return how many.

    A process's lock ends with it, so what can be locked belongs to nobody.
    """
    removed = 0
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                with suppress(OSError), open(entry.path, "rb") as file:
                    _lock(file)
                    os.unlink(entry.path)
                    removed += 1
    return removed


def output_error(what: str, error: OSError | ValueError) -> OutputError:
    """Say what the file system refused, as an error of ours."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    reason = getattr(error, "strerror", None) or str(error)
    return (DiskFull if full else OutputError)(f"{what}: {reason.lower()}")


def _lock(file: BinaryIO) -> None:
    """Lock a file, or raise ``OSError`` where another process has it locked."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
