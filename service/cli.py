"""The command ``wisp serve``."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import click

from pipeline.errors import SettingsError

if TYPE_CHECKING:
    import uvicorn

    from service.connections import Connections
    from service.context import Context
    from service.settings import ServiceSettings

log = logging.getLogger("wisp")


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
    changes = {name: value for name, value in options.items() if value is not None}
    from service.settings import ServiceSettings

    run(ServiceSettings(**changes))


def run(settings: ServiceSettings) -> None:
    """Serve until told to stop.

    Raises :class:`SettingsError` when port or data folder cannot be had.
    """
    import uvicorn

    from service.connections import Connections
    from service.folder import taken
    from service.monitoring import log_to
    from service.settings import strangers

    log_to()
    for name, near in strangers(os.environ).items():
        hint = f": did you mean {near}?" if near else ""
        log.warning("no part of Wisp has a variable %s%s", name, hint)
    with taken(settings.data) as tell:
        from service.app import create_app  # here, where it takes seconds

        listener = _listen(settings.host, settings.port)
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        tell(url)
        app = create_app(settings)
        app.state.wisp.engine.load()  # here, where a missing model is one clear line
        log.info("serving", extra={"wisp": {"url": url, "public": settings.public}})
        connections = Connections(settings)
        config = uvicorn.Config(
            app,
            http=connections.protocol,  # type: ignore[arg-type]  # a factory does as well as a class
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.proxies),
            forwarded_allow_ips=list(settings.proxies),
            timeout_graceful_shutdown=int(settings.drain) + 1,
            timeout_keep_alive=15,
            h11_max_incomplete_event_size=64_000,
        )
        server = _server(config, app.state.wisp, connections)
        server.run(sockets=[listener])
        if not server.started:
            raise SettingsError("the service could not start: the log says why")


def _server(config: uvicorn.Config, context: Context, connections: Connections) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        """Ends as soon as the work is done: an idle page keeps streams open for ever."""

        async def on_tick(self, counter: int) -> bool:
            if counter % 10 == 0:  # a second
                connections.sweep(asyncio.get_running_loop().time())
            return await super().on_tick(counter)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            context.queue.closing = True
            # Whatever hangs then, a network without an end or a disk, ends with the process.
            limit = threading.Timer(context.settings.drain + 5, os._exit, (1,))
            limit.daemon = True
            limit.start()
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

    return Server(config)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    # Inherited by each connection: left to itself, the system keeps up to 4 MB of an answer for
    # every client that does not read.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262_144)
    listener.setblocking(False)
    return listener
