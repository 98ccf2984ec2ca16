"""What goes wrong in the service, with the status that says so.

ServiceError
├── BadRequest          400  the request cannot be understood
├── Unsupported         400  understood, but not offered
├── FetchFailed         400  the picture behind a URL cannot be had
├── NoForeground        400  no subject in the picture
├── NotAllowed          401 / 403  key missing or wrong
├── NotFound            404
├── TooLarge            413
├── TooMany             429  over the rate
├── Busy                503  the queue is full, or the service is stopping
├── StorageFull         507
└── TimedOut            504
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import (
    ImageError,
    ImageTooLarge,
    ImageTooSlow,
    ModelMissing,
    OutOfMemory,
    OutputError,
    SettingsError,
    UnsupportedFormat,
    WispError,
)


class ServiceError(WispError):
    """Something that a client is told about."""

    status = 500
    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.status = status or self.status
        self.retry_after = retry_after


class BadRequest(ServiceError):
    status, code = 400, "invalid_parameter"


class Unsupported(ServiceError):
    status, code = 400, "unsupported_parameter"


class FetchFailed(ServiceError):
    status, code = 400, "failed_image_download"


class NoForeground(ServiceError):
    status, code = 400, "unknown_foreground"


class NotAllowed(ServiceError):
    status, code = 403, "auth_failed"


class NotFound(ServiceError):
    status, code = 404, "not_found"


class TooLarge(ServiceError):
    status, code = 413, "file_too_large"


class TooMany(ServiceError):
    status, code = 429, "rate_limit_exceeded"


class Busy(ServiceError):
    status, code = 503, "busy"


class StorageFull(ServiceError):
    status, code = 507, "storage_full"


class TimedOut(ServiceError):
    status, code = 504, "timeout"


@dataclass(frozen=True)
class Problem:
    """An error as a client sees it, whatever the face."""

    status: int
    code: str
    message: str
    retry_after: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="Wisp", charset="UTF-8"'
        return headers


def problem(error: Exception) -> Problem:
    """Say what a client is told of an error. What is no error of ours is told as one sentence."""
    if isinstance(error, ServiceError):
        retry = None if error.retry_after is None else max(1, round(error.retry_after + 0.5))
        return Problem(error.status, error.code, str(error), retry)
    kinds: tuple[tuple[type[Exception], int, str], ...] = (
        (ImageTooLarge, 413, "image_too_large"),
        (ImageTooSlow, 413, "image_too_slow"),
        (UnsupportedFormat, 400, "invalid_file_type"),
        (ImageError, 400, "invalid_image"),
        (OutOfMemory, 413, "out_of_memory"),
        (ModelMissing, 400, "unknown_model"),
        (SettingsError, 400, "invalid_parameter"),
        (OutputError, 400, "invalid_output"),
    )
    for kind, status, code in kinds:
        if isinstance(error, kind):
            return Problem(status, code, str(error))
    return Problem(500, "internal_error", "something went wrong: the log has the details")
