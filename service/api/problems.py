"""What went wrong, in the words of the face that was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi.responses import JSONResponse

from service.errors import Problem
from service.faces import PHOTOROOM, REMBG, REMOVEBG

#: remove.bg's code where it has one of its own for what we name otherwise.
_REMOVEBG = {
    "invalid_image": "failed_to_read_image",
    "invalid_file": "failed_to_read_image",
    "image_too_large": "resolution_too_high",
}
#: What remove.bg answers with 400, the largest file too.
_TOO_LARGE = ("file_too_large", "resolution_too_high")


def error_response(problem: Problem, path: str) -> JSONResponse:
    """Say what went wrong to a client that asked for ``path``."""
    status = problem.status
    body: dict[str, Any] = {"detail": problem.message, "code": problem.code}
    v1, v2 = PHOTOROOM
    if path.startswith(v1):
        body = {"detail": problem.message, "status_code": status, "type": problem.code}
    elif path.startswith(v2):
        body = {"error": {"message": problem.message}}
    elif path.startswith(REMOVEBG):
        code = _REMOVEBG.get(problem.code, problem.code)
        body = {"errors": [{"title": problem.message, "code": code}]}
        status = 400 if code in _TOO_LARGE else status
    return JSONResponse(body, status, headers=problem.headers)


def wrong_parameters(wrong: Sequence[Any], path: str) -> JSONResponse:
    """Say what FastAPI found wrong with parameters, but for what was sent: it may be a picture."""
    code = "invalid_parameter"
    if path == REMBG:  # which says it as FastAPI does
        kept = [{key: entry[key] for key in ("loc", "msg", "type")} for entry in wrong]
        return JSONResponse({"detail": kept, "code": code}, 422)
    if any(entry["loc"][0] == "path" for entry in wrong):  # none of ours has such a name
        return error_response(Problem(404, "not_found", "there is no such thing, or no more"), path)
    return error_response(Problem(422, code, "; ".join(map(_reason, wrong))), path)


def _reason(entry: dict[str, Any]) -> str:
    name, message = entry["loc"][-1], entry["msg"]
    if entry["type"] == "missing":
        return f"{name} is missing"
    if "UploadFile" in message:
        return f"{name} must be a file"
    return f"{name}: {message[:1].lower()}{message[1:]}"
