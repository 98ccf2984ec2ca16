"""Answers by content and settings: on disk (diskcache), or in Redis for several machines.

A cache may only ever help: whatever goes wrong with it is a miss, a slow one is left alone for a
while, and writing happens behind the answer's back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from service.settings import ServiceSettings

log = logging.getLogger("wisp.cache")

_PATIENCE = 0.5  # seconds a look-up may take: about what the work itself takes
_REST = 10.0  # seconds a cache is left alone after it failed
_PENDING = 4  # answers on their way in, and their bytes; more would only pile up in memory
_PENDING_BYTES = 32_000_000
_DAY = 86400


class Store(Protocol):
    """What a cache needs of a store."""

    async def get(self, key: str) -> bytes | None: ...
    async def set(self, key: str, value: bytes) -> None: ...
    async def close(self) -> None: ...


class Disk:
    """On disk, oldest use first out; survives kill -9 (SQLite), and several processes."""

    def __init__(self, folder: Path, size: int) -> None:
        from diskcache import Cache as Files  # type: ignore[import-untyped,unused-ignore]

        # A thread of its own: a disk that hangs must not take the others' threads.
        self._thread = ThreadPoolExecutor(1, "cache")
        self._files = Files(
            str(folder), size_limit=size, eviction_policy="least-recently-used", timeout=_PATIENCE
        )

    async def _do(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    async def get(self, key: str) -> bytes | None:
        value = await self._do(self._files.get, key)
        return value if isinstance(value, bytes) else None

    async def set(self, key: str, value: bytes) -> None:
        await self._do(self._files.set, key, value)

    async def close(self) -> None:
        await self._do(self._files.close)
        self._thread.shutdown()


class Redis:
    """In Redis; its own ``maxmemory-policy allkeys-lru`` bounds it."""

    def __init__(self, url: str) -> None:
        import redis.asyncio

        self._client = redis.asyncio.Redis.from_url(
            url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE
        )

    async def get(self, key: str) -> bytes | None:
        value = await self._client.get(f"wisp:{key}")
        return value if isinstance(value, bytes) else None

    async def set(self, key: str, value: bytes) -> None:
        await self._client.set(f"wisp:{key}", value, ex=_DAY)

    async def close(self) -> None:
        await self._client.aclose()


class Cache:
    """A store that can fail, made one that cannot."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._rests_until = 0.0
        self._pending: dict[asyncio.Task[None], int] = {}
        self.failures = 0

    @property
    def state(self) -> str:
        if self._store is None:
            return "off"
        return "resting" if time.monotonic() < self._rests_until else "ok"

    async def probe(self) -> str:
        """Ask the store for something, and return its state as it then is."""
        await self.get("probe")
        return self.state

    async def get(self, key: str) -> bytes | None:
        """Return what was stored, or None: not there, too slow, or broken."""
        if self._store is None or self.state == "resting":
            return None
        try:
            return await asyncio.wait_for(self._store.get(key), _PATIENCE)
        except Exception as error:  # whatever a store raises, it is a miss
            self._failed(error)
            return None

    def put(self, key: str, pack: Callable[[], bytes], size: int = 0) -> None:
        """Store ``pack()``, of about so many bytes, soon and behind the caller's back; not at all
        when that is too much."""
        if self._store is None or self.state == "resting" or len(self._pending) >= _PENDING:
            return
        if sum(self._pending.values()) + size > _PENDING_BYTES:
            return
        task = asyncio.create_task(self._put(key, pack))
        self._pending[task] = size
        task.add_done_callback(self._pending.pop)

    async def _put(self, key: str, pack: Callable[[], bytes]) -> None:
        assert self._store
        try:
            value = await asyncio.to_thread(pack)
            await asyncio.wait_for(self._store.set(key, value), 10 * _PATIENCE)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        self._rests_until = time.monotonic() + _REST
        log.warning(
            "cache failed, resting",
            extra={"wisp": {"error": type(error).__name__, "seconds": _REST}},
        )

    async def close(self) -> None:
        if self._pending:
            await asyncio.wait(self._pending, timeout=2)
        if self._store:
            with contextlib.suppress(Exception):
                await self._store.close()


def open_cache(settings: ServiceSettings) -> Cache:
    """Open the cache that the settings ask for; one that cannot be opened is off, and says so."""
    try:
        if settings.cache == "off":
            return Cache(None)
        if settings.cache == "disk":
            return Cache(Disk(settings.data / "cache", settings.cache_bytes))
        return Cache(Redis(settings.cache))
    except Exception as error:
        log.warning("no cache", extra={"wisp": {"error": f"{type(error).__name__}: {error}"}})
        return Cache(None)
