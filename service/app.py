"""The application: everything put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline import __version__
from pipeline.errors import WispError
from service import docs
from service.api import health, photoroom, rembg, removebg, video, wisp
from service.api.problems import error_response, wrong_parameters
from service.auth import AuthMiddleware
from service.body_limit import BodyLimitMiddleware
from service.budget import Budget
from service.cache import open_cache
from service.clips.queue import Clips
from service.context import Context
from service.engine import Engine
from service.errors import Problem, ServiceError, problem
from service.files import fresh
from service.job import Abandoned
from service.job_queue import JobQueue
from service.monitoring import Metrics, RequestLogMiddleware, memory
from service.origin import OriginMiddleware
from service.policy import PolicyMiddleware
from service.result_store import ResultStore
from service.settings import ServiceSettings

log = logging.getLogger("wisp")


class ErrorMiddleware:
    """ASGI, innermost: says refusals and faults in the words of the face that was asked."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
            await send(message)

        try:
            refused = scope.get("state", {}).get("refused")
            if refused:
                raise refused
            await self.app(scope, receive, answer)
        except (ClientDisconnect, asyncio.CancelledError):
            # Nobody is there to be told.
            if not started:
                await _say(Problem(499, "gone", "the client went away"), scope, answer)
        except Exception as error:
            refusal = problem(error)
            if refusal.status >= 500 and not isinstance(error, ServiceError):
                log.error("fault", exc_info=error, extra={"wisp": {"id": _request_id(scope)}})
            if started:
                raise
            await _say(refusal, scope, answer)


async def _say(refusal: Problem, scope: Scope, send: Send) -> None:
    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    with contextlib.suppress(OSError):
        await error_response(refusal, scope["path"])(scope, nothing, send)


def _request_id(scope: Scope) -> str:
    return str(scope.get("state", {}).get("request_id", ""))


def create_app(settings: ServiceSettings, **fetch_options: Any) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    settings
        How it runs.
    fetch_options
        For tests: ``resolve`` and ``transport`` of :func:`service.fetch.fetch`.
    """
    metrics = Metrics()
    engine = Engine(settings)
    cache = open_cache(settings)
    each = settings.history_each or settings.history_bytes // (10 if settings.public else 1)
    results = ResultStore(settings.data / "results.sqlite", settings.history_bytes, each)
    queue = JobQueue(settings, engine, cache, metrics)
    memory_held = Budget(settings.held)
    files = fresh(settings.data / "page", settings.paged)
    clips = Clips(settings, engine, files, lambda: queue.closing)
    context = Context(
        settings, engine, queue, results, metrics, memory_held, files, clips, fetch_options
    )
    metrics.gauge("queued", "Jobs that wait", lambda: queue.queued)
    metrics.gauge("running", "Jobs in work", lambda: queue.running)
    metrics.gauge("clips", "Clips that wait or are in work", lambda: clips.active)
    metrics.gauge("cache_failures", "Failures of the cache", lambda: cache.failures)
    metrics.gauge("held_bytes", "Bytes that requests hold", lambda: memory_held.used)
    metrics.gauge("resident_bytes", "Resident memory", lambda: memory()[0])

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _, state = await asyncio.gather(queue.warm(), cache.probe())
        context.ready = True
        log.info("ready", extra={"wisp": {"models": engine.loaded(), "cache": state}})
        yield
        await clips.close()
        await queue.drain(settings.drain)
        await queue.close()
        await asyncio.to_thread(results.close)

    app = FastAPI(
        title="Wisp",
        version=__version__,
        summary="Removes image backgrounds and keeps every wisp of hair",
        lifespan=lifespan,
        docs_url=None,  # which would load scripts from elsewhere: service.docs
        redoc_url=None,
    )
    app.state.wisp = context
    for face in (wisp, video, rembg, removebg, photoroom, health, docs):
        app.include_router(face.router)
    app.add_exception_handler(WispError, _explain)
    app.add_exception_handler(HTTPException, _explain_http)
    app.add_exception_handler(RequestValidationError, _explain_validation)
    if settings.web:
        from service.web import mount  # here: Gradio is 75 MB and five seconds

        mount(app, context)
    _add_middleware(app, context)
    return app


def _add_middleware(app: FastAPI, context: Context) -> None:
    settings = context.settings
    # The last added is the first to see a request.
    app.add_middleware(ErrorMiddleware)
    app.add_middleware(BodyLimitMiddleware, settings=settings, memory=context.memory)
    app.add_middleware(AuthMiddleware, settings=settings)
    app.add_middleware(OriginMiddleware, settings=settings)
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["X-Api-Key", "Authorization", "Content-Type"],
            expose_headers=["X-Request-ID", "X-Width", "X-Height", "X-Type", "Retry-After"],
        )
    app.add_middleware(PolicyMiddleware, settings=settings)
    app.add_middleware(RequestLogMiddleware, metrics=context.metrics)


async def _explain(request: Request, error: Exception) -> JSONResponse:
    return error_response(problem(error), request.url.path)


async def _explain_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    # What a body's reader raised comes wrapped: the cause says more.
    if isinstance(error.__cause__, (WispError, Abandoned)):
        return error_response(problem(error.__cause__), request.url.path)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_parameter")
    if isinstance(error.detail, str):
        refusal = Problem(error.status_code, code, error.detail)
        answer = error_response(refusal, request.url.path)
    else:
        answer = JSONResponse({"detail": error.detail, "code": code}, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _explain_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return wrong_parameters(error.errors(), request.url.path)
