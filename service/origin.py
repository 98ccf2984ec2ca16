"""Whom a request is addressed to, and which page it comes from.

A service on one's own machine has no password: what keeps the web's pages out is that a browser
tells the truth about the name it asked for (Host) and the page that asks (Origin). A name that
resolves to this machine a moment after its page was loaded (DNS rebinding) is still that name.
"""

from __future__ import annotations

import ipaddress
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import NotAllowed
from service.faces import WORK
from service.settings import ServiceSettings

#: Asked by what watches the service, under whatever name it knows it by; they reveal nothing.
_WATCHED = ("/healthz", "/readyz")
_SAFE = ("GET", "HEAD", "OPTIONS")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/]+)")
_PORTS = {"http": "80", "https": "443"}


class OriginMiddleware:
    """ASGI: refuses what is addressed to another host, or sent by another site's page.

    The refusal is left in ``scope["state"]["refused"]``, as
    :class:`service.auth.AuthMiddleware` does.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _WATCHED:
            headers = Headers(scope=scope)
            try:
                check_host(headers, self.settings)
                if scope["method"] not in _SAFE or scope["path"].startswith(WORK):
                    check_origin(headers, self.settings)
            except NotAllowed as error:
                scope.setdefault("state", {}).setdefault("refused", error)
        await self.app(scope, receive, send)


def check_host(headers: Headers, settings: ServiceSettings) -> None:
    """Raise :class:`NotAllowed` unless every host that a request names is one of this service."""
    named = headers.getlist("host") + headers.getlist("x-forwarded-host")
    if len(headers.getlist("host")) != 1 or not all(_ours(name, settings) for name in named):
        raise NotAllowed(
            "this service is not known by that name: whoever runs it can allow it with WISP_HOSTS",
            code="unknown_host",
        )


def _ours(named: str, settings: ServiceSettings) -> bool:
    if "*" in settings.hosts:
        return True
    match = _HOST.fullmatch(named.strip())
    if not match:
        return False
    name = match[1].lower().rstrip(".")
    for host in settings.hosts:
        if name == host or (host.startswith(".") and name.endswith(host)):
            return True
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name == settings.host.lower()
    # An address cannot be made to mean another machine. Where only this one can connect, only its
    # own addresses can be meant.
    return address.is_loopback or not _local(settings.host)


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_origin(headers: Headers, settings: ServiceSettings) -> None:
    """Raise :class:`NotAllowed` for what the page of another origin makes a browser send.

    A form needs no permission to be sent anywhere. ``same-site`` is another origin too: another
    port of this machine, or another name under the same domain. A client that is no browser sends
    neither Origin nor Sec-Fetch-Site.
    """
    origin = headers.get("origin", "")
    if origin and (origin in settings.cors or "*" in settings.cors):
        return
    named = [headers.get("host", ""), headers.get("x-forwarded-host", "")]
    named += [host for host in settings.hosts if not host.startswith((".", "*"))]
    foreign = headers.get("sec-fetch-site", "") in ("cross-site", "same-site")
    if foreign or (origin and not _same(origin, named)):
        raise NotAllowed("requests from other sites are off", code="cross_site")


def _same(origin: str, named: list[str]) -> bool:
    """Whether an origin is one of these hosts, whatever its scheme: a proxy may change that."""
    match = _ORIGIN.fullmatch(origin.lower())
    if not match:
        return False
    port = f":{_PORTS[match[1]]}"
    return match[2].removesuffix(port) in {name.lower().removesuffix(port) for name in named}
