"""What can be options of a cutout: its controls, and how they are understood."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from pipeline import Output
from pipeline.background import FITS, Gradient
from pipeline.id_photo import ID_PHOTOS
from pipeline.output import colour
from pipeline.selection import EVERYTHING, Selection
from pipeline.sizes import presets
from service.budget import Hold
from service.errors import BadRequest
from service.web.common import I18N, PageContext

_WHITE, _GREY = "#ffffff", "#c8d0d8"
_NONE = (255, 255, 255)
_BACKGROUNDS = ("transparent", "colour", "picture", "blur", "gradient")
_CORNERS = ("top", "center", "bottom")

#: The values of the controls, by their names.
Options = dict[str, Any]


def controls(page: PageContext, prefix: str) -> dict[str, Any]:
    """Lay out the controls; the same for one picture and for many. Returns them by their names,
    in the order that endpoints take them in.

    One function: it is a list, from top to bottom as on the page."""
    t = I18N
    refine = gr.Checkbox(True, label=t("refine"), info=t("refine_info"), elem_id=f"{prefix}-refine")
    background = gr.Radio(
        [(t(name), name) for name in _BACKGROUNDS],
        value="transparent",
        label=t("background"),
        elem_id=f"{prefix}-background",
        elem_classes="segments",
    )
    colour = gr.ColorPicker(_WHITE, label=t("colour"), visible=False, elem_id=f"{prefix}-colour")
    second = gr.ColorPicker(_GREY, label=t("second_colour"), visible=False)
    picture = gr.Image(
        type="filepath",
        label=t("picture"),
        sources=["upload"],
        visible=False,
        height=150,
        image_mode=None,
        elem_id=f"{prefix}-picture",
    )
    # Words by other names than the values: in what was hidden Gradio translates those too.
    fit = gr.Radio(
        [(t(f"laid_{name}"), name) for name in FITS],
        value=FITS[0],
        label=t("laid"),
        visible=False,
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
        more = _more(prefix)
    background.change(
        lambda kind: [
            gr.update(visible=kind in ("colour", "gradient")),
            gr.update(visible=kind == "gradient"),
            gr.update(visible=kind == "picture"),
            gr.update(visible=kind == "picture"),
        ],
        background,
        [colour, second, picture, fit],
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
    return {
        "refine": refine,
        "model": model,
        "background": background,
        "colour": colour,
        "picture": picture,
        "crop": crop,
        "margin": margin,
        "format": format,
        "second_colour": second,
        "fit": fit,
        **more,
    }


def _more(prefix: str) -> dict[str, Any]:
    """Lay out what few need."""
    t = I18N
    return {
        "scale": gr.Slider(0, 100, 0, step=5, label=t("scale")),
        "position": gr.Dropdown(
            [(t(f"at_{name}"), name) for name in ("original", *_CORNERS)],
            value="original",
            label=t("position"),
            elem_id=f"{prefix}-position",
        ),
        "shadow": gr.Slider(0, 1, 0, step=0.05, label=t("shadow")),
        "size": gr.Dropdown(
            [(t("no_size"), ""), *((name, name) for name in presets())],
            value="",
            label=t("size"),
            allow_custom_value=True,
            elem_id=f"{prefix}-size",
        ),
        "id_photo": gr.Dropdown(
            [(t("no_id_photo"), ""), *((name, name) for name in ID_PHOTOS)],
            value="",
            label=t("id_photo"),
            elem_id=f"{prefix}-id",
        ),
        "quality": gr.Slider(0, 100, 0, step=1, label=t("quality")),
        "linear": gr.Checkbox(False, label=t("linear")),
        "opaque": gr.Checkbox(False, label=t("opaque")),
        "binary": gr.Checkbox(False, label=t("binary")),
        "only_mask": gr.Checkbox(False, label=t("only_mask"), elem_id=f"{prefix}-mask"),
        "largest": gr.Checkbox(False, label=t("largest"), elem_id=f"{prefix}-largest"),
        "filled": gr.Checkbox(False, label=t("filled"), elem_id=f"{prefix}-filled"),
    }


def changes(controls: dict[str, Any]) -> list[Callable[..., Any]]:
    """Return the events that say that an option was changed by hand."""
    events: dict[Any, str] = {gr.ColorPicker: "change", gr.Image: "upload", gr.Slider: "release"}
    return [getattr(one, events.get(type(one), "input")) for one in controls.values()]


def gathered(
    function: Callable[..., Any], first: str, names: tuple[str, ...], *rest: str
) -> Callable[..., Any]:
    """Make ``function(first, options, *rest, request, progress)`` one that takes each control by
    itself, as Gradio calls it and describes it to its clients."""

    def arguments(values: tuple[Any, ...]) -> list[Any]:
        photo, *more = values
        count = len(names)
        return [photo, dict(zip(names, more[:count], strict=True)), *more[count:]]

    if inspect.isasyncgenfunction(function):

        async def called(*values: Any) -> Any:
            async for step in function(*arguments(values)):
                yield step

    else:

        async def called(*values: Any) -> Any:  # type: ignore[misc]
            return await function(*arguments(values))

    plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, plain) for name in (first, *names, *rest, "request")]
    parameters.append(inspect.Parameter("progress", plain, default=gr.Progress()))
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {"request": gr.Request}
    called.__name__ = function.__name__
    return called


def model_choice(page: PageContext, elem_id: str) -> gr.Dropdown:
    """Lay out the choice of stage 1. What is downloaded later can be typed."""
    return gr.Dropdown(
        list(page.engine.names()),
        value=page.engine.default,
        label=I18N("model"),
        allow_custom_value=True,
        elem_id=elem_id,
    )


async def output(page: PageContext, options: Options, request: gr.Request, held: Hold) -> Output:
    """Understand the controls. Raises :class:`pipeline.WispError` for what cannot be."""
    o = options
    size, lossy = float(o["scale"] or 0), o["format"] in ("webp", "jpg", "zip")
    behind = await _behind(page, options, request, held)
    return Output(
        format=o["format"],
        quality=int(o["quality"]) if o["quality"] and lossy else None,
        background=behind,
        fit=o["fit"],
        shadow=float(o["shadow"]),
        linear=bool(o["linear"]) and behind is not None,
        size=o["size"] or None,
        id_photo=o["id_photo"] or None,
        crop=bool(o["crop"]),
        margin=f"{float(o['margin']):g}%" if o["crop"] else Output.margin,
        scale=max(0.1, size / 100) if size else None,
        position=_position(o["position"]),
        only_mask=bool(o["only_mask"]),
        binary=bool(o["binary"]),
        opaque=bool(o["opaque"]),
    )


def selection(options: Options, wanted: Selection = EVERYTHING) -> Selection:
    """Add to a selection which pieces of what was found are kept, and whether it may have holes."""
    return replace(
        wanted,
        keep="largest" if options["largest"] else "all",
        holes="fill" if options["filled"] else "keep",
    )


async def _behind(page: PageContext, options: Options, request: gr.Request, held: Hold) -> Any:
    kind, text = options["background"], options["colour"]
    if kind not in _BACKGROUNDS:
        raise BadRequest(f"background must be one of {', '.join(_BACKGROUNDS)}")
    if kind == "blur":
        return "blur"
    if kind == "colour":
        return colour(text)
    if kind == "gradient":
        start, end = colour(text) or _NONE, colour(options["second_colour"]) or _NONE
        return Gradient(start[:3], end[:3])
    if kind == "picture":
        if not options["picture"]:
            raise BadRequest("choose a picture for the background")
        return await page.read(options["picture"], request, held)
    return None


def _position(name: str) -> tuple[float, float] | None:
    if name == "original":
        return None
    if name not in _CORNERS:
        raise BadRequest(f"position must be one of original, {', '.join(_CORNERS)}")
    return 0.5, _CORNERS.index(name) / 2
