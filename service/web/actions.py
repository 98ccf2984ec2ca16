"""What the page does: each function is an event of the page, and an endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import doctor, models
from pipeline.errors import WispError
from service.context import Context
from service.engine import STAGES, Answer, Job
from service.errors import BadRequest, StorageFull, TooLarge, TooMany, problem
from service.limits import check_size, pictures
from service.look import Look, colour
from service.observe import memory
from service.web import panes
from service.web.downloads import MODELS, download
from service.web.mount import visitor
from service.web.text import language


class Actions:
    """The page's functions over a context."""

    def __init__(self, context: Context, folder: Path) -> None:
        self.context, self.folder = context, folder
        self.settings, self.engine = context.settings, context.engine

    # -- one picture -------------------------------------------------------------------------------

    async def cut(
        self,
        photo: str | None,
        refine: bool,
        model: str,
        background: str,
        colour_: str,
        picture: str | None,
        crop: bool,
        margin: float,
        format: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # how Gradio is asked for one
    ) -> tuple[Any, str, str]:
        """Cut one picture out: (the file, the view, a line of what was done)."""
        words = _words(request)
        if not photo:
            raise gr.Error(words["no_photo"], print_exception=False)
        try:
            look = await self._look(background, colour_, picture, crop, margin, format)
            image = await self._read(photo)
            job = Job(image, model, refine, look, panes=True)
            answer = await self.context.core.cut(job, _reporter(progress, words))
            shown = await asyncio.to_thread(_shown, answer)
            view = await asyncio.to_thread(panes.panes, answer, shown, words)
            await self._remember(request, answer, shown, Path(photo).name, job)
            file = await self._file(answer.data, f"{_stem(photo)}-cutout.{answer.format}")
        except WispError as error:
            raise gr.Error(problem(error).message, print_exception=False) from error
        return file, view, panes.status(answer, words)

    async def again(
        self,
        photo: str | None,
        refine: bool,
        model: str,
        background: str,
        colour_: str,
        picture: str | None,
        crop: bool,
        margin: float,
        format: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, Any, Any]:
        """Cut out again after a wish changed, where there is something to cut."""
        if not photo or (background == "picture" and not picture):
            return gr.skip(), gr.skip(), gr.skip()
        return await self.cut(
            photo,
            refine,
            model,
            background,
            colour_,
            picture,
            crop,
            margin,
            format,
            request,
            progress,
        )

    async def _look(
        self,
        background: str,
        colour_: str,
        picture: str | None,
        crop: bool,
        margin: float,
        format: str,
    ) -> Look:
        behind: Any = None
        if background == "blur":
            behind = "blur"
        elif background == "colour":
            behind = colour(_hex(colour_))
        elif background == "picture":
            if not picture:
                raise BadRequest("choose a picture for the background")
            behind = await self._read(picture)
        elif background != "transparent":
            raise BadRequest("background must be transparent, colour, picture or blur")
        return Look(format=format, background=behind, crop=crop, margin=f"{float(margin):g}%")

    async def _read(self, path: str) -> bytes:
        return await asyncio.to_thread(self._opened, Path(path))

    def _opened(self, path: Path) -> bytes:
        with open(path, "rb") as stream:  # Gradio made sure that it is an upload
            return check_size(stream.read(self.settings.max_bytes + 1), self.settings)

    async def _file(self, data: bytes, name: str) -> str:
        """Write a file that the page hands out; Gradio deletes it after a day."""

        def write() -> str:
            place = self.folder / os.urandom(16).hex()
            place.mkdir(parents=True)
            (place / name).write_bytes(data)
            return str(place / name)

        return await asyncio.to_thread(write)

    # -- many --------------------------------------------------------------------------------------

    async def batch(
        self,
        files: list[str] | None,
        refine: bool,
        model: str,
        background: str,
        colour_: str,
        picture: str | None,
        crop: bool,
        margin: float,
        format: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> AsyncIterator[tuple[Any, str, str]]:
        """Cut out several pictures: (a zip of the results, the states, a summary)."""
        words = _words(request)
        if not files:
            raise gr.Error(words["no_files"], print_exception=False)
        try:
            look = await self._look(background, colour_, picture, crop, margin, format)
            todo = await asyncio.to_thread(self._unpacked, files)
        except WispError as error:
            raise gr.Error(problem(error).message, print_exception=False) from error
        table = [[name, "waiting", ""] for name, _ in todo]
        yield None, panes.rows(table, words), ""
        place = self.folder / os.urandom(16).hex()
        place.mkdir(parents=True)
        target = place / "wisp-cutouts.zip"
        taken = 0.0
        used: set[str] = set()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for index, (name, source) in enumerate(todo):
                table[index][1] = "working"
                progress((index, len(todo)), desc=name)
                yield None, panes.rows(table, words), ""
                try:
                    image = await asyncio.to_thread(source)
                    answer = await self._patient(Job(image, model, refine, look))
                    written = _unused(f"{Path(name).stem}.{answer.format}", used)
                    await asyncio.to_thread(archive.writestr, written, answer.data)
                    taken += answer.seconds["total"]
                    table[index][1:] = ["done", f"{answer.seconds['total']:.2f} s"]
                except WispError as error:
                    table[index][1:] = ["failed", problem(error).message]
        done = sum(row[1] == "done" for row in table)
        summary = words["summary"].format(
            total=len(table),
            done=done,
            failed=len(table) - done,
            mean=f"{taken / done:.2f}" if done else "–",
        )
        summary += " " + (
            words["where"].format(file=target.name) if done else words["nothing_done"]
        )
        yield (
            str(target) if done else None,
            panes.rows(table, words),
            f'<p class="status">{summary}</p>',
        )

    def _unpacked(self, files: list[str]) -> list[tuple[str, Callable[[], bytes]]]:
        """Return what is to be cut out: a name, and how to read it when its turn comes."""
        todo: list[tuple[str, Callable[[], bytes]]] = []
        total = 0
        for file in files:
            path = Path(file)
            total += path.stat().st_size
            if total > self.settings.max_batch_bytes:
                raise TooLarge("the batch is larger than the limit: send it in parts")
            if path.suffix.lower() == ".zip":
                found = pictures(path.read_bytes(), self.settings)
                todo += [(name, partial(bytes, content)) for name, content in found]
            else:
                todo.append((path.name, partial(self._opened, path)))
        if len(todo) > self.settings.max_batch_files:
            raise TooLarge(
                f"{len(todo)} pictures, and the limit is {self.settings.max_batch_files}"
            )
        return todo

    async def _patient(self, job: Job) -> Answer:
        """Do a job of a batch: where the queue is full, it waits its turn."""
        for _ in range(20):
            try:
                return await self.context.core.cut(job)
            except WispError as error:
                if problem(error).status not in (429, 503) or self.context.core.closing:
                    raise
                await asyncio.sleep(1)
        raise TooMany("the service is too busy: try again later")

    # -- history -----------------------------------------------------------------------------------

    def _owner(self, request: gr.Request) -> str:
        """Name whose history it is: everyone's on a machine of one's own, else the browser's."""
        return visitor(request.headers) if self.settings.public else "everyone"

    async def _remember(
        self, request: gr.Request, answer: Answer, shown: bytes, title: str, job: Job
    ) -> None:
        owner = self._owner(request)
        if not owner or not self.settings.history_days:
            return
        told = {
            "title": title,
            "width": answer.width,
            "height": answer.height,
            "model": answer.model,
            "refined": answer.refined,
            "crop": job.look.crop,
            "seconds": answer.seconds["total"],
            "key": job.key,
        }
        latest = await asyncio.to_thread(self.context.shelf.list, owner, 1)
        if latest and latest[0].told.get("key") == job.key:
            return  # asked for again, not made again
        thumb = await asyncio.to_thread(panes.thumbnail, shown)
        hours = self.settings.history_days * 24
        # A full disk costs the history, and not the result.
        with contextlib.suppress(StorageFull):
            await asyncio.to_thread(
                self.context.shelf.add, answer.data, answer.format, hours, owner, told, thumb
            )

    async def history(self, request: gr.Request) -> tuple[Any, Any, str, Any, Any]:
        """List earlier results: (pictures, what is known of them, a hint, no file, no button)."""
        words, owner = _words(request), self._owner(request)
        kept = await asyncio.to_thread(self.context.shelf.list, owner) if owner else []
        images = [(panes.as_image(entry.thumb), panes.caption(entry)) for entry in kept]
        names = [
            {"name": e.name, "format": e.format, "bytes": e.size, "made": e.made, **e.told}
            for e in kept
        ]
        if not owner:
            hint = words["history_off"]
        elif kept:
            hint = words["history_hint"]
        else:
            hint = words["history_empty"].format(days=f"{self.settings.history_days:g}")
        off = gr.update(interactive=False)
        return (
            images,
            names,
            f'<p class="status">{hint}</p>',
            gr.update(value=None, interactive=False),
            off,
        )

    async def choose(
        self, names: list[dict[str, Any]], event: gr.SelectData, request: gr.Request
    ) -> tuple[str, str, Any, Any]:
        """Show one of the history."""
        words = _words(request)
        entry = names[int(event.index)]
        file = await self.fetch(entry["name"], request)
        made = datetime.fromtimestamp(entry["made"]).strftime("%Y-%m-%d %H:%M")
        facts = [
            (words["name"], entry.get("title", "")),
            (words["time"], f"{made} · {entry.get('seconds', 0):.2f} s"),
            ("px", f"{entry.get('width')} × {entry.get('height')}"),
            (words["format"], f"{entry['format']} · {entry['bytes'] / 1e6:.2f} MB"),
            (words["model"], entry.get("model", "")),
            (words["refine"], "✓" if entry.get("refined") else "–"),
        ]
        return (
            entry["name"],
            panes.facts([("", facts)]),
            gr.update(value=file, interactive=True),
            gr.update(interactive=True),
        )

    async def fetch(self, name: str, request: gr.Request) -> str:
        """Return the file of an earlier result."""
        kept = await asyncio.to_thread(self.context.shelf.get, str(name))
        if kept is None or not kept.owner or kept.owner != self._owner(request):
            raise gr.Error(_words(request)["gone"], print_exception=False)
        title = _stem(str(kept.told.get("title", "wisp")))
        return await self._file(kept.data, f"{title}-cutout.{kept.format}")

    async def delete(self, name: str, request: gr.Request) -> tuple[Any, Any, str, Any, Any]:
        """Delete an earlier result, and list what is left."""
        owner = self._owner(request)
        if not owner or not await asyncio.to_thread(self.context.shelf.delete, str(name), owner):
            raise gr.Error(_words(request)["gone"], print_exception=False)
        gr.Info(_words(request)["deleted"])
        return await self.history(request)

    # -- system ------------------------------------------------------------------------------------

    async def system(self, request: gr.Request) -> str:
        """Describe what runs here."""
        words = _words(request)
        return await asyncio.to_thread(self._facts, words)

    def _facts(self, words: dict[str, str]) -> str:
        context = self.context
        loaded, known = self.engine.loaded(), self.engine.names()
        groups: list[tuple[str, list[tuple[str, Any]]]] = []
        shown: list[tuple[str, Any]] = []
        for name, model in known.items():
            card = models.coarse_model(model)
            state = words["loaded" if name in loaded else "not_loaded"]
            shown.append((name, f"{state} · {card.path.stat().st_size / 1e6:.1f} MB"))
            shown.append((words["checksum"], models.checksum(card.path)))
            published = MODELS.get(name)
            shown.append((words["licence"], published.licence if published else card.licence))
        refiner = models.refiner_model(self.settings.refiner)
        size = refiner.path.stat().st_size / 1e6
        shown.append((f"stage 2: {refiner.path.stem}", f"{size:.1f} MB"))
        shown.append((words["checksum"], models.checksum(refiner.path)))
        shown += [(name, words["not_here"]) for name in MODELS if name not in known]
        groups.append((words["models"], shown))
        count, kept = context.shelf.used()
        resident, peak = memory()
        core = context.core
        groups.append(
            (
                words["system"],
                [
                    (words["memory"], f"{resident / 1e6:.0f} MB ({peak / 1e6:.0f} MB)"),
                    (words["up"], f"{(time.time() - context.started) / 3600:.1f} h"),
                    (words["queue"], f"{core.running} + {core.queued} / {self.settings.queue}"),
                    (words["cache"], f"{self._cache()} · {core.cache.state}"),
                    (words["kept"], f"{count} · {kept / 1e6:.1f} MB"),
                ],
            )
        )
        if not self.settings.public:
            groups.append((words["versions"], list(doctor.versions().items())))
        return panes.facts(groups)

    def _cache(self) -> str:
        # A Redis URL may hold a password.
        return self.settings.cache.partition(":")[0]

    async def diagnose(self, request: gr.Request) -> str:
        """Look at everything, as ``wisp doctor`` does."""
        if self.settings.public:
            raise gr.Error(
                "this is for the owner of the server: wisp doctor", print_exception=False
            )
        found = await asyncio.to_thread(doctor.examine)
        return doctor.describe(found)

    async def get_model(
        self,
        name: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> str:
        """Download a model that is not bundled."""
        if self.settings.public or self.engine.folder is None:
            raise gr.Error("this is for the owner of the server", print_exception=False)
        try:
            await download(
                name,
                self.engine.folder,
                lambda share: progress(share, desc=name),
                self.context.fetch_options.get("transport"),
            )
        except (WispError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from error
        gr.Info(_words(request)["got"].format(name=name))
        return await self.system(request)


def _words(request: gr.Request) -> dict[str, str]:
    return language(request.headers.get("accept-language", "") if request else "")


def _reporter(progress: gr.Progress, words: dict[str, str]) -> Callable[[str, float], None]:
    """Report a job's stages, from its thread, to the page."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    starts = [*STAGES.values(), 1.0]
    ends = dict(zip(STAGES, starts[1:], strict=True))

    def show(stage: str, share: float) -> None:
        done = STAGES[stage] + share * (ends[stage] - STAGES[stage])
        progress(done, desc=words[f"stage_{stage}"])

    context.run(show, "wait", 0.0)

    def report(stage: str, share: float) -> None:
        loop.call_soon_threadsafe(show, stage, share, context=context)

    return report


def _shown(answer: Answer) -> bytes:
    """Return the picture to show: of a zip, the whole cutout."""
    return answer.panes["refined"] if answer.format == "zip" else answer.data


def _hex(text: str) -> str:
    """Understand what a colour picker says: #hex, or rgba(…) with fractions."""
    inside = text.strip().lower()
    if inside.startswith("rgb") and "." in inside:
        parts = inside[inside.index("(") + 1 : inside.rindex(")")].split(",")
        return "#" + "".join(f"{max(0, min(255, round(float(p)))):02x}" for p in parts[:3])
    return text


def _stem(path: str) -> str:
    """Make a file name of a title: letters, digits, and what joins them."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(path).stem)
    return stem.strip(".-")[:60] or "picture"


def _unused(name: str, used: set[str]) -> str:
    stem, dot, ending = name.rpartition(".")
    number = 2
    while name in used:
        name, number = f"{stem}-{number}{dot}{ending}", number + 1
    used.add(name)
    return name
