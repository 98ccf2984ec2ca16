"""The tab for many pictures."""

from __future__ import annotations

import asyncio
import contextlib
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.errors import WispError
from service.body_limit import check_size
from service.budget import Hold
from service.errors import TooLarge, TooMany, problem
from service.job import Answer, Job
from service.unpack import Archive, Entry
from service.web import html, options_form
from service.web.common import I18N, PageContext, offer, page_error, words

_HEADERS = 1024  # bytes of a zip beside each file
_THUMB = 112  # px: twice what the page shows, for fine screens


class Batch:
    """Cuts pictures out one after another; those that fail say why."""

    def __init__(self, page: PageContext) -> None:
        self.page = page

    def lay_out(self) -> None:
        t = I18N
        with gr.Row(elem_classes="work"):
            with gr.Column(scale=4, min_width=300):
                files = gr.File(
                    label=t("files"),
                    file_count="multiple",
                    type="filepath",
                    height=220,
                    elem_id="wisp-files",
                )
                options = options_form.controls(self.page, "many")
                with gr.Row():
                    go = gr.Button(
                        t("run_batch"), variant="primary", size="lg", elem_id="wisp-batch"
                    )
                    stop = gr.Button(t("stop"), size="lg", min_width=80, scale=0)
            with gr.Column(scale=7, min_width=300):
                table = gr.HTML("", elem_id="wisp-rows", padding=False)
                summary = gr.HTML("", elem_id="wisp-summary", padding=False)
                results = gr.DownloadButton(
                    t("results"), variant="primary", elem_id="wisp-results", interactive=False
                )
        running = go.click(
            options_form.gathered(self.batch, "files", tuple(options)),
            [files, *options.values()],
            [results, table, summary],
            api_name="batch",
            api_description="Cut out several pictures, or those of a zip. Returns a zip.",
            show_progress_on=table,
            trigger_mode="once",
        )
        offer(running, results)
        stop.click(None, cancels=[running], api_visibility="private")

    async def batch(
        self,
        files: list[str] | None,
        options: options_form.Options,
        request: gr.Request,
        progress: gr.Progress,
    ) -> AsyncIterator[tuple[Any, str, str]]:
        """Cut out several pictures: (a zip of the results, the states, a summary)."""
        labels, page = words(request), self.page
        if not files:
            raise page_error(labels["no_files"])
        try:
            with page.held(request) as held, contextlib.closing(_Pictures(page, request)) as sent:
                output = await options_form.output(page, options, request, held)
                await asyncio.to_thread(sent.plan, files)
                table = [html.Row(one.name) for one in sent.planned]
                with page.writing("wisp-cutouts.zip", request) as (target, room):
                    wanted = options_form.selection(options)
                    job = Job(b"", options["model"], options["refine"], output, wanted=wanted)
                    steps = self._all(sent, table, target, room, job)
                    async with contextlib.aclosing(steps):
                        async for at in steps:
                            progress((at, len(table)), desc=table[at].name)
                            yield None, html.rows(table, labels), ""
        except WispError as error:
            raise page_error(error) from error
        done = sum(row.state == "done" for row in table)
        taken = sum(float(row.said.partition(" ")[0]) for row in table if row.state == "done")
        summary = labels["summary"].format(
            total=len(table),
            done=done,
            failed=len(table) - done,
            mean=f"{taken / done:.2f}" if done else "–",
        )
        summary += " " + (
            labels["where"].format(file=target.name) if done else labels["nothing_done"]
        )
        yield (
            str(target) if done else None,
            html.rows(table, labels, str(target)),
            f'<p class="status">{summary}</p>',
        )

    async def _all(
        self, sent: _Pictures, table: list[html.Row], target: Path, room: Hold, options: Job
    ) -> AsyncGenerator[int, None]:
        """Cut out one after another into a zip; yields the number of the one that is begun."""
        used: set[str] = set()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for at, (row, one) in enumerate(zip(table, sent.planned, strict=True)):
                table[at] = replace(row, state="working")
                yield at
                try:
                    with self.page.held(sent.request) as held:
                        answer = await self._patient(sent, one, held, options)
                        written = _unused(f"{Path(one.name).stem}.{answer.format}", used)
                        self.page.files.grow(room, len(answer.data) + _HEADERS)
                        await asyncio.to_thread(archive.writestr, written, answer.data)
                        thumb = await self._thumb(answer, sent.request)
                    said = f"{answer.seconds['total']:.2f} s"
                    table[at] = html.Row(row.name, "done", said, thumb, written)
                except WispError as error:
                    table[at] = html.Row(row.name, "failed", problem(error).message)

    async def _thumb(self, answer: Answer, request: gr.Request) -> str:
        """Write a small picture of a result; without room for it there is none."""
        if answer.format == "zip":
            return ""
        data = await asyncio.to_thread(html.small, answer.data, _THUMB)
        try:
            return await self.page.file(data, "thumbnail.webp", request)
        except WispError:
            return ""

    async def _patient(self, sent: _Pictures, one: _Picture, held: Hold, options: Job) -> Answer:
        """Do a job of a batch: where the queue or the memory is full, it waits its turn."""
        for _ in range(20):
            try:
                if not held.size:
                    held.grow(one.size)
                image = await asyncio.to_thread(sent.read, one)
                return await self.page.cut(replace(options, image=image), held)
            except WispError as error:
                if problem(error).status not in (429, 503) or self.page.queue.closing:
                    raise
                await asyncio.sleep(1)
        raise TooMany("the service is too busy: try again later")


@dataclass(frozen=True)
class _Picture:
    """One picture of a batch: an upload, or an entry in one that is a zip."""

    name: str
    size: int
    file: str
    entry: Entry | None = None


class _Pictures:
    """The pictures of a batch: counted before any is unpacked, and read one at a time."""

    def __init__(self, page: PageContext, request: gr.Request) -> None:
        self.page, self.request = page, request
        self.planned: list[_Picture] = []
        self._keeper = page.keeper(request)
        self._open = contextlib.ExitStack()
        self._zip: tuple[str, Archive] | None = None

    def plan(self, files: list[str]) -> None:
        """Look at what there is. Raises where it is more than a batch may have."""
        settings = self.page.settings
        for file in files:
            size = self.page.files.size(file, self._keeper)
            if Path(file).suffix.lower() == ".zip":
                entries = self._archive(file).entries
                self.planned += [_Picture(e.name, e.size, file, e) for e in entries]
            else:
                self.planned.append(_Picture(Path(file).name, size, file))
            if sum(one.size for one in self.planned) > settings.max_batch_bytes:
                raise TooLarge("the batch is larger than the limit: send it in parts")
            if len(self.planned) > settings.max_batch_files:
                raise TooLarge(
                    f"{len(self.planned)} pictures, and the limit is {settings.max_batch_files}"
                )

    def read(self, one: _Picture) -> bytes:
        """Return a picture's bytes."""
        if one.entry:
            return self._archive(one.file).read(one.entry)
        limit = self.page.settings.max_bytes
        with self.page.files.opened(one.file, self._keeper) as stream:
            return check_size(stream.read(limit + 1), self.page.settings)

    def _archive(self, file: str) -> Archive:
        """Open a zip; the one before it is closed."""
        if self._zip is None or self._zip[0] != file:
            self.close()
            stream = self._open.enter_context(self.page.files.opened(file, self._keeper))
            self._zip = file, Archive(stream, self.page.settings)
        return self._zip[1]

    def close(self) -> None:
        self._zip = None
        self._open.close()


def _unused(name: str, used: set[str]) -> str:
    stem, dot, ending = name.rpartition(".")
    number = 2
    while name in used:
        name, number = f"{stem}-{number}{dot}{ending}", number + 1
    used.add(name)
    return name
