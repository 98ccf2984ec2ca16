"""What a person points at and draws, as the page's editor and clients of the API send it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pipeline.retouch import Stroke
from pipeline.selection import EVERYTHING, Selection
from service.errors import BadRequest

T = TypeVar("T")

MOST_POINTS = 20  # to keep, or to drop: each may be some looks of stage 1
_MOST_BYTES = 150_000
_MOST_STROKES = 100
#: What Python says of JSON, and of values, that are not as they should be.
_WRONG = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


def parse(text: str | None) -> tuple[Selection, tuple[Stroke, ...]]:
    """Understand edits: {"keep": [[x, y], …], "drop": …, "box": [x0, y0, x1, y1], "strokes": …}.

    The strokes are those of :func:`parse_strokes`. All places are shares of the photo. Nothing at
    all is all that stage 1 finds.

    Raises :class:`BadRequest` for anything else, :class:`pipeline.errors.SettingsError` for places
    that are none.
    """
    if not text:
        return EVERYTHING, ()
    try:
        sent = _loaded(text)
        keep, drop = (tuple(map(_point, few(sent.get(name, ())))) for name in ("keep", "drop"))
        box = sent.get("box")
        strokes = _strokes(sent.get("strokes", ()))
        selection_box = None if box is None else tuple(float(v) for v in box)
    except _WRONG as error:
        raise BadRequest("the edits are none that the editor makes") from error
    wanted = Selection(box=selection_box, points=keep, not_points=drop)  # type: ignore[arg-type]
    return wanted, strokes


def parse_strokes(text: str) -> tuple[Stroke, ...]:
    """Understand [{"points": [[x, y], …], "width": w, "restore": true, "exact": false}, …].

    Points are shares of the photo; the width is one of its longer side; exact may be left out.

    Raises :class:`BadRequest` for anything else, :class:`pipeline.errors.SettingsError` for a
    stroke that is none.
    """
    try:
        return _strokes(_loaded(text))
    except _WRONG as error:
        raise BadRequest(
            'strokes is a JSON list of {"points": [[x, y], …], "width": 0.05, "restore": true}'
        ) from error


def few(points: Sequence[T]) -> Sequence[T]:
    """Return points to keep, or to drop. Raises :class:`BadRequest` for too many of them."""
    if len(points) > MOST_POINTS:
        raise BadRequest(
            f"at most {MOST_POINTS} points to keep, and as many to drop, not {len(points)}: "
            "leave some out"
        )
    return points


def _loaded(text: str) -> Any:
    if len(text) > _MOST_BYTES:
        raise BadRequest("the edits are too large: draw fewer strokes")
    return json.loads(text)


def _strokes(sent: Any) -> tuple[Stroke, ...]:
    if not isinstance(sent, list | tuple):
        raise TypeError("a list")
    if len(sent) > _MOST_STROKES:
        raise BadRequest(f"at most {_MOST_STROKES} strokes at a time")
    return tuple(map(_stroke, sent))


def _point(sent: Any) -> tuple[float, float]:
    x, y = sent
    return float(x), float(y)


def _stroke(sent: Any) -> Stroke:
    restore, exact = sent["restore"], sent.get("exact", False)
    if not (isinstance(restore, bool) and isinstance(exact, bool)):
        raise TypeError("true or false")
    return Stroke(tuple(map(_point, sent["points"])), float(sent["width"]), restore, exact)
