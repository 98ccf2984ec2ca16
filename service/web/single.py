"""The tab for one picture."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.errors import WispError
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

_VIEWS = ("compare", "cutout", "edge", "alpha", "roi", "beside")


class Single:
    """Cuts one picture out, and again whenever a wish changes."""

    def __init__(self, page: PageContext, history: History) -> None:
        self.page, self.history = page, history

    def lay_out(self) -> None:
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
                told = gr.HTML("", elem_id="wisp-status", padding=False)
                download = gr.DownloadButton(
                    t("download"), variant="primary", elem_id="wisp-download", interactive=False
                )
        show = "(v) => { document.querySelector('#wisp-view').dataset.pane = v; }"
        view.change(None, view, None, js=show, api_visibility="private", queue=False)
        inputs, outputs = [photo, *options], [download, result, told]
        made = gr.on(
            [go.click, photo.upload],
            self.cut,
            inputs,
            outputs,
            api_name="cut",
            api_description="Cut one picture out. Returns the file, the page's view, and a line.",
            show_progress_on=result,
            trigger_mode="always_last",
        )
        offer(made, download)
        refine, model, background, colour, picture, crop, margin, format = options
        gr.on(
            [
                refine.input,
                model.input,
                background.input,
                colour.change,
                picture.upload,
                crop.input,
                margin.release,
                format.input,
            ],
            self.again,
            inputs,
            outputs,
            api_visibility="private",
            show_progress_on=result,
            trigger_mode="always_last",
        )

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
        labels, page = words(request), self.page
        if not photo:
            raise page_error(labels["no_photo"])
        try:
            with page.held(request) as held:
                output = await options_form.output(
                    page, background, colour_, picture, crop, margin, format, request, held
                )
                image = await page.read(photo, request, held)
                job = Job(image, model, refine, output, previews=True)
                answer = await page.cut(job, held, reporter(progress, labels))
                shown = await asyncio.to_thread(_shown, answer)
                view = await asyncio.to_thread(html.previews, answer, shown, labels)
                await self.history.remember(request, answer, shown, Path(photo).name, job)
                name = f"{stem(photo)}-cutout.{answer.format}"
                file = await page.file(answer.data, name, request)
        except WispError as error:
            raise page_error(error) from error
        return file, view, html.status(answer, labels)

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


def _shown(answer: Answer) -> bytes:
    """Return the picture to show: of a zip, the whole cutout."""
    return answer.previews["refined"] if answer.format == "zip" else answer.data
