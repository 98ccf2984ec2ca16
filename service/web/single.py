"""The tab for one picture."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.errors import WispError
from service.budget import Hold
from service.edits import parse
from service.job import Answer, Job
from service.web import html, options_form
from service.web.common import (
    I18N,
    PageContext,
    offer,
    page_error,
    photo_box,
    reporter,
    stem,
    words,
)
from service.web.history import History

_VIEWS = ("compare", "edit", "cutout", "edge", "alpha", "roi", "beside")


class Single:
    """Cuts one picture out, and again whenever a wish changes."""

    def __init__(self, page: PageContext, history: History) -> None:
        self.page, self.history = page, history

    def lay_out(self) -> None:
        """Lay out the tab, in one function: each event names parts from all over it."""
        t = I18N
        with gr.Row(elem_classes="work"):
            with gr.Column(scale=4, min_width=300):
                photo = photo_box("wisp-photo", 280)
                options = options_form.controls(self.page, "one")
                go = gr.Button(t("cut"), variant="primary", size="lg", elem_id="wisp-cut")
            with gr.Column(scale=7, min_width=300):
                view = gr.Radio(
                    [(t(name), name) for name in _VIEWS],
                    value="compare",
                    label=t("view"),
                    show_label=False,
                    elem_id="wisp-views",
                    elem_classes="segments",
                    container=False,
                )
                result = gr.HTML(t("empty"), elem_id="wisp-view", padding=False)
                gr.HTML(t("editor"), elem_id="wisp-editor", padding=False)
                layer = gr.HTML("", elem_id="wisp-layer", padding=False, visible="hidden")
                touch = gr.Button(visible="hidden", elem_id="wisp-touch")
                finish = gr.Button(visible="hidden", elem_id="wisp-finish")
                status = gr.HTML("", elem_id="wisp-status", padding=False)
                download = gr.DownloadButton(
                    t("download"), variant="primary", elem_id="wisp-download", interactive=False
                )
        show = "(v) => wispEditor.show(v)"
        view.change(None, view, None, js=show, api_visibility="private", queue=False)
        edits = gr.Textbox("", visible=False)
        inputs = [photo, *options.values(), edits]
        send = "(...values) => wispEditor.inputs(values)"  # the browser knows what was drawn
        names = tuple(options)
        cut, again, retouch = (
            options_form.gathered(function, "photo", names, "edits")
            for function in (self.cut, self.again, self.retouch)
        )
        outputs = [download, result, status]
        made = gr.on(
            [go.click, photo.upload],
            cut,
            inputs,
            outputs,
            js=send,
            api_name="cut",
            api_description="Cut one picture out. Returns the file, the page's view, and a line.",
            show_progress_on=result,
            trigger_mode="always_last",
        )
        offer(made, download)
        hidden: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last"}
        redone = gr.on(
            options_form.changes(options),
            again,
            inputs,
            outputs,
            js=send,
            show_progress_on=result,
            **hidden,
        )
        drawn = touch.click(
            retouch,
            inputs,
            [status, layer],
            js=send,
            api_name="retouch",
            api_description="Show what edits make of a picture: a line, and the cutout.",
            show_progress="hidden",
            trigger_mode="always_last",
        )
        finished = finish.click(again, inputs, outputs, js=send, show_progress="hidden", **hidden)
        quick: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "queue": False,
        }
        drawn.then(None, js="() => wispEditor.answered()", **quick)
        touch.click(_not_yet, None, download, **quick)
        drawn.failure(_ready, None, download, **quick)
        finished.then(_ready, None, download, **quick)
        for written in (made, redone, finished):
            offered = "(file) => wispEditor.offer(file)"
            written.success(None, download, None, js=offered, **quick)
        shown = [options[name] for name in ("background", "colour", "second_colour", "picture")]
        gr.on(
            [one.change for one in shown],
            None,
            shown,
            None,
            js="(...values) => wispEditor.backdrop(...values)",
            api_visibility="private",
            queue=False,
        )

    async def cut(
        self,
        photo: str | None,
        options: options_form.Options,
        edits: str,
        request: gr.Request,
        progress: gr.Progress,
    ) -> tuple[Any, str, str]:
        """Cut one picture out: (the file, the view, a line of what was done)."""
        labels, page = words(request), self.page
        if not photo:
            raise page_error(labels["no_photo"])
        try:
            with page.held(request) as held:
                output = await options_form.output(page, options, request, held)
                job = await self._job(photo, options, edits, request, held)
                job = replace(job, output=output, previews=True)
                answer = await page.cut(job, held, reporter(progress, labels))
                shown = await asyncio.to_thread(_shown, answer)
                count = len(job.strokes)
                view = await asyncio.to_thread(html.previews, answer, shown, labels, count)
                await self.history.remember(request, answer, shown, Path(photo).name, job)
                name = f"{stem(photo)}-cutout.{answer.format}"
                file = await page.file(answer.data, name, request)
        except WispError as error:
            raise page_error(error) from error
        return file, view, html.status(answer, labels)

    async def again(
        self,
        photo: str | None,
        options: options_form.Options,
        edits: str,
        request: gr.Request,
        progress: gr.Progress,
    ) -> tuple[Any, Any, Any]:
        """Cut out again after a wish changed, where there is something to cut."""
        if not photo or (options["background"] == "picture" and not options["picture"]):
            return gr.skip(), gr.skip(), gr.skip()
        return await self.cut(photo, options, edits, request, progress)

    async def retouch(
        self,
        photo: str | None,
        options: options_form.Options,
        edits: str,
        request: gr.Request,
        progress: gr.Progress,
    ) -> tuple[str, str]:
        """Show what edits make of a picture, before the file is there: (a line, the cutout)."""
        labels, page = words(request), self.page
        if not photo:
            raise page_error(labels["no_photo"])
        try:
            with page.held(request) as held:
                job = await self._job(photo, options, edits, request, held)
                answer = await page.cut(replace(job, pane="refined"), held)
        except WispError as error:
            raise page_error(error) from error
        return html.status(answer, labels), html.layer(answer.data, len(job.strokes))

    async def _job(
        self,
        photo: str,
        options: options_form.Options,
        edits: str,
        request: gr.Request,
        held: Hold,
    ) -> Job:
        wanted, strokes = parse(edits)
        image = await self.page.read(photo, request, held)
        return Job(
            image,
            options["model"],
            options["refine"],
            wanted=options_form.selection(options, wanted),
            strokes=strokes,
            visitor=self.page.client(request),
        )


def _not_yet() -> Any:
    return gr.update(interactive=False)


def _ready() -> Any:
    return gr.update(interactive=True)


def _shown(answer: Answer) -> bytes:
    """Return the picture to show: of a zip, the whole cutout."""
    return answer.previews["refined"] if answer.format == "zip" else answer.data
