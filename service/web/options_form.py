"""What can be options of a cutout: its controls, and how they are understood."""

from __future__ import annotations

from typing import Any

import gradio as gr

from pipeline import Output
from pipeline.output import colour
from service.budget import Hold
from service.errors import BadRequest
from service.web.common import I18N, PageContext

_WHITE = "#ffffff"


def controls(page: PageContext, prefix: str) -> list[Any]:
    """Lay out the controls; the same for one picture and for many.

    Returns them in the order of the arguments that every function with options has: refine, model,
    background, colour_, picture, crop, margin, format.
    """
    t = I18N
    refine = gr.Checkbox(True, label=t("refine"), info=t("refine_info"), elem_id=f"{prefix}-refine")
    background = gr.Radio(
        [(t(name), name) for name in ("transparent", "colour", "picture", "blur")],
        value="transparent",
        label=t("background"),
        elem_id=f"{prefix}-background",
        elem_classes="segments",
    )
    colour = gr.ColorPicker(_WHITE, label=t("colour"), visible=False)
    picture = gr.Image(
        type="filepath",
        label=t("picture"),
        sources=["upload"],
        visible=False,
        height=150,
        image_mode=None,
    )
    format = gr.Radio(
        [("PNG", "png"), ("WebP", "webp"), ("JPG", "jpg"), (t("zip"), "zip")],
        value="png",
        label=t("format"),
        elem_id=f"{prefix}-format",
        elem_classes="segments",
    )
    with gr.Accordion(t("more"), open=False, elem_id=f"{prefix}-more"):
        model = model_choice(page, f"{prefix}-model")
        crop = gr.Checkbox(False, label=t("crop"), elem_id=f"{prefix}-crop")
        margin = gr.Slider(0, 50, 5, step=1, label=t("margin"))
    background.change(
        lambda kind: (gr.update(visible=kind == "colour"), gr.update(visible=kind == "picture")),
        background,
        [colour, picture],
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
    return [refine, model, background, colour, picture, crop, margin, format]


def model_choice(page: PageContext, elem_id: str) -> gr.Dropdown:
    """Lay out the choice of stage 1. What is downloaded later can be typed."""
    return gr.Dropdown(
        list(page.engine.names()),
        value=page.engine.default,
        label=I18N("model"),
        allow_custom_value=True,
        elem_id=elem_id,
    )


async def output(
    page: PageContext,
    background: str,
    colour_: str,
    picture: str | None,
    crop: bool,
    margin: float,
    format: str,
    request: gr.Request,
    held: Hold,
) -> Output:
    """Understand the controls. Raises :class:`pipeline.WispError` for what cannot be."""
    behind: Any = None
    if background == "blur":
        behind = "blur"
    elif background == "colour":
        behind = colour(_hex(colour_))
    elif background == "picture":
        if not picture:
            raise BadRequest("choose a picture for the background")
        behind = await page.read(picture, request, held)
    elif background != "transparent":
        raise BadRequest("background must be transparent, colour, picture or blur")
    return Output(format=format, background=behind, crop=crop, margin=f"{float(margin):g}%")


def _hex(text: str) -> str:
    """Understand what a colour picker says: #hex, or rgba(…) with fractions."""
    inside = text.strip().lower()
    if inside.startswith("rgb") and "." in inside:
        parts = inside[inside.index("(") + 1 : inside.rindex(")")].split(",")
        return "#" + "".join(f"{max(0, min(255, round(float(p)))):02x}" for p in parts[:3])
    return text
