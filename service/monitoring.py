"""What is seen of the service: request ids, one log line a request, metrics. Never a picture."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("wisp.request")

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_BUCKETS = (0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 30, 60)


class Metrics:
    """Prometheus metrics in a registry of their own: an application has one, not a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.active = 0  # requests in work, for those who wait for the last to end
        ProcessCollector(registry=self.registry)
        own: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "wisp_requests", "Requests answered", ["method", "route", "status"], **own
        )
        self.latency = Histogram(
            "wisp_request_seconds", "Time to answer", ["route"], buckets=_BUCKETS, **own
        )
        self.stages = Histogram(
            "wisp_stage_seconds", "Time of a cutout by stage", ["stage"], buckets=_BUCKETS, **own
        )
        self.cache = Counter("wisp_cache", "Look-ups in the cache", ["result"], **own)
        self.shared = Counter("wisp_shared", "Requests that joined one in flight", **own)
        self.refused = Counter("wisp_refused", "Requests refused because the queue is full", **own)
        self.abandoned = Counter("wisp_abandoned", "Jobs whose clients went away", **own)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(f"wisp_{name}", text, registry=self.registry).set_function(value)


class RequestLogMiddleware:
    """ASGI: gives each request an id, logs it, and counts it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(b"x-request-id", b"")
        name = sent.decode() if _ID.fullmatch(sent) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = name
        status, size, start = 500, 0, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", name.encode())]
            else:
                size += len(message.get("body", b""))
            await send(message)

        # The page keeps streams open for as long as it is: no request that anything waits for.
        stays = scope["path"].startswith("/gradio_api/") and scope["method"] == "GET"
        self.metrics.active += not stays
        try:
            await self.app(scope, receive, answer)
        finally:
            self.metrics.active -= not stays
            seconds = time.perf_counter() - start
            # The template and not the path: results' names are secrets, and labels are few.
            route = _template(scope)
            self.metrics.requests.labels(scope["method"], route, str(status)).inc()
            if not stays:
                self.metrics.latency.labels(route).observe(seconds)
            log.info(
                "request",
                extra={
                    "wisp": {
                        "id": name,
                        "method": scope["method"],
                        "route": route,
                        "status": status,
                        "seconds": round(seconds, 4),
                        "sent": size,
                        **scope["state"].get("log", {}),
                    }
                },
            )


def _template(scope: Scope) -> str:
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    if path:
        return str(path)
    first = scope["path"].lstrip("/").partition("/")[0]
    return "page" if first in ("", "gradio_api", "assets", "static", "config", "theme.css") else "-"


class _Lines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "wisp", {}),
        }
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


class _Plain(logging.Formatter):
    """A line for a person who sits before it."""

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "wisp", {})
        line = record.getMessage()
        if "url" in facts:  # no browser opens the address of all networks
            line = f"open {facts['url'].replace('0.0.0.0', 'localhost')} (Ctrl-C ends it)"
        elif "route" in facts:
            line = "{method} {route} {status} in {seconds:.2f} s".format(**facts)
        if record.levelno > logging.INFO:
            line = f"{record.levelname.lower()}: {line}"
        line = f"{self.formatTime(record, '%H:%M:%S')} {line}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Leave the page's own requests out, dozens a visit, where nothing is wrong with them."""
    facts = getattr(record, "wisp", {})
    return facts.get("route") != "page" or facts["status"] >= 400


def log_to(stream: Any = None, level: int = logging.INFO) -> None:
    """Send the log to a stream (standard error): as plain lines to a terminal, else as JSON."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Plain() if stream.isatty() else _Lines())
    if stream.isatty():
        handler.addFilter(_worth_a_line)
    for name in ("wisp", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def memory() -> tuple[int, int]:
    """Return resident memory and its peak, in bytes; zeros where /proc is not there."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0, 0
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(sizes.get("VmRSS", 0)) * 1024, int(sizes.get("VmHWM", 0)) * 1024
