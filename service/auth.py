"""Who may come in, and how often."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import math
import time
from dataclasses import dataclass

from limits import RateLimitItem, parse, parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NotAllowed, ServiceError, TooMany
from service.faces import CLIPS, PHOTOROOM, REMOVEBG, WORK
from service.settings import ServiceSettings

#: Open to everyone: what watches the service, and results, whose names are secrets themselves.
OPEN = ("/healthz", "/readyz", "/results/")
#: What counts against the rate: the work, and not the page around it.
COUNTED = (
    *(*WORK, "/gradio_api/call", "/gradio_api/queue/join", "/gradio_api/run"),
    "/gradio_api/upload",
)
_FREE = ("/api/models", f"{CLIPS}/")  # how far a clip is may be asked often

#: Wrong keys that an address may show before it has to wait, ever longer: a slip of the hand is
#: forgiven, a search for the key is not.
_WRONG = parse_many("10/minute; 30/hour; 100/day")


def address(scope: Scope) -> str:
    """Name the address that a request comes from; of IPv6 the /64, which is one subscriber's."""
    host = (scope.get("client") or ("",))[0]
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.ip_network((ip, 64), strict=False))
        ip = ip.ipv4_mapped
    return str(ip)


def client(scope: Scope) -> str:
    """Name the client that a request is counted for: its key, or its address."""
    return str(scope.get("state", {}).get("client") or f"address {address(scope)}")


@dataclass(frozen=True)
class Allowance:
    """What is left of a client's rate."""

    limit: int
    remaining: int
    reset: int  # seconds since 1970

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }


class AuthMiddleware:
    """ASGI: asks for a key where there are keys, and counts.

    A refusal is left in ``scope["state"]["refused"]`` for the application to say, so that each
    face does so in its own words.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self.app = app
        self._keys = [key.encode() for key in settings.api_keys]
        self._rate: RateLimitItem | None = parse(settings.rate) if settings.rate else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path.startswith(OPEN) or scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        if "refused" in state:  # not counted: another site's page must not use up a visitor's rate
            await self.app(scope, receive, send)
            return
        allowance = None
        try:
            state["client"] = self._client(scope)
            if self._rate and path.startswith(COUNTED) and not path.startswith(_FREE):
                allowance = self._count(self._rate, state["client"])
        except ServiceError as error:
            state.setdefault("refused", error)
            allowance = getattr(error, "allowance", None)

        async def answer(message: Message) -> None:
            if allowance and message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in allowance.headers.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, answer)

    def _client(self, scope: Scope) -> str:
        """Name the client: its key where there are keys, else its address."""
        if not self._keys:
            return client(scope)
        shown = _shown(Headers(scope=scope))
        if shown is None:
            # 401 makes a browser ask; the clients of remove.bg and PhotoRoom know 403.
            status = 403 if scope["path"].startswith((REMOVEBG, *PHOTOROOM)) else 401
            raise NotAllowed("an API key is needed: send it as X-Api-Key", status=status)
        origin = address(scope)
        for limit in _WRONG:
            # Before the key is looked at: the answer must not tell a right one from a wrong one.
            if not self._limiter.test(limit, "wrong key", origin):
                reset, _ = self._limiter.get_window_stats(limit, "wrong key", origin)
                raise TooMany(
                    "too many wrong API keys from this address: try again later",
                    retry_after=max(1.0, reset - time.time()),
                )
        for number, key in enumerate(self._keys):
            if hmac.compare_digest(shown, key):
                return f"key {number}"
        for limit in _WRONG:
            self._limiter.hit(limit, "wrong key", origin)
        status = 403 if scope["path"].startswith(WORK) else 401
        raise NotAllowed("API Key invalid", status=status)

    def _count(self, rate: RateLimitItem, client: str) -> Allowance:
        allowed = self._limiter.hit(rate, client)
        reset, remaining = self._limiter.get_window_stats(rate, client)
        allowance = Allowance(rate.amount, remaining, math.ceil(reset))
        if not allowed:
            wait = max(1.0, reset - time.time())
            error = TooMany(f"Rate limit exceeded: {rate}", retry_after=wait)
            error.allowance = allowance  # type: ignore[attr-defined]
            raise error
        return allowance


def _shown(headers: Headers) -> bytes | None:
    """Return the key a client shows: X-Api-Key, a bearer token, or a browser's password."""
    if key := headers.get("x-api-key"):
        return key.encode()
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip().encode()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return None
