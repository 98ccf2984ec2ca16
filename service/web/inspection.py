"""The tab that shows what the networks saw in a photo."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr

from pipeline.errors import WispError
from service.job import LOOK_STAGES, Job
from service.web import html
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
from service.web.options_form import model_choice


class Inside:
    """Draws a look inside, as ``wisp explain`` does."""

    def __init__(self, page: PageContext) -> None:
        self.page = page

    def lay_out(self) -> None:
        t = I18N
        with gr.Row(elem_classes="work"):
            with gr.Column(scale=4, min_width=300):
                photo = photo_box("inside-photo", 240)
            with gr.Column(scale=7, min_width=300):
                gr.HTML(t("inside_info"), elem_id="inside-info", padding=False)
                model = model_choice(self.page, "inside-model")
                with gr.Row():
                    go = gr.Button(
                        t("explain"), variant="primary", size="lg", elem_id="inside-explain"
                    )
                    download = gr.DownloadButton(
                        t("download"), size="lg", elem_id="inside-download", interactive=False
                    )
                status = gr.HTML("", elem_id="inside-status", padding=False)
        figure = gr.HTML(t("inside_empty"), elem_id="inside-view", padding=False)
        made = gr.on(
            [go.click, photo.upload],
            self.explain,
            [photo, model],
            [download, figure, status],
            api_name="explain",
            api_description="Look inside. Returns the figure, the page's view of it, and a line.",
            show_progress_on=figure,
            trigger_mode="always_last",
        )
        offer(made, download)

    async def explain(
        self,
        photo: str | None,
        model: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # how Gradio is asked for one
    ) -> tuple[Any, str, str]:
        """Look inside: (the figure as PNG, the view, a line of what was done)."""
        labels, page = words(request), self.page
        if not photo:
            raise page_error(labels["no_photo"])
        try:
            with page.held(request) as held:
                job = Job(await page.read(photo, request, held), model, inside=True)
                answer = await page.cut(job, held, reporter(progress, labels, LOOK_STAGES))
                view = await asyncio.to_thread(html.figure, answer.data, labels)
                file = await page.file(answer.data, f"{stem(photo)}-inside.png", request)
        except WispError as error:
            raise page_error(error) from error
        return file, view, html.status(answer, labels, "inside_in")
