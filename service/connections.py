"""The connections of the server: how many there may be, and how long one may say nothing.

uvicorn bounds neither how long a request's head may take, nor how long an answer may lie unread,
nor what one client opens; it only counts connections, and beyond the count refuses everyone's
requests. Here a connection without a request gives way to others, and is closed after a while.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import defaultdict
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from service.auth import address
from service.settings import ServiceSettings

_SPARE = 256  # file descriptors that are left for files, models and the cache
_REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n"
_REFUSED += b"Connection: close\r\n\r\n"


class Connections:
    """All connections that are open, by client, the oldest first."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.most = min(settings.connections, _descriptors() - _SPARE)
        self._proxies = [ipaddress.ip_network(proxy) for proxy in settings.proxies]
        self._open: defaultdict[str, dict[Connection, None]] = defaultdict(dict)
        self._count = 0

    def protocol(self, **options: Any) -> Connection:
        """Make what speaks HTTP on a new connection, as uvicorn asks for it."""
        return Connection(self, **options)

    def admit(self, new: Connection) -> bool:
        """Take a connection in; where there are too many, an idle one gives way to it."""
        mine = self._open[new.origin]
        mine[new] = None
        self._count += 1
        if len(mine) > self.settings.client_connections and not self._proxied(new):
            return self._make_room(mine, new)
        if self._count > self.most:
            # Whoever holds the most gives way first.
            return any(
                self._make_room(theirs, new)
                for theirs in sorted(self._open.values(), key=len, reverse=True)
            )
        return True

    def _proxied(self, one: Connection) -> bool:
        """Whether it comes from a proxy of ours: many clients in one."""
        if not self._proxies or not one.client:
            return False
        host = ipaddress.ip_address(one.client[0].partition("%")[0])
        return any(host in proxy for proxy in self._proxies)

    def _make_room(self, among: dict[Connection, None], new: Connection) -> bool:
        oldest = next((one for one in among if one.idle and one is not new), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.transport.abort()
        return True

    def leave(self, gone: Connection) -> None:
        """Forget a connection; more than once is no harm."""
        mine = self._open.get(gone.origin, {})
        if gone in mine:
            del mine[gone]
            self._count -= 1
        if not mine:
            self._open.pop(gone.origin, None)

    def sweep(self, now: float) -> None:
        """Close the connections that took too long. To be called about once a second."""
        for mine in list(self._open.values()):
            for one in list(mine):
                if one.overdue(now, self.settings.header_timeout, self.settings.send_timeout):
                    one.transport.abort()


class Connection(H11Protocol):
    """uvicorn's own, watched."""

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections = connections
        self.origin = ""
        #: Since when a head is awaited, and since when an answer is not read; 0: neither.
        self._awaited = self._unread = 0.0

    @property
    def idle(self) -> bool:
        """Whether no request is in work, and no answer on its way."""
        done = self.cycle is None or self.cycle.response_complete
        return done and not self.transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.origin = address({"client": self.client})
        self._awaited = self.loop.time()
        if not self._connections.admit(self):
            transport.write(_REFUSED)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():  # it was refused
            return
        super().data_received(data)
        # What comes after an answer, be it the rest of a body that was refused, is the next head.
        if not self.idle:
            self._awaited = 0.0
        elif not self._awaited:
            self._awaited = self.loop.time()

    def resume_writing(self) -> None:
        self._unread = 0.0
        super().resume_writing()

    def overdue(self, now: float, head: float, send: float) -> bool:
        """Whether a head has been awaited, or an answer not been read, for so many seconds.

        An answer counts as read when all but some 16 kB of what was handed to the system has gone.
        """
        if not self.transport.get_write_buffer_size():
            self._unread = 0.0
        elif not self._unread:
            self._unread = now
        late = self._awaited and self.idle and now - self._awaited > head
        return bool(late or (self._unread and now - self._unread > send))


def _descriptors() -> int:
    """Allow as many file descriptors as this process may have, and return how many that is."""
    try:
        import resource
    except ImportError:  # Windows
        return 1 << 16
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 1 << 16) if hard != resource.RLIM_INFINITY else 1 << 16
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft
