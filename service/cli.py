"""The command ``wisp serve``."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import replace
from typing import Any

import click

from pipeline.errors import SettingsError
from service.settings import ServiceSettings, from_environment


@click.command()
@click.option("--host", help="Where to listen; 0.0.0.0 for every network.")
@click.option("--port", type=int, help="Port; 0 takes a free one.")
@click.option("--model", metavar="NAME|FILE", help="Stage 1.")
@click.option("--refiner", metavar="NAME|FILE", help="Stage 2.")
@click.option("--data", type=click.Path(file_okay=False), help="Folder of history and cache.")
@click.option("--public", is_flag=True, default=None, help="For strangers: see docs/service.md.")
@click.option("--no-web", "web", flag_value=False, type=bool, default=None, help="API only.")
def serve(**options: Any) -> None:
    """Serve the web page and the API.

    Everything else is set by WISP_* variables: see docs/service.md. Stop it with Ctrl-C or
    SIGTERM: what is in work is finished first.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if "data" in given:
        from pathlib import Path

        given["data"] = Path(given["data"])
    run(replace(from_environment(), **given))


def run(settings: ServiceSettings) -> None:
    """Serve until told to stop. Raises :class:`SettingsError` when the port cannot be had."""
    try:
        import uvicorn

        from service.app import create_app
        from service.observe import log_to
    except ImportError as error:
        raise SettingsError(
            f"the service needs more: pip install 'wispcut[serve]' ({error})"
        ) from error

    log_to()
    _small()
    listener = _listen(settings.host, settings.port)
    app = create_app(settings)
    context = app.state.wisp
    context.engine.load()  # here, where a missing model is one clear line

    class Server(uvicorn.Server):
        """Ends as soon as the work is done: an idle page keeps streams open for ever."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            context.core.closing = True
            idle = asyncio.create_task(self._idle())
            try:
                await super().shutdown(sockets)
            finally:
                idle.cancel()

        async def _idle(self) -> None:
            while context.metrics.active:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)  # for the last bytes to leave
            self.force_exit = True

    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    logging.getLogger("wisp").info(
        "serving", extra={"wisp": {"url": f"http://{shown}:{port}", "public": settings.public}}
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain) + 1,
        timeout_keep_alive=15,
        limit_concurrency=512,
        h11_max_incomplete_event_size=64_000,
    )
    server = Server(config)
    server.run(sockets=[listener])
    if not server.started:
        raise SettingsError("the service could not start: the log says why")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener


def _small() -> None:
    """Keep the process small: glibc gives each thread a heap of its own, and keeps them all."""
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(-8, 2)  # M_ARENA_MAX
    mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD: pictures go back to the system when freed
