"""The tab for many pictures."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.errors import WispError
from service.errors import TooLarge, TooMany, problem
from service.job import Answer, Job
from service.limits import pictures
from service.web import panes, wishes
from service.web.common import I18N, Desk, offer, sorry, words


class Batch:
    """Cuts pictures out one after another; those that fail say why."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

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
                wished = wishes.controls(self.desk, "many")
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
            self.batch,
            [files, *wished],
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
    ) -> AsyncIterator[tuple[Any, str, str]]:
        """Cut out several pictures: (a zip of the results, the states, a summary)."""
        said, desk = words(request), self.desk
        if not files:
            raise sorry(said["no_files"])
        try:
            output = await wishes.output(
                desk, background, colour_, picture, crop, margin, format, request
            )
            todo = await asyncio.to_thread(self._unpacked, files, desk.keeper(request))
        except WispError as error:
            raise sorry(error) from error
        table = [[name, "waiting", ""] for name, _ in todo]
        yield None, panes.rows(table, said), ""
        target = desk.files.place() / "wisp-cutouts.zip"
        taken = 0.0
        used: set[str] = set()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for index, (name, source) in enumerate(todo):
                table[index][1] = "working"
                progress((index, len(todo)), desc=name)
                yield None, panes.rows(table, said), ""
                try:
                    image = await asyncio.to_thread(source)
                    answer = await self._patient(Job(image, model, refine, output))
                    written = _unused(f"{Path(name).stem}.{answer.format}", used)
                    await asyncio.to_thread(archive.writestr, written, answer.data)
                    taken += answer.seconds["total"]
                    table[index][1:] = ["done", f"{answer.seconds['total']:.2f} s"]
                except WispError as error:
                    table[index][1:] = ["failed", problem(error).message]
        done = sum(row[1] == "done" for row in table)
        summary = said["summary"].format(
            total=len(table),
            done=done,
            failed=len(table) - done,
            mean=f"{taken / done:.2f}" if done else "–",
        )
        summary += " " + (said["where"].format(file=target.name) if done else said["nothing_done"])
        yield (
            desk.files.add(target, desk.keeper(request)) if done else None,
            panes.rows(table, said),
            f'<p class="status">{summary}</p>',
        )

    def _unpacked(self, files: list[str], keeper: str) -> list[tuple[str, Callable[[], bytes]]]:
        """Return what is to be cut out: a name, and how to read it when its turn comes."""
        desk, settings = self.desk, self.desk.settings
        todo: list[tuple[str, Callable[[], bytes]]] = []
        total = 0
        for file in files:
            path = Path(file)
            total += desk.files.size(file, keeper)
            if total > settings.max_batch_bytes:
                raise TooLarge("the batch is larger than the limit: send it in parts")
            if path.suffix.lower() == ".zip":
                found = pictures(desk.files.read(file, keeper, settings.max_batch_bytes), settings)
                todo += [(name, partial(bytes, content)) for name, content in found]
            else:
                todo.append((path.name, partial(desk.opened, file, keeper)))
        if len(todo) > settings.max_batch_files:
            raise TooLarge(f"{len(todo)} pictures, and the limit is {settings.max_batch_files}")
        return todo

    async def _patient(self, job: Job) -> Answer:
        """Do a job of a batch: where the queue is full, it waits its turn."""
        core = self.desk.core
        for _ in range(20):
            try:
                return await core.cut(job)
            except WispError as error:
                if problem(error).status not in (429, 503) or core.closing:
                    raise
                await asyncio.sleep(1)
        raise TooMany("the service is too busy: try again later")


def _unused(name: str, used: set[str]) -> str:
    stem, dot, ending = name.rpartition(".")
    number = 2
    while name in used:
        name, number = f"{stem}-{number}{dot}{ending}", number + 1
    used.add(name)
    return name
