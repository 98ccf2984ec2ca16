"""What Gradio would keep for ever: the answers of events that nobody reads.

An event's answer waits, with the page's view of it, until its session reads it. A client that
starts events and never reads would fill the memory.
"""

from __future__ import annotations

import time
from typing import Any

_PATIENCE = 120.0  # seconds for which answers wait for a reader
_GRACE = 10.0  # seconds that every reader has to come
_MOST = 16  # sessions whose answers wait at a time; each may be some megabytes


class EventStreams:
    """Drops the answers of sessions that do not read them. ``queue`` is Gradio's."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._since: dict[str, float] = {}

    async def sweep(self) -> None:
        """Drop what waits for too long, and the oldest of what is too much."""
        now = time.monotonic()
        waiting = self._queue.pending_messages_per_session
        self._since = {
            session: self._since.get(session, now)
            for session in list(waiting)
            if waiting[session].qsize()  # a reader takes each at once
        }
        oldest = sorted(self._since, key=self._since.__getitem__)
        much = len(oldest) - _MOST
        for number, session in enumerate(oldest):
            if now - self._since[session] > (_GRACE if number < much else _PATIENCE):
                await self._queue.clean_events(session_hash=session)
                waiting.pop(session, None)
                self._queue.pending_event_ids_session.pop(session, None)
                del self._since[session]
