"""The tab for a short clip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from pipeline.errors import WispError
from service.clips.job import ClipJob
from service.clips.wish import MEDIA, Wish
from service.errors import BadRequest, ServiceError
from service.web import html
from service.web.common import I18N, PageContext, offer, page_error, words
from service.web.options_form import model_choice

_OFTEN = 0.5  # seconds between two looks at how far it is
_BACKGROUNDS = ("transparent", "colour", "behind", "blur")


class ClipTab:
    """Cuts one clip out, and shows how far it is."""

    def __init__(self, page: PageContext) -> None:
        self.page, self.clips = page, page.context.clips

    def lay_out(self) -> None:
        """Lay out the tab; where no clips are taken, why."""
        try:
            self.clips.check()
        except WispError:
            gr.HTML(I18N("clip_off"), padding=False)
            return
        t = I18N
        with gr.Row(elem_classes="work"):
            with gr.Column(scale=4, min_width=300):
                clip = gr.File(label=t("clip"), type="filepath", height=160, elem_id="wisp-clip")
                background = gr.Radio(
                    [(t(name), name) for name in _BACKGROUNDS],
                    value="transparent",
                    label=t("background"),
                    elem_id="clip-background",
                    elem_classes="segments",
                )
                colour = gr.ColorPicker("#ffffff", label=t("colour"), visible=False)
                behind = gr.File(label=t("behind"), type="filepath", height=120, visible=False)
                format = gr.Radio(
                    [(name.upper(), name) for name in MEDIA],
                    value=Wish.format,
                    label=t("format"),
                    elem_id="clip-format",
                    elem_classes="segments",
                )
                with gr.Accordion(t("more"), open=False, elem_id="clip-more"):
                    refine = gr.Checkbox(True, label=t("refine"), info=t("refine_info"))
                    only_mask = gr.Checkbox(False, label=t("only_mask"))
                    model = model_choice(self.page, "clip-model")
                with gr.Row():
                    go = gr.Button(t("cut"), variant="primary", size="lg", elem_id="clip-cut")
                    stop = gr.Button(t("stop"), size="lg", min_width=80, scale=0)
            with gr.Column(scale=7, min_width=300):
                result = gr.HTML(t("clip_empty"), elem_id="clip-view", padding=False)
                status = gr.HTML("", elem_id="clip-status", padding=False)
                download = gr.DownloadButton(
                    t("download"), variant="primary", elem_id="clip-download", interactive=False
                )
        background.change(
            lambda kind: [gr.update(visible=kind == "colour"), gr.update(visible=kind == "behind")],
            background,
            [colour, behind],
            api_visibility="private",
            queue=False,
            show_progress="hidden",
        )
        running = go.click(
            self.cut,
            [clip, background, colour, behind, format, refine, only_mask, model],
            [download, result, status],
            api_name="clip",
            api_description="Cut a clip out. Returns the file, the page's view of it, and a line.",
            show_progress_on=result,
            trigger_mode="once",
        )
        offer(running, download)
        stop.click(None, cancels=[running], api_visibility="private")

    async def cut(
        self,
        clip: str | None,
        background: str,
        colour: str,
        behind: str | None,
        format: str,
        refine: bool,
        only_mask: bool,
        model: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # how Gradio is asked for one
    ) -> AsyncIterator[tuple[Any, Any, str]]:
        """Cut a clip out: (the file, the view, a line of how far it is)."""
        labels, page = words(request), self.page
        if not clip:
            raise page_error(labels["no_clip"])
        job = None
        try:
            painted = _background(background, colour, behind)
            wish = Wish(
                format, painted, only_mask=bool(only_mask), model=model or "", refine=bool(refine)
            )
            job = await self.clips.add(
                wish,
                clip,
                behind if background == "behind" else None,
                page.client(request),
                page.keeper(request),
            )
            while job.active:
                _show(job, labels, progress)
                yield gr.skip(), gr.skip(), html.clip_status(job, labels)
                assert job.task
                await asyncio.wait({job.task}, timeout=_OFTEN)
            if job.problem:
                told = job.problem
                raise ServiceError(told.message, code=told.code, status=told.status)
        except WispError as error:
            raise page_error(error) from error
        finally:  # whoever stopped it, or went, wants no more of it
            if job and job.state != "done":
                await self.clips.drop(job)
        yield str(job.file), html.clip(job, labels), html.clip_status(job, labels)


def _background(kind: str, colour: str, behind: str | None) -> str:
    if kind not in _BACKGROUNDS:
        raise BadRequest(f"background must be one of {', '.join(_BACKGROUNDS)}")
    if kind == "behind" and not behind:
        raise BadRequest("choose a picture or a clip for the background")
    return {"colour": colour, "behind": Wish.background}.get(kind, kind)


def _show(job: ClipJob, labels: dict[str, str], progress: gr.Progress) -> None:
    if job.of:
        progress((job.frames, job.of), desc=labels["cut"], unit=labels["frames"])
    else:
        progress(0.0, desc=labels["stage_wait"] if job.state == "waiting" else labels["clip_opens"])
