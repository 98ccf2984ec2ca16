"""What is said on standard error while models are fetched."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.models.download import Progress


def tell(line: str, quiet: bool = False) -> None:
    if not quiet:
        print(line, file=sys.stderr)


@contextmanager
def fetching(name: str, have: int, length: int, quiet: bool) -> Iterator[Progress]:
    """A bar on a terminal, else a line now and then."""
    if not quiet and sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(
            total=length, initial=have, unit="B", unit_scale=True, desc=name, dynamic_ncols=True
        ) as bar:

            def move(done: int, _: int) -> None:
                bar.update(done - bar.n)

            yield move
        return
    last = time.monotonic()

    def line(done: int, all_: int) -> None:
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            tell(f"{name}: {megabytes(done)} of {megabytes(all_)}", quiet)

    yield line


def megabytes(count: float) -> str:
    """Say a number of bytes as people do: "4.6 MB"."""
    return f"{count / 1e6:.1f} MB" if count < 1e8 else f"{count / 1e6:.0f} MB"
