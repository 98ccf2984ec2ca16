"""The page: what is on it, and what is wired to what.

Every function has a named endpoint for ``gradio_client`` and ``@gradio/client``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from service.context import Context
from service.web import panes
from service.web.actions import Actions
from service.web.downloads import MODELS
from service.web.text import LANGUAGES

# The empty page is one text to the browser, which translates a value as a whole.
I18N: Any = gr.I18n(
    **{name: {**words, "empty": panes.empty(words)} for name, words in LANGUAGES.items()}
)
_WHITE = "#ffffff"
_VIEWS = ("compare", "cutout", "edge", "alpha", "roi", "beside")
_LOGO = (Path(__file__).parent / "icon.svg").read_text(encoding="utf-8")
_FONTS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Noto Sans", "sans-serif")


def theme() -> gr.themes.Base:
    """Quiet colours, the system's own fonts: nothing is fetched from anywhere."""
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.stone,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        font=_FONTS,
        font_mono=("ui-monospace", "monospace"),
    )
    return base.set(
        body_background_fill="#f6f5f1",
        body_background_fill_dark="#131514",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#1b1e1d",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1b1e1d",
        block_border_color="#e4e2da",
        block_border_color_dark="#2b302e",
        block_label_background_fill="#ffffff",
        block_label_background_fill_dark="#1b1e1d",
        body_text_color_subdued="#6b675f",
        body_text_color_subdued_dark="#a8a69f",
        block_info_text_color="#6b675f",
        block_info_text_color_dark="#a8a69f",
        block_shadow="none",
        color_accent="#0f766e",
        checkbox_background_color_selected="#0f766e",
        checkbox_background_color_selected_dark="#14b8a6",
        border_color_primary="#e4e2da",
        border_color_primary_dark="#2b302e",
        input_background_fill="#faf9f6",
        input_background_fill_dark="#232725",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_dark="#14b8a6",
        button_primary_background_fill_hover_dark="#2dd4bf",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#06201d",
        button_secondary_background_fill="#ece9e1",
        button_secondary_background_fill_hover="#e2dfd5",
        button_secondary_background_fill_dark="#2a2f2d",
        button_secondary_background_fill_hover_dark="#343a37",
        button_large_radius="10px",
        slider_color="#0f766e",
        slider_color_dark="#14b8a6",
    )


def build(context: Context, folder: Path) -> gr.Blocks:
    """Lay the page out over a context; ``folder`` takes the files that it hands out."""
    t = I18N
    actions = Actions(context, folder)
    day = 86400
    with gr.Blocks(
        title="Wisp", analytics_enabled=False, delete_cache=(600, day), fill_width=True
    ) as page:
        with gr.Row(elem_id="wisp-head", equal_height=True):
            gr.HTML(f'<a class="mark" href="/">{_LOGO}<b>Wisp</b></a>', padding=False)
            gr.HTML(t("tagline"), elem_id="wisp-tagline", padding=False)
            night = gr.Button("◐", elem_id="wisp-dark", size="sm", min_width=40, scale=0)
        night.click(None, js="() => window.wispDark()", api_visibility="private", queue=False)
        with gr.Tabs(elem_id="wisp-tabs"):
            with gr.Tab(t("single"), id="single"):
                _single(actions)
            with gr.Tab(t("batch"), id="batch"):
                _batch(actions)
            with gr.Tab(t("history"), id="history") as history:
                _history(actions, page, history)
            with gr.Tab(t("system"), id="system") as system:
                _system(actions, system)
    return page


def _wishes(actions: Actions, prefix: str) -> list[Any]:
    """What can be wished of a cutout; the same for one picture and for many."""
    t = I18N
    names = list(actions.engine.names())
    refine = gr.Checkbox(True, label=t("refine"), info=t("refine_info"), elem_id=f"{prefix}-refine")
    background = gr.Radio(
        [(t(name), name) for name in ("transparent", "colour", "picture", "blur")],
        value="transparent",
        label=t("background"),
        elem_id=f"{prefix}-background",
        elem_classes="segments",
    )
    colour = gr.ColorPicker(_WHITE, label=t("colour"), visible=False)
    picture = _as_path(
        gr.Image(
            type="filepath",
            label=t("picture"),
            sources=["upload"],
            visible=False,
            height=150,
            image_mode=None,
        )
    )
    format = gr.Radio(
        [("PNG", "png"), ("WebP", "webp"), ("JPG", "jpg"), (t("zip"), "zip")],
        value="png",
        label=t("format"),
        elem_id=f"{prefix}-format",
        elem_classes="segments",
    )
    with gr.Accordion(t("more"), open=False, elem_id=f"{prefix}-more"):
        model = gr.Dropdown(
            names, value=actions.engine.default, label=t("model"), allow_custom_value=True
        )
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


def _as_path(component: Any) -> Any:
    """Take an upload as it is: it is our reader that opens it, within our limits."""
    component.preprocess = lambda payload: payload.path if payload else None
    return component


def _single(actions: Actions) -> None:
    t = I18N
    with gr.Row(elem_classes="work"):
        with gr.Column(scale=4, min_width=300):
            photo = _as_path(
                gr.Image(
                    type="filepath",
                    label=t("photo"),
                    sources=["upload", "clipboard"],
                    placeholder=t("drop"),
                    height=280,
                    image_mode=None,
                    elem_id="wisp-photo",
                    buttons=["fullscreen"],
                )
            )
            wishes = _wishes(actions, "one")
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
    inputs = [photo, *wishes]
    outputs = [download, result, told]
    made = gr.on(
        [go.click, photo.upload],
        actions.cut,
        inputs,
        outputs,
        api_name="cut",
        api_description="Cut one picture out. Returns the file, the page's view, and a line.",
        show_progress_on=result,
        trigger_mode="always_last",
    )
    _offer(made, download)
    refine, model, _, colour, picture, crop, margin, format = wishes
    gr.on(
        [
            refine.input,
            model.input,
            wishes[2].input,
            colour.change,
            picture.upload,
            crop.input,
            margin.release,
            format.input,
        ],
        actions.again,
        inputs,
        outputs,
        api_visibility="private",
        show_progress_on=result,
        trigger_mode="always_last",
    )


def _offer(made: Any, button: gr.DownloadButton) -> None:
    """Let a button be pressed once there is a file behind it."""
    made.success(
        lambda: gr.update(interactive=True),
        None,
        button,
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )


def _batch(actions: Actions) -> None:
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
            wishes = _wishes(actions, "many")
            with gr.Row():
                go = gr.Button(t("run_batch"), variant="primary", size="lg", elem_id="wisp-batch")
                stop = gr.Button(t("stop"), size="lg", min_width=80, scale=0)
        with gr.Column(scale=7, min_width=300):
            table = gr.HTML("", elem_id="wisp-rows", padding=False)
            summary = gr.HTML("", elem_id="wisp-summary", padding=False)
            results = gr.DownloadButton(
                t("results"), variant="primary", elem_id="wisp-results", interactive=False
            )
    running = go.click(
        actions.batch,
        [files, *wishes],
        [results, table, summary],
        api_name="batch",
        api_description="Cut out several pictures, or those of a zip. Returns a zip.",
        show_progress_on=table,
        trigger_mode="once",
    )
    _offer(running, results)
    stop.click(None, cancels=[running], api_visibility="private")


def _history(actions: Actions, page: gr.Blocks, tab: gr.Tab) -> None:
    t = I18N
    chosen = gr.Textbox(visible=False)
    names = gr.JSON(visible=False)
    gallery = gr.Gallery(
        show_label=False,
        columns=4,
        height="auto",
        object_fit="contain",
        allow_preview=False,
        elem_id="wisp-history",
        interactive=False,
        buttons=[],
    )
    told = gr.HTML("", elem_id="wisp-chosen", padding=False)
    with gr.Row():
        download = gr.DownloadButton(t("download"), interactive=False, elem_id="wisp-fetch")
        delete = gr.Button(t("delete"), interactive=False, elem_id="wisp-delete")
        refresh = gr.Button(t("refresh"), elem_id="wisp-refresh")
    shown = [gallery, names, told, download, delete]
    gr.on([tab.select, refresh.click, page.load], actions.history, None, shown, api_name="history")
    gallery.select(
        actions.choose, names, [chosen, told, download, delete], api_visibility="private"
    )
    fetch = gr.Button(visible=False)
    fetch.click(actions.fetch, chosen, download, api_name="history_file")
    delete.click(actions.delete, chosen, shown, api_name="history_delete")


def _system(actions: Actions, tab: gr.Tab) -> None:
    t = I18N
    facts = gr.HTML("", elem_id="wisp-facts", padding=False)
    with gr.Row(equal_height=True):
        refresh = gr.Button(t("refresh"))
        diagnose = gr.Button(t("diagnose"), elem_id="wisp-diagnose")
    findings = gr.Textbox(
        show_label=False, lines=3, max_lines=30, interactive=False, elem_id="wisp-findings"
    )
    with gr.Row(equal_height=True, visible=not actions.settings.public):
        model = gr.Dropdown(list(MODELS), value=next(iter(MODELS)), label=t("get_model"))
        get = gr.Button(t("get"), elem_id="wisp-get")
    gr.on([tab.select, refresh.click], actions.system, None, facts, api_name="system")
    diagnose.click(actions.diagnose, None, findings, api_name="diagnose")
    get.click(actions.get_model, model, facts, api_name="get_model")
