"""The page: a tab for each thing to do.

Every function has a named endpoint for ``gradio_client`` and ``@gradio/client``.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from service.context import Context
from service.web.batch import Batch
from service.web.clip import ClipTab
from service.web.common import I18N, PageContext
from service.web.history import History
from service.web.inspection import Inside
from service.web.single import Single
from service.web.system import System

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


def build(context: Context) -> gr.Blocks:
    """Lay the page out over a context."""
    t = I18N
    page = PageContext(context)
    history = History(page)
    with gr.Blocks(title="Wisp", analytics_enabled=False, fill_width=True) as blocks:
        with gr.Row(elem_id="wisp-head", equal_height=True):
            gr.HTML(f'<a class="mark" href="/">{_LOGO}<b>Wisp</b></a>', padding=False)
            gr.HTML(t("tagline"), elem_id="wisp-tagline", padding=False)
            night = gr.Button("◐", elem_id="wisp-dark", size="sm", min_width=40, scale=0)
        night.click(None, js="() => window.wispDark()", api_visibility="private", queue=False)
        with gr.Tabs(elem_id="wisp-tabs"):
            with gr.Tab(t("single"), id="single", elem_id="tab-single"):
                Single(page, history).lay_out()
            with gr.Tab(t("batch"), id="batch", elem_id="tab-batch"):
                Batch(page).lay_out()
            with gr.Tab(t("clip"), id="clip", elem_id="tab-clip"):
                ClipTab(page).lay_out()
            with gr.Tab(t("inside"), id="inside", elem_id="tab-inside"):
                Inside(page).lay_out()
            with gr.Tab(t("history"), id="history", elem_id="tab-history") as earlier:
                history.lay_out(blocks, earlier)
            with gr.Tab(t("system"), id="system", elem_id="tab-system") as system:
                System(page).lay_out(system)
    return blocks
