"""What a tool answers: the path of a file, some facts, and a small picture of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from mcp.server.mcpserver import Image as Preview
from mcp.types import CallToolResult, TextContent
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

from pipeline import Output, Result, files
from pipeline.render import draw, render

_SIDE = 256  # px of a preview's longer side: some ten kilobytes, which an agent pays for
_LIGHT, _DARK, _SQUARE = 255, 205, 8  # the checkerboard behind what is transparent


class Cut(BaseModel):
    """A file that was written."""

    path: str
    width: int = Field(description="In pixels, as height.")
    height: int
    bytes: int
    confidence: float = Field(description="How likely the subject is whole, 0..1.")
    notes: list[str] = Field(description="What the user may want to know.")


class Network(BaseModel):
    """A network that finds the subject."""

    name: str
    purpose: str
    here: bool = Field(description="Whether it can be used now.")
    bytes: int
    licence: str
    noncommercial: bool = Field(description="Its licence forbids commercial use.")


def write(result: Result, target: Path, output: Output) -> CallToolResult:
    """Write a cutout, and say what was written.

    Raises :class:`pipeline.OutputError` where it cannot be written.
    """
    drawing = draw(result, output)
    files.write(target, drawing.data, parents=True)
    notes = list(result.photo.notes)
    if result.empty:
        notes.append("no subject was found: give a box or a point")
    elif result.unsure:
        notes.append("the subject may be incomplete or another one: look at the preview")
    cut = Cut(
        path=str(target),
        width=drawing.width,
        height=drawing.height,
        bytes=len(drawing.data),
        confidence=round(result.confidence, 3),
        notes=notes,
    )
    picture = Preview(data=preview(render(result, output)), format="jpeg")
    return CallToolResult(
        content=[
            TextContent(type="text", text=cut.model_dump_json()),
            picture.to_image_content(),
        ],
        structured_content=cut.model_dump(),
    )


def preview(picture: NDArray[np.uint8]) -> bytes:
    """Return a small JPEG of a picture, (h, w[, 3 | 4]) uint8, on a checkerboard."""
    small = Image.fromarray(picture)
    small.thumbnail((_SIDE, _SIDE), reducing_gap=3)
    if small.mode == "RGBA":
        y, x = np.indices(small.size[::-1]) // _SQUARE
        board = Image.fromarray(np.where((x + y) % 2, _DARK, _LIGHT).astype(np.uint8))
        small = Image.alpha_composite(board.convert("RGBA"), small)
    buffer = io.BytesIO()
    small.convert("RGB").save(buffer, "JPEG", quality=80, optimize=True)
    return buffer.getvalue()
