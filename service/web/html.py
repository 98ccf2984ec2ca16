"""The pieces of HTML that the page shows. Everything a user named is escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from service.clips.job import ClipJob
from service.clips.wish import MEDIA
from service.job import Answer
from service.result_store import Kept

_VIEW = 1400  # px: the longest side that a page shows; the download has them all
_FIGURE = 4000  # what the figure of a look inside has: its text is small
_THUMB = 320


def small(data: bytes, side: int = _VIEW, quality: int = 88) -> bytes:
    """Make a picture small enough for a page: WebP."""
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.thumbnail((side, side), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()


def thumbnail(data: bytes) -> bytes:
    """Make the picture that the history shows."""
    return small(data, _THUMB, 80)


def _source(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def _slider(before: bytes, after: bytes, labels: tuple[str, str, str]) -> str:
    one, two, label = (html.escape(text) for text in labels)
    return (
        '<div class="ba checker" style="--x:50%">'
        f'<img class="after" src="{_source(after)}" alt="{two}">'
        f'<img class="before" src="{_source(before)}" alt="{one}">'
        f'<span class="tag left">{one}</span><span class="tag right">{two}</span>'
        '<i class="bar"></i>'
        f'<input type="range" min="0" max="100" step="0.5" value="50" aria-label="{label}" '
        "oninput=\"this.parentNode.style.setProperty('--x', this.value + '%')\"></div>"
    )


def empty(title: str, text: str) -> str:
    """Say what will be where there is nothing yet."""
    return f'<div class="nothing"><b>{title}</b><span>{text}</span></div>'


def figure(data: bytes, words: dict[str, str]) -> str:
    """Show a large picture as wide as the page; pressed, as large as it is."""
    source = _source(small(data, _FIGURE, 85))
    return (
        f'<label class="zoom" title="{words["zoom"]}">'
        f'<input type="checkbox" aria-label="{words["zoom"]}">'
        f'<img src="{source}" alt="{words["inside"]}"></label>'
    )


def previews(answer: Answer, shown: bytes, words: dict[str, str], strokes: int = 0) -> str:
    """Lay out all views of a result; the page's style shows the one that is chosen. ``strokes`` is
    how many were drawn into it."""
    pictures = answer.previews
    cutout, photo = small(shown), pictures["photo"]
    refined = pictures["refined"]
    compare = _slider(photo, cutout, (words["before"], words["after"], words["slide"]))
    if answer.box and Image.open(io.BytesIO(cutout)).size != Image.open(io.BytesIO(photo)).size:
        # Cropped: the two no longer lie on each other, so the whole cutout stands in.
        compare = _slider(photo, refined, (words["before"], words["after"], words["slide"]))
    edge = _slider(
        pictures["unrefined"], refined, (words["without"], words["with"], words["slide"])
    )
    note = f'<p class="note">{words["no_subject"]}</p>' if answer.empty else ""

    def single(data: bytes, name: str, kind: str = "") -> str:
        return f'<figure class="{kind}"><img src="{_source(data)}" alt="{name}"></figure>'

    beside = single(photo, words["source"]) + single(cutout, words["cutout"], "checker")
    views = {
        "compare": compare,
        "cutout": single(cutout, words["cutout"], "checker"),
        "edge": edge,
        "alpha": single(pictures["alpha"], words["alpha"]),
        "roi": single(pictures["roi"], words["roi"]),
        "beside": f'<div class="pair">{beside}</div>',
    }
    # The editor takes the photo and the cutout out of two of them.
    mark = f'<i class="strokes" data-strokes="{strokes}"></i>'
    return (
        mark
        + note
        + "".join(
            f'<div class="pane pane-{name}">{content}</div>' for name, content in views.items()
        )
    )


def layer(cutout: bytes, strokes: int) -> str:
    """Hand the editor a cutout with so many strokes in it."""
    return f'<img class="cutout" src="{_source(cutout)}" alt="" data-strokes="{strokes}">'


#: The editor's tools and deeds, each with its key.
_TOOLS = ("keep:k", "drop:d", "box:b", "restore:r", "erase:e", "hand:h")
_DEEDS = ("undo:z", "redo:y", "closer:+", "farther:-", "whole:0", "reset:", "copy:c")
_SIGNS = dict(
    undo="↶",
    redo="↷",
    closer="+",
    farther="−",
    whole="⤢",
    reset="⟲",
)


def editor(words: dict[str, str]) -> str:
    """Lay out the editor: its tools, and where one draws. ``editor.js`` gives it life."""

    def button(entry: str, kind: str) -> str:
        name, _, key = entry.partition(":")
        title = html.escape(words[f"edit_{name}"] + (f" ({key.upper()})" if key else ""))
        label = _SIGNS.get(name) or html.escape(words[f"edit_{name}"])
        pressed = ' aria-pressed="false"' if kind == "tool" else ""
        return (
            f'<button type="button" data-{kind}="{name}" title="{title}" aria-label="{title}"'
            f"{pressed}>{label}</button>"
        )

    tools = "".join(button(entry, "tool") for entry in _TOOLS)
    deeds = "".join(button(entry, "deed") for entry in _DEEDS)
    size, snap = html.escape(words["edit_size"]), html.escape(words["edit_snap"])
    return (
        f'<div class="bar tools" role="toolbar">{tools}</div>'
        f'<div class="bar"><label>{size} <input type="range" class="size" min="1" max="100" '
        f'value="30"></label><label><input type="checkbox" class="snap" checked> {snap}</label>'
        f'<span class="gap"></span>{deeds}</div>'
        f'<div class="stage checker"><canvas tabindex="0" role="img" '
        f'aria-label="{html.escape(words["edit_canvas"])}"></canvas></div>'
        f'<p class="help">{html.escape(words["edit_help"])}</p>'
    )


def status(answer: Answer, words: dict[str, str], template: str = "") -> str:
    """Say in one line what was done."""
    line = words[template or ("done_in" if answer.refined else "plain_in")].format(
        width=answer.width,
        height=answer.height,
        patches=answer.patches,
        seconds=f"{answer.seconds['total']:.2f}",
    )
    if answer.cached:
        line += f" · {words['cached']}"
    notes = "".join(f" · {html.escape(note)}" for note in answer.notes)
    if answer.unsure:
        notes += " · " + words["unsure"].format(confidence=f"{answer.confidence:.0%}")
    return f'<p class="status" role="status">{line}{notes}</p>'


def clip(job: ClipJob, words: dict[str, str]) -> str:
    """Show a finished clip over a checkerboard, where browsers can play it."""
    if job.wish.format in ("mov", "mkv"):
        return empty(words["clip_done"], words["clip_hidden"])
    source = _address(str(job.file))
    if MEDIA[job.wish.format].startswith("image/"):
        shown = f'<img src="{source}" alt="{words["cutout"]}">'
    else:
        plays = "autoplay loop muted controls playsinline"
        shown = f'<video src="{source}" aria-label="{words["cutout"]}" {plays}></video>'
    return f'<figure class="checker">{shown}</figure>'


def clip_status(job: ClipJob, words: dict[str, str]) -> str:
    """Say in one line how far a clip is."""
    if job.state == "waiting":
        line = words["stage_wait"]
    elif not job.frames:
        line = words["clip_opens"]
    else:
        line = f"{job.frames}{f' / {job.of}' if job.of else ''} {words['frames']}"
    if job.active and job.left is not None:
        line += " · " + words["clip_left"].format(seconds=round(job.left))
    notes = "".join(f" · {html.escape(note)}" for note in job.notes)
    return f'<p class="status" role="status">{line}{notes}</p>'


@dataclass(frozen=True)
class Row:
    """A file of a batch, and how far it is."""

    name: str
    state: str = "waiting"
    said: str = ""  # the time it took, or why it failed
    thumb: str = ""  # the path of a small picture
    entry: str = ""  # its name in the zip of the results


def rows(files: Iterable[Row], words: dict[str, str], archive: str = "") -> str:
    """Lay out a batch. ``archive`` is the path of the zip, once it is there."""
    body = ""
    for row in files:
        name = f"<span>{html.escape(row.name)}</span>"
        if row.thumb:
            picture = f'<img class="checker" src="{_address(row.thumb)}" alt="">'
            name = f'<span class="file">{picture}{name}</span>'
        if archive and row.entry:
            one = f"{_address(archive)}?entry={quote(row.entry, safe='')}"
            name = f'<a href="{one}" download title="{words["download"]}">{name}</a>'
        body += (
            f'<tr class="{row.state}"><td>{name}</td><td>{words[row.state]}</td>'
            f"<td>{html.escape(row.said)}</td></tr>"
        )
    head = f"<th>{words['name']}</th><th>{words['state']}</th><th>{words['time']}</th>"
    return f'<table class="rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _address(path: str) -> str:
    """Where the page finds a file of its own; relative, since the page may lie below a path."""
    return f"gradio_api/file={quote(path)}"


def facts(groups: Iterable[tuple[str, Iterable[tuple[str, Any]]]]) -> str:
    """Lay out facts in groups."""
    return "".join(
        f'<section class="facts"><h3>{html.escape(title)}</h3><dl>'
        + "".join(
            f"<dt>{html.escape(str(name))}</dt><dd>{html.escape(str(value))}</dd>"
            for name, value in entries
        )
        + "</dl></section>"
        for title, entries in groups
    )


def on_checker(thumb: bytes) -> bytes:
    """Lay a thumbnail on a checkerboard: a gallery has no background of its own. WebP."""
    image = Image.open(io.BytesIO(thumb)).convert("RGBA")
    y, x = np.mgrid[: image.height, : image.width] // 10
    board = np.where((x + y) % 2, 236, 250).astype(np.uint8)
    base = Image.fromarray(np.dstack([board, board, board, np.full_like(board, 255)]))
    base.alpha_composite(image)
    buffer = io.BytesIO()
    base.convert("RGB").save(buffer, "WEBP", quality=80)
    return buffer.getvalue()


def caption(kept: Kept) -> str:
    title = str(kept.facts.get("title", ""))[:40]
    return f"{title} · {kept.facts.get('seconds', 0):.2f} s"
