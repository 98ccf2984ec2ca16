"""A request's parameters, for the faces that take them as a form, as JSON, or in the query.

In the query they are where the body is the picture itself.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from pipeline.errors import SettingsError, quoted
from service.api.common import held
from service.body_limit import check_size
from service.context import Context
from service.errors import BadRequest, Unsupported

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "none")
_SPACES = dict.fromkeys(map(ord, " \t\r\n"))


@dataclass(frozen=True)
class Fields:
    """A request's parameters as text, and its files.

    What is wrong with one is a :class:`BadRequest` whose code is ``invalid_`` and its name.
    """

    texts: dict[str, str]
    files: dict[str, bytes]

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter, or the default where it is missing or empty."""
        return self.texts.get(name) or default

    def present(self, names: Collection[str]) -> list[str]:
        """Return those of the names that have a value."""
        return [name for name in names if self.texts.get(name) or name in self.files]

    def choice(self, name: str, default: str, among: Collection[str]) -> str:
        """Return a parameter that is one of some words."""
        value = self.text(name, default)
        if value not in among:
            raise invalid(name, f"use {', '.join(filter(None, among))}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return a parameter that is true or false."""
        value = self.text(name).lower()
        if value and value not in (*_TRUE, *_FALSE):
            raise invalid(name, "use true or false")
        return value in _TRUE if value else default

    def number(self, name: str, default: float, most: float) -> float:
        """Return a parameter that is a number within 0..``most``."""
        try:
            value = float(self.text(name, str(default)))
        except ValueError:
            raise invalid(name, "use a number") from None
        if not 0 <= value <= most:
            raise invalid(name, f"it must lie within 0..{most:g}")
        return value


def invalid(name: str, reason: str) -> BadRequest:
    """Say what is wrong with a parameter."""
    return BadRequest(f"Invalid {name} parameter given: {reason}", code=f"invalid_{name}")


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Turn a :class:`SettingsError` into what is wrong with a parameter."""
    try:
        yield
    except SettingsError as error:
        raise invalid(name, str(error)) from error


async def read(request: Request, context: Context, known: Collection[str], raw: str) -> Fields:
    """Read the parameters of a request.

    Parameters
    ----------
    known
        The names of the face's parameters. Another one is refused: a misspelled wish that is passed
        over looks like a wrong answer.
    raw
        The name of the file that a body is which is neither form nor JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("image/") or kind == "application/octet-stream":
        body = check_size(await request.body(), context.settings)
        return Fields(from_query(request, known).texts, {raw: body})
    check_query(request, known)
    if kind != "application/json":
        return await _of_form(request, context, known)
    texts = _of_json(await request.body())
    check_names(texts, known)
    return Fields(texts, {})


def from_query(request: Request, known: Collection[str]) -> Fields:
    """Take the parameters of a request without a body. Others than the known ones are refused."""
    check_names((name for name, _ in request.query_params.multi_items()), known)
    return Fields(dict(request.query_params), {})


def check_names(names: Iterable[str], known: Collection[str]) -> None:
    """Refuse a parameter that is unknown, or given twice: only one of the two would count."""
    counts = Counter(iter(names))  # of a mapping it would take the counts
    unknown = counts.keys() - set(known)
    if unknown:
        name = min(unknown)
        close = difflib.get_close_matches(name[:40], known, 1)
        hint = f": did you mean {close[0]!r}?" if close else ""
        raise Unsupported(f"Unknown parameter {quoted(name)}{hint}")
    for name, count in counts.items():
        if count > 1:
            raise BadRequest(f"Parameter {quoted(name)} is given {count} times: give it once")


def check_query(request: Request, known: Collection[str]) -> None:
    """Refuse parameters in the query that are to be in the body; others are passed over there."""
    for name in request.query_params:
        if name in known:
            raise Unsupported(f"Parameter {quoted(name)} is in the query: send it in the body")


def _of_json(body: bytes) -> dict[str, str]:
    try:
        values = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not valid JSON", code="invalid_json") from error
    if not isinstance(values, dict):
        raise BadRequest("The body must be a JSON object", code="invalid_json")
    return {str(name): _text(value) for name, value in values.items() if value is not None}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _of_form(request: Request, context: Context, known: Collection[str]) -> Fields:
    most = int(context.settings.max_bytes * 1.4) + 1024
    async with request.form(max_files=4, max_fields=64, max_part_size=most) as form:
        check_names((name for name, _ in form.multi_items()), known)
        texts = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        held(request).grow(sum(map(len, texts.values())))  # beside the body itself
        return Fields(texts, await _files(form, context))


async def _files(form: FormData, context: Context) -> dict[str, bytes]:
    files = {}
    for name, upload in form.multi_items():
        if isinstance(upload, UploadFile):
            data = await upload.read(context.settings.max_bytes + 1)
            await upload.close()
            if data or upload.filename:
                files[name] = check_size(data, context.settings)
    return files


def from_base64(text: str, name: str, context: Context) -> bytes:
    """Return the file that a parameter holds as base64, also as the data URL of a browser."""
    plain = text.partition("base64,")[2] if text.startswith("data:") else text
    try:
        data = base64.b64decode(plain.translate(_SPACES), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"{name} is not base64", code="invalid_file") from error
    return check_size(data, context.settings)
