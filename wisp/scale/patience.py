"""Trying a store again: exponential back-off with jitter (Brooker, "Exponential Backoff And
Jitter", AWS Architecture Blog, 2015), so that a thousand workers do not come back all at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import WispError
from wisp.scale.errors import StoreError

T = TypeVar("T")

#: Errors that stay what they are, however often one asks.
_LASTING = (
    FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError,
    ValueError, TypeError, LookupError, ImportError, MemoryError, WispError,
)  # fmt: skip
_LASTING_NAMES = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}


@dataclass(frozen=True)
class Patience:
    """How long to go on asking."""

    #: Calls in all. With the waits below that is half a minute: a store that is away for longer is
    #: away, and the run had better say so.
    tries: int = 8

    #: Seconds after which no further call is begun: those without an answer take long.
    total: float = 60.0

    #: Seconds before the second call, doubled before each further one.
    first: float = 0.2

    #: Longest wait, in seconds.
    most: float = 10.0

    def call(self, what: str, function: Callable[..., T], *args: object, **options: object) -> T:
        """Return what ``function`` returns.

        Raises
        ------
        FileNotFoundError, FileExistsError
            As the function does.
        StoreError
            It fails for good, or failed ``tries`` times or for ``total`` seconds; the message
            begins with ``what``.
        """
        start = time.monotonic()
        for number in range(1, self.tries + 1):
            try:
                return function(*args, **options)
            except (FileNotFoundError, FileExistsError, WispError):
                raise
            except Exception as error:
                lasting = isinstance(error, _LASTING) or type(error).__name__ in _LASTING_NAMES
                late = time.monotonic() - start > self.total
                if lasting or late or number == self.tries:
                    tried = "" if lasting or number == 1 else f" ({number} tries)"
                    reason = " ".join(str(error).split()) or "no answer"
                    raise StoreError(f"{what}: {reason}{tried}") from error
                time.sleep(self.wait(number))
        raise AssertionError("tries is at least 1")

    def wait(self, number: int) -> float:
        """The seconds to wait after the call with this number, from 1; half of it is chance."""
        return min(self.most, self.first * 2.0 ** (number - 1)) * random.uniform(0.5, 1.0)
