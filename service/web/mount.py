"""How the page comes into the application: closed, offline, and small."""

from __future__ import annotations

import os
import secrets
import shutil
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.context import Context

COOKIE = "wisp"
_YEAR = 365 * 86400
_HERE = Path(__file__).parent


def mount(app: FastAPI, context: Context) -> None:
    """Build the page and mount it."""
    folder = context.settings.data / "page"
    # What an earlier process left behind: its pages are gone.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gradio as gr

    from service.web.page import I18N, build, theme

    _close_urls()
    page = build(context, folder)
    page.queue(max_size=256, default_concurrency_limit=None, api_open=False)
    app.add_middleware(Visitor, public=context.settings.public)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        i18n=I18N,
        theme=theme(),
        css=(_HERE / "style.css").read_text(encoding="utf-8"),
        head=f"<script>{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>",
        footer_links=["api"],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
        mcp_server=False,
        show_error=True,
        max_file_size=context.settings.max_batch_bytes,
        favicon_path=str(_HERE / "icon.svg"),
    )


def _close_urls() -> None:
    """Keep Gradio from fetching URLs that a client names: the rules for that are ours alone."""
    from gradio import processing_utils

    async def refuse(url: str, cache_dir: str) -> str:
        raise ValueError("this page fetches no URLs: upload the file")

    def refuse_too(url: str, cache_dir: str) -> str:
        raise ValueError("this page fetches no URLs: upload the file")

    processing_utils.async_ssrf_protected_download = refuse
    processing_utils.ssrf_protected_download = refuse_too
    processing_utils.save_url_to_cache = refuse_too


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


def visitor(headers: Any) -> str:
    """Return the name that a browser holds, or nothing."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    found = jar.get(COOKIE)
    return found.value if found and 20 <= len(found.value) <= 64 else ""
