"""What watches the service asks here."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from service.api.common import Wisp

router = APIRouter(tags=["Health"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> dict[str, str]:
    """Answer as long as the event loop turns."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Does it take requests?",
    responses={503: {"description": "Not yet, or no more", "content": {"application/json": {}}}},
)
async def readyz(context: Wisp) -> Response:
    """Answer 200 once the models are open, and 503 from the moment it is told to stop."""
    ready = context.ready and not context.queue.closing
    state = {
        "status": "ok" if ready else "stopping" if context.queue.closing else "starting",
        "queued": context.queue.queued,
        "running": context.queue.running,
        "cache": await context.queue.cache.probe(),
    }
    return JSONResponse(state, 200 if ready else 503)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
async def metrics(context: Wisp) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(generate_latest(context.metrics.registry), media_type=CONTENT_TYPE_LATEST)
