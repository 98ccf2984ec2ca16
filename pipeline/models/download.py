"""Fetch a large file over HTTP: whole and right in the end, or not there at all.

The standard library's client is enough for that; it knows proxies and the system's certificates.
The libraries that fetch models (pooch, torch.hub) begin anew when a gigabyte breaks off at 90 %.
"""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import ModelError, ModelInvalid, OutputError

TIMEOUT = 30.0  # seconds without a byte before a connection counts as dead
PATIENCE = 4  # tries in a row that bring nothing before it is given up
_CHUNK = 1 << 18  # bytes read at a time: small enough for a bar that moves on a slow line

#: Called with the bytes that are there and all that there will be.
Progress = Callable[[int, int], None]


def fetch(
    url: str,
    target: Path,
    length: int,
    verify: Callable[[Path], str],
    progress: Progress,
    pause: float = 1.0,
) -> None:
    """Download ``url`` to ``target``.

    What has come so far lies in ``target`` + ".part"; a later call goes on from there, if the
    server can. Only when all is there and verified does it get its name. One process at a time:
    the caller locks.

    Parameters
    ----------
    length
        Bytes that the file has.
    verify
        Says what is wrong with a complete file, or returns an empty string.
    pause
        Seconds before the second try; doubled for each further one.

    Raises
    ------
    ModelInvalid
        When the server has another file than the one that is meant.
    pipeline.errors.ModelError
        When it cannot be reached, refuses, or breaks off again and again.
    pipeline.errors.OutputError
        When the disk is full or the folder cannot be written.
    """
    part = target.with_name(target.name + ".part")
    resumed = size(part) > 0
    failures = 0
    while (have := size(part)) != length:
        try:
            _advance(url, part, have if have < length else 0, length, progress)
        except urllib.error.HTTPError as error:
            if error.code in (408, 416, 425, 429) or error.code >= 500:
                reason = f"the server answers {error.code} {error.reason}"
            else:
                raise ModelError(f"{url}: {error.code} {error.reason}") from error
            if error.code == 416:  # what we have is not what it has
                part.unlink(missing_ok=True)
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        else:
            reason = ""
        failures = 0 if size(part) > have else failures + 1
        if failures >= PATIENCE:
            raise ModelError(f"{url}: {reason or 'it breaks off again and again'}")
        if failures:
            time.sleep(pause * 2 ** (failures - 1))
    wrong = verify(part)
    if not wrong:
        os.replace(part, target)  # not by pipeline.files: the part outlives the process
        return
    part.unlink()
    if not resumed:
        raise ModelInvalid(f"{url} is not the published file: {wrong}")
    # The old half may have been the wrong one: of another release, or broken on the disk.
    fetch(url, target, length, verify, progress, pause)


def _advance(url: str, part: Path, have: int, length: int, progress: Progress) -> None:
    """Ask once, and write what comes."""
    headers = {"User-Agent": "wisp", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if response.status != 206:
            have = 0  # the server sends all of it, whatever was asked for
        elif _first_byte(response) != have:
            part.unlink(missing_ok=True)
            return
        left = length - have
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) != left:
            raise ModelInvalid(
                f"{url} has {int(announced) + have:,} bytes where the published file has "
                f"{length:,}: another file, or the page of a proxy"
            )
        with _open(part, have) as file:
            progress(have, length)
            # One byte more than wanted is read, so that an endless answer is noticed.
            while data := response.read1(min(_CHUNK, left + 1)):
                if len(data) > left:
                    file.truncate(0)
                    raise ModelInvalid(
                        f"{url} goes on after the {length:,} bytes of the published file"
                    )
                _write(file, data)
                left -= len(data)
                progress(length - left, length)


def _first_byte(response: http.client.HTTPResponse) -> int:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def size(path: Path) -> int:
    """Return the bytes that a file has; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _open(part: Path, have: int) -> BinaryIO:
    try:
        file = part.open("r+b" if have else "wb", buffering=0)
    except OSError as error:
        raise OutputError(f"{part} cannot be written: {error.strerror}") from error
    file.seek(have)
    return file


def _write(file: BinaryIO, data: bytes) -> None:
    """Write all of it. A full disk is not a broken line: it is no use to try again."""
    try:
        while data:
            data = data[file.write(data) :]
    except OSError as error:
        raise OutputError(f"{file.name} cannot be written: {error.strerror}") from error
