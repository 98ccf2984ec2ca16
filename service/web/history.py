"""The tab of earlier results."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from functools import partial
from typing import Any

import gradio as gr

from service.errors import Busy, StorageFull
from service.job import Answer, Job
from service.result_store import Kept
from service.web import html
from service.web.common import I18N, PageContext, page_error, stem, words


class History:
    """Keeps results, lists them, hands them out again, and deletes them."""

    def __init__(self, page: PageContext) -> None:
        self.page, self.results = page, page.context.results

    def lay_out(self, page: gr.Blocks, tab: gr.Tab) -> None:
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
        details = gr.HTML("", elem_id="wisp-chosen", padding=False)
        with gr.Row():
            download = gr.DownloadButton(t("download"), interactive=False, elem_id="wisp-fetch")
            delete = gr.Button(t("delete"), interactive=False, elem_id="wisp-delete")
            refresh = gr.Button(t("refresh"), elem_id="wisp-refresh")
        shown = [gallery, names, details, download, delete]
        gr.on([tab.select, refresh.click, page.load], self.history, None, shown, api_name="history")
        gallery.select(
            self.choose, names, [chosen, details, download, delete], api_visibility="private"
        )
        fetch = gr.Button(visible=False)
        fetch.click(self.fetch, chosen, download, api_name="history_file")
        delete.click(self.delete, chosen, shown, api_name="history_delete")

    async def remember(
        self, request: gr.Request, answer: Answer, shown: bytes, title: str, job: Job
    ) -> None:
        owner = self.page.owner(request)
        if not owner or not self.page.settings.history_days:
            return
        facts = {
            "title": title,
            "width": answer.width,
            "height": answer.height,
            "model": answer.model,
            "refined": answer.refined,
            "crop": job.output.crop,
            "seconds": answer.seconds["total"],
            "key": job.key,
            "photo": job.photo,
        }
        hours = self.page.settings.history_days * 24
        # A full disk, or a database that is busy, costs the history, and not the result.
        with contextlib.suppress(StorageFull, Busy):
            latest = await asyncio.to_thread(self.results.list, owner, 1)
            if latest and latest[0].facts.get("key") == job.key:
                return  # asked for again, not made again
            thumb = await asyncio.to_thread(html.thumbnail, shown)
            payer = self.page.client(request)
            await asyncio.to_thread(
                self.results.add, answer.data, answer.format, hours, owner, facts, thumb, payer
            )
            if latest and latest[0].facts.get("photo") == job.photo:  # one entry a photo
                await asyncio.to_thread(self.results.delete, latest[0].name, owner)

    async def history(self, request: gr.Request) -> tuple[Any, Any, str, Any, Any]:
        """List earlier results: (pictures, what is known of them, a hint, no file, no button)."""
        labels, owner = words(request), self.page.owner(request)
        kept = await asyncio.to_thread(self.results.list, owner) if owner else []
        images = await asyncio.to_thread(self._images, kept, request)
        names = [
            {"name": e.name, "format": e.format, "bytes": e.size, "made": e.made, **e.facts}
            for e in kept
        ]
        if not owner:
            hint = labels["history_off"]
        elif kept:
            hint = labels["history_hint"]
        else:
            hint = labels["history_empty"].format(days=f"{self.page.settings.history_days:g}")
        off = gr.update(interactive=False)
        return (
            images,
            names,
            f'<p class="status">{hint}</p>',
            gr.update(value=None, interactive=False),
            off,
        )

    def _images(self, kept: list[Kept], request: gr.Request) -> list[tuple[str, str]]:
        """Return thumbnails and captions. As files of ours: Gradio would write its own anew at each
        look, under the eyes of a browser that still reads them."""
        return [
            (
                self.page.lasting(_thumb(e.name), partial(html.on_checker, e.thumb), request),
                html.caption(e),
            )
            for e in kept
        ]

    async def choose(
        self, names: list[dict[str, Any]], event: gr.SelectData, request: gr.Request
    ) -> tuple[str, str, Any, Any]:
        """Show one of the history."""
        labels = words(request)
        entry = names[int(event.index)]
        file = await self.fetch(entry["name"], request)
        made = datetime.fromtimestamp(entry["made"]).strftime("%Y-%m-%d %H:%M")
        facts = [
            (labels["name"], entry.get("title", "")),
            (labels["time"], f"{made} · {entry.get('seconds', 0):.2f} s"),
            ("px", f"{entry.get('width')} × {entry.get('height')}"),
            (labels["format"], f"{entry['format']} · {entry['bytes'] / 1e6:.2f} MB"),
            (labels["model"], entry.get("model", "")),
            (labels["refine"], "✓" if entry.get("refined") else "–"),
        ]
        return (
            entry["name"],
            html.facts([("", facts)]),
            gr.update(value=file, interactive=True),
            gr.update(interactive=True),
        )

    async def fetch(self, name: str, request: gr.Request) -> str:
        """Return the file of an earlier result."""
        kept = await asyncio.to_thread(self.results.get, str(name))
        if kept is None or not kept.owner or kept.owner != self.page.owner(request):
            raise page_error(words(request)["gone"])
        title = stem(str(kept.facts.get("title", "wisp")))
        return await self.page.file(kept.data, f"{title}-cutout.{kept.format}", request)

    async def delete(self, name: str, request: gr.Request) -> tuple[Any, Any, str, Any, Any]:
        """Delete an earlier result, and list what is left."""
        owner = self.page.owner(request)
        if not owner or not await asyncio.to_thread(self.results.delete, str(name), owner):
            raise page_error(words(request)["gone"])
        await asyncio.to_thread(self.page.files.remove, self.page.files.folder / _thumb(str(name)))
        gr.Info(words(request)["deleted"])
        return await self.history(request)


def _thumb(name: str) -> str:
    return f"{name}.webp"
