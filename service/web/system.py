"""The tab that tells what runs here."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import gradio as gr

from pipeline import doctor, models
from pipeline.errors import WispError
from pipeline.models import DECODERS, PUBLIC, store
from service.monitoring import memory
from service.web import html
from service.web.common import I18N, PageContext, page_error, words


class System:
    """Shows models, memory and versions; diagnoses; downloads models."""

    def __init__(self, page: PageContext) -> None:
        self.page = page

    def lay_out(self, tab: gr.Tab) -> None:
        t = I18N
        facts = gr.HTML("", elem_id="wisp-facts", padding=False)
        with gr.Row(equal_height=True):
            refresh = gr.Button(t("refresh"))
            diagnose = gr.Button(t("diagnose"), elem_id="wisp-diagnose")
        findings = gr.Textbox(
            show_label=False, lines=3, max_lines=30, interactive=False, elem_id="wisp-findings"
        )
        with gr.Row(equal_height=True, visible=not self.page.settings.public):
            choices = [
                (f"{name} · {store.megabytes(card.length)} · {card.licence}", name)
                for name, card in PUBLIC.items()
                if name not in DECODERS
            ]
            model = gr.Dropdown(choices, value=choices[0][1], label=t("get_model"))
            get = gr.Button(t("get"), elem_id="wisp-get")
        gr.on([tab.select, refresh.click], self.system, None, facts, api_name="system")
        diagnose.click(self.diagnose, None, findings, api_name="diagnose")
        get.click(self.get_model, model, facts, api_name="get_model")

    async def system(self, request: gr.Request) -> str:
        """Describe what runs here."""
        labels = words(request)
        return await asyncio.to_thread(self._facts, labels)

    def _facts(self, labels: dict[str, str]) -> str:
        page, context = self.page, self.page.context
        loaded, known = page.engine.loaded(), page.engine.names()
        groups: list[tuple[str, list[tuple[str, Any]]]] = []
        shown: list[tuple[str, Any]] = []
        for name, model in known.items():
            card = models.coarse_model(model)
            state = labels["loaded" if name in loaded else "not_loaded"]
            shown.append((name, f"{state} · {card.path.stat().st_size / 1e6:.1f} MB"))
            shown.append((labels["checksum"], models.checksum(card.path)))
            shown.append((labels["licence"], card.licence))
        refiner = models.refiner_model(self.page.settings.refiner)
        size = refiner.path.stat().st_size / 1e6
        shown.append((f"stage 2: {refiner.path.stem}", f"{size:.1f} MB"))
        shown.append((labels["checksum"], models.checksum(refiner.path)))
        shown += [(name, labels["not_here"]) for name in PUBLIC if name not in {*known, *DECODERS}]
        groups.append((labels["models"], shown))
        count, kept = context.results.used()
        resident, peak = memory()
        queue = context.queue
        groups.append(
            (
                labels["system"],
                [
                    (labels["memory"], f"{resident / 1e6:.0f} MB ({peak / 1e6:.0f} MB)"),
                    (labels["up"], f"{(time.time() - context.started) / 3600:.1f} h"),
                    (
                        labels["queue"],
                        f"{queue.running} + {queue.queued} / {self.page.settings.queue}",
                    ),
                    (labels["cache"], f"{self._cache()} · {queue.cache.state}"),
                    (labels["kept"], f"{count} · {kept / 1e6:.1f} MB"),
                ],
            )
        )
        if not self.page.settings.public:
            groups.append((labels["versions"], list(doctor.versions().items())))
        return html.facts(groups)

    def _cache(self) -> str:
        # A Redis URL may hold a password.
        return self.page.settings.cache.partition(":")[0]

    async def diagnose(self, request: gr.Request) -> str:
        """Look at everything, as ``wisp doctor`` does."""
        if self.page.settings.public:
            raise page_error("this is for the owner of the server: wisp doctor")
        findings = await asyncio.to_thread(doctor.examine)
        return doctor.describe(findings)

    async def get_model(
        self,
        name: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> str:
        """Download a model that is not bundled."""
        if self.page.settings.public:
            raise page_error("this is for the owner of the server")
        if name not in PUBLIC:
            raise page_error(f"no such model: one of {', '.join(PUBLIC)}")

        def report(done: int, length: int) -> None:
            progress(done / length, desc=name)

        try:
            for half in filter(None, (name, PUBLIC[name].decoder)):
                await asyncio.to_thread(store.fetch, half, True, report)
        except WispError as error:
            raise page_error(str(error)) from error
        gr.Info(words(request)["got"].format(name=name))
        return await self.system(request)
