"""What a visitor points at and draws in the editor, as the page sends it."""

from __future__ import annotations

import json
from typing import Any

from pipeline.retouch import Stroke
from pipeline.selection import EVERYTHING, Selection
from service.errors import BadRequest

_MOST_BYTES = 150_000
_MOST_POINTS = 20  # to keep, or to drop: each may be a look of stage 1
_MOST_STROKES = 100


def parse(text: str | None) -> tuple[Selection, tuple[Stroke, ...]]:
    """Understand edits: {"keep": [[x, y], …], "drop": …, "box": [x0, y0, x1, y1], "strokes": …}.

    A stroke is {"points": [[x, y], …], "width": w, "restore": true, "exact": false}. All places are
    shares of the photo; a stroke's width is one of the photo's longer side. Nothing at all is all
    that stage 1 finds.

    Raises :class:`BadRequest` for anything else, :class:`pipeline.errors.SettingsError` for places
    that are none.
    """
    if not text:
        return EVERYTHING, ()
    if len(text) > _MOST_BYTES:
        raise BadRequest("the edits are too large: draw fewer strokes")
    try:
        sent = json.loads(text)
        keep, drop = (tuple(map(_point, sent.get(name, ()))) for name in ("keep", "drop"))
        box = sent.get("box")
        strokes = tuple(map(_stroke, sent.get("strokes", ())))
        selection_box = None if box is None else tuple(float(v) for v in box)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadRequest("the edits are none that the editor makes") from error
    if max(len(keep), len(drop)) > _MOST_POINTS or len(strokes) > _MOST_STROKES:
        raise BadRequest(f"at most {_MOST_POINTS} points and {_MOST_STROKES} strokes at a time")
    wanted = Selection(box=selection_box, points=keep, not_points=drop)  # type: ignore[arg-type]
    return wanted, strokes


def _point(sent: Any) -> tuple[float, float]:
    x, y = sent
    return float(x), float(y)


def _stroke(sent: Any) -> Stroke:
    return Stroke(
        tuple(map(_point, sent["points"])),
        float(sent["width"]),
        bool(sent["restore"]),
        bool(sent.get("exact", False)),
    )
