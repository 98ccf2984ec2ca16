"""How the page comes into the application: closed, offline, and small."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.context import Context
from service.files import COOKIE, visitor

_YEAR = 365 * 86400
_HERE = Path(__file__).parent


def mount(app: FastAPI, context: Context) -> None:
    """Build the page and mount it."""
    files = context.files
    os.environ["GRADIO_TEMP_DIR"] = str(files.folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gradio as gr

    from service.web.event_streams import EventStreams
    from service.web.guard import GuardMiddleware
    from service.web.page import I18N, build, theme

    _hands_off()
    page = build(context)
    page.queue(max_size=256, default_concurrency_limit=None, api_open=False)
    # Gradio keeps what each session was last shown, and no function of ours asks for it.
    page.state_session_capacity = 8
    app.add_middleware(Visitor, public=context.settings.public)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        i18n=I18N,
        theme=theme(),
        css="".join(map(_read, ("style.css", "editor.css"))),
        head=f"<script>{''.join(map(_read, ('page.js', 'editor.js')))}</script>",
        footer_links=["api"],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
        mcp_server=False,
        show_error=False,  # what is for the visitor is a gr.Error, and that is shown
        max_file_size=context.settings.max_batch_bytes,
        favicon_path=str(_HERE / "icon.svg"),
    )
    page.has_launched = True  # Gradio's own check of paths: a second wall behind the door
    mounted = app.router.routes.pop()
    assert isinstance(mounted, Mount)
    guard = GuardMiddleware(mounted.app, files, context.settings, EventStreams(page._queue))
    app.router.routes.append(_Rest(app.router.routes[:], guard))


class _Rest(Mount):
    """The page: all paths but those of the API, which answer 405 to another method themselves."""

    def __init__(self, others: list[BaseRoute], app: ASGIApp) -> None:
        super().__init__("", app)
        self._others = others

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if any(route.matches(scope)[0] is Match.PARTIAL for route in self._others):
            return Match.NONE, {}
        return super().matches(scope)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _hands_off() -> None:
    """Keep Gradio from opening, copying or fetching anything that a client names.

    It is the functions of the page that read an upload, within our limits. On the classes: Gradio
    makes components anew where a function changes one of their properties.
    """
    import gradio as gr
    from gradio import processing_utils
    from gradio.blocks import Block

    def refuse(url: str, cache_dir: str) -> str:
        raise ValueError("this page fetches no URLs: upload the file")

    async def refuse_later(url: str, cache_dir: str) -> str:
        return refuse(url, cache_dir)

    processing_utils.async_ssrf_protected_download = refuse_later
    processing_utils.ssrf_protected_download = refuse
    processing_utils.save_url_to_cache = refuse

    async def stay(block: Any, path: Any) -> str | None:
        return None if path is None else str(path)

    def named(component: Any, payload: Any) -> Any:
        return _path(payload)

    for kind, name, harmless in (
        (Block, "async_move_resource_to_block_cache", stay),
        (gr.Image, "preprocess", named),
        (gr.File, "preprocess", named),
        (gr.DownloadButton, "preprocess", named),
    ):
        setattr(kind, name, harmless)


def _path(payload: Any) -> Any:
    """Return the path in what a client sent, or the paths."""
    if payload is None:
        return None
    if hasattr(payload, "root"):  # a list of files
        return [_path(one) for one in payload.root]
    return payload.path


class Visitor:
    """ASGI: gives each browser a random name of its own, where strangers share the page.

    Nobody can see another's history: its owner is that name, which only the browser holds.
    """

    def __init__(self, app: ASGIApp, public: bool) -> None:
        self.app, self.public = app, public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fresh = self.public and scope["type"] == "http" and scope["path"] == "/"
        if not fresh or visitor(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        name = secrets.token_urlsafe(24)
        text = f"{COOKIE}={name}; Path=/; Max-Age={_YEAR}; HttpOnly; SameSite=Lax"
        if scope["scheme"] == "https":
            text += "; Secure"

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                cookie = (b"set-cookie", text.encode())
                message["headers"] = [*message.get("headers", ()), cookie]
            await send(message)

        await self.app(scope, receive, answer)
