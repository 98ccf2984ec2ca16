"""What a browser may do with an answer: nothing that the page does not need.

A Content-Security-Policy names this service alone: no script, picture or font comes from elsewhere,
and nothing that runs in the page can send anything elsewhere.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.settings import ServiceSettings

# Gradio writes its configuration into scripts in the page, and makes functions of text.
_PAGE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' blob:; worker-src 'self' blob:; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)
_DOCS = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'"
)
_ELSE = "default-src 'none'; base-uri 'none'; form-action 'none'"


class PolicyMiddleware:
    """ASGI: tells browsers how far an answer may be trusted, and who may show it in a frame."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self.app = app
        self._frames = settings.frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                html = headers.get("content-type", "").startswith("text/html")
                self._add(headers, html, scope["path"])
            await send(message)

        await self.app(scope, receive, answer)

    def _add(self, headers: MutableHeaders, html: bool, path: str) -> None:
        policy = _ELSE if not html else _DOCS if path == "/docs" else _PAGE
        ancestors = " ".join(("'self'", *self._frames)) if self._frames else "'none'"
        headers["Content-Security-Policy"] = f"{policy}; frame-ancestors {ancestors}"
        if not self._frames:  # it has no word for certain others
            headers["X-Frame-Options"] = "DENY"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
