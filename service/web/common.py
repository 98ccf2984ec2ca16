"""What the tabs of the page have in common."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.errors import WispError
from pipeline.files import write
from service.auth import client
from service.body_limit import check_size
from service.budget import Hold
from service.context import Context
from service.errors import problem
from service.files import keeper, visitor
from service.job import STAGES, Answer, Job
from service.web import html
from service.web.text import LANGUAGES, language

# An empty view is one text to the browser, which translates a value as a whole.
I18N: Any = gr.I18n(
    **{
        name: {
            **labels,
            "empty": html.empty(labels["empty_title"], labels["empty_text"]),
            "editor": html.editor(labels),
            "inside_empty": html.empty(labels["inside_title"], labels["inside_text"]),
            "clip_off": html.empty(labels["clip_none"], labels["clip_why"]),
            "clip_empty": html.empty(labels["clip_title"], labels["clip_text"]),
        }
        for name, labels in LANGUAGES.items()
    }
)


class PageContext:
    """Reads what a visitor sent, and hands out what was made of it."""

    def __init__(self, context: Context) -> None:
        """Take the service."""
        self.context, self.files = context, context.files
        self.settings, self.engine, self.queue = context.settings, context.engine, context.queue

    def held(self, request: gr.Request) -> Hold:
        """Hold nothing yet of the memory that whoever asks may take: see :meth:`read`."""
        return self.context.memory.hold(self.client(request))

    async def read(self, path: str, request: gr.Request, held: Hold) -> bytes:
        """Return the bytes of an upload of whoever asks, once there is room for them in memory.

        Raises where it is empty or too large, and where there is no room.
        """
        return await asyncio.to_thread(self._read, path, self.keeper(request), held)

    def _read(self, path: str, keeper: str, held: Hold) -> bytes:
        held.grow(min(self.files.size(path, keeper), self.settings.max_bytes))
        with self.files.opened(path, keeper) as stream:
            return check_size(stream.read(self.settings.max_bytes + 1), self.settings)

    async def cut(
        self, job: Job, held: Hold, report: Callable[[str, float], None] | None = None
    ) -> Answer:
        """Do a job, and hold what came of it too."""
        answer = await self.queue.cut(job, report)
        held.grow(len(answer.data) + sum(map(len, answer.previews.values())))
        return answer

    async def file(self, data: bytes, name: str, request: gr.Request) -> str:
        """Write a file that the page hands out to whoever asks."""

        def write() -> str:
            with self.writing(name, request) as (path, room):
                self.files.grow(room, len(data))
                path.write_bytes(data)
            return str(path)

        return await asyncio.to_thread(write)

    @contextlib.contextmanager
    def writing(self, name: str, request: gr.Request) -> Iterator[tuple[Path, Hold]]:
        """Give the path of a new file, and the room that it has to hold before it is written.

        At the end of the ``with`` it is handed out to whoever asks, or gone where that failed.
        """
        folder, room = self.files.begin(self.client(request))
        path = folder / name
        try:
            yield path, room
        except BaseException:
            self.files.remove(path)
            room.release()
            raise
        self.files.add(path, self.keeper(request), room)

    def lasting(self, name: str, make: Callable[[], bytes], request: gr.Request) -> str:
        """Return a file that is always the same, and make it where it is not there.

        It is whole at once and never written again: a browser may be reading it.
        """
        path = self.files.folder / name
        room = self.files.room(self.client(request))
        try:
            if path.exists():
                self.files.grow(room, path.stat().st_size)
            else:
                data = make()
                self.files.grow(room, len(data))
                write(path, data)
        except BaseException:
            room.release()
            raise
        return self.files.add(path, self.keeper(request), room)

    def client(self, request: gr.Request) -> str:
        """Name the client whose memory and disk a request takes: its key, or its address."""
        return client(request.request.scope if request.request else {})

    def keeper(self, request: gr.Request) -> str:
        """Name whose files they are that whoever asks sends and is given."""
        return keeper(request.headers, self.client(request), self.settings.public)

    def owner(self, request: gr.Request) -> str:
        """Name whose history it is: everyone's on a machine of one's own, else the browser's."""
        return visitor(request.headers) if self.settings.public else "everyone"


def words(request: gr.Request) -> dict[str, str]:
    """Choose the words for whoever asks."""
    return language(request.headers.get("accept-language", "") if request else "")


def page_error(error: WispError | str) -> gr.Error:
    """Say an error on the page, and nothing in the log."""
    labels = error if isinstance(error, str) else problem(error).message
    return gr.Error(labels, print_exception=False)


def reporter(
    progress: gr.Progress, labels: dict[str, str], stages: Mapping[str, float] = STAGES
) -> Callable[[str, float], None]:
    """Report a job's stages, from its thread, to the page."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    ends = dict(zip(stages, [*list(stages.values())[1:], 1.0], strict=True))

    def show(stage: str, share: float) -> None:
        done = stages[stage] + share * (ends[stage] - stages[stage])
        progress(done, desc=labels[f"stage_{stage}"])

    context.run(show, "wait", 0.0)

    def report(stage: str, share: float) -> None:
        loop.call_soon_threadsafe(show, stage, share, context=context)

    return report


def stem(path: str) -> str:
    """Make a file name of a title: letters, digits, and what joins them."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(path).stem)
    return name.strip(".-")[:60] or "picture"


def photo_box(elem_id: str, height: int) -> Any:
    """Lay out where a photo is dropped, pasted or chosen."""
    return gr.Image(
        type="filepath",
        label=I18N("photo"),
        sources=["upload", "clipboard"],
        placeholder=I18N("drop"),
        height=height,
        image_mode=None,
        elem_id=elem_id,
        buttons=["fullscreen"],
    )


def offer(made: Any, button: gr.DownloadButton) -> None:
    """Let a button be pressed once there is a file behind it."""
    made.success(
        lambda: gr.update(interactive=True),
        None,
        button,
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
