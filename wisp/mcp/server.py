"""The tools, and the server that offers them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio.from_thread
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, ListRoots, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, InputRequiredResult, ListRootsResult, ToolAnnotations
from pydantic import Field

from pipeline import Cutout, Output, Settings, WispError, __version__, image_io
from pipeline.errors import ModelMissing, SettingsError, quoted
from pipeline.models import listing
from pipeline.output import Layer, format_of, paint
from pipeline.sizes import SHOPS
from wisp.mcp.answers import Cut, Network, write
from wisp.mcp.folders import Folders, of_roots

_STAGES = ("read", "coarse", "roi", "refine", "colour")
_INSTRUCTIONS = """\
Wisp removes the background of photos, on this machine. Files go in and out by path. Look at the
preview: where the subject is incomplete or another one, call cut again with a box or with points.\
"""

Photo = Annotated[str, Field(description="The photo's path.")]
Out = Annotated[
    str | None,
    Field(description="Where the result goes; its ending chooses: .png, .webp, .jpg, .tiff."),
]
Overwrite = Annotated[bool, Field(description="Write over a file that is there.")]
Box = Annotated[
    tuple[float, float, float, float] | None,
    Field(description="x0, y0, x1, y1: nothing outside stays. 0..1 are shares, else whole pixels."),
]
Points = list[tuple[float, float]] | None


def _ask_roots(ctx: Context) -> ListRoots | ListRootsResult:
    """Ask the client for its folders, if it knows of any."""
    able = ctx.client_capabilities
    return ListRoots() if able and able.roots else ListRootsResult(roots=[])


Roots = Annotated[ListRootsResult, Resolve(_ask_roots)]


class Tools:
    """What an agent may call. One photo at a time: each takes all cores anyway."""

    def __init__(self, limits: Sequence[Path]) -> None:
        self._limits = tuple(limits)
        self._turn = threading.Lock()

    def cut(
        self,
        ctx: Context,
        roots: Roots,
        photo: Photo,
        out: Out = None,
        background: Annotated[
            str | None,
            Field(description="A colour, blur, gradient:white,#c8d0d8, or a picture's path."),
        ] = None,
        crop: Annotated[bool, Field(description="Cut the picture down to the subject.")] = False,
        size: Annotated[
            str | None,
            Field(description=f"Lay the subject out: {', '.join(SHOPS)}, or 1600x1200 pixels."),
        ] = None,
        margin: Annotated[
            str, Field(description="Room to leave with crop or size: 20px, 5%.")
        ] = "0px",
        shadow: Annotated[float, Field(description="0..1, for products that stand.")] = 0.0,
        box: Box = None,
        points: Annotated[Points, Field(description="x, y of things to keep, as a box's.")] = None,
        not_points: Annotated[Points, Field(description="x, y of things to drop.")] = None,
        keep: Annotated[Literal["all", "largest"], Field(description="Of the pieces.")] = "all",
        model: Annotated[str, Field(description="A name that the tool models lists.")] = "wisp",
        overwrite: Overwrite = False,
    ) -> Annotated[CallToolResult, Cut]:
        """Remove the background of a photo, and write the subject to a file.

        Without a background the result is transparent. Without `out` it is photo-cutout.png beside
        the photo.
        """
        with self._turn_of(ctx, roots) as (folders, progress):
            source, target = _ends(folders, photo, out, "-cutout", overwrite)
            output = Output(
                format_of(target),
                background=_behind(folders, background),
                crop=crop,
                size=size,
                margin=margin,
                shadow=shadow,
            )
            result = _cutout(model)(
                source,
                box=box,
                points=points or (),
                not_points=not_points or (),
                keep=keep,
                progress=progress,
            )
            return write(result, target, output)

    def refine_mask(
        self,
        ctx: Context,
        roots: Roots,
        photo: Photo,
        mask: Annotated[str, Field(description="The mask's path: white is the subject.")],
        out: Out = None,
        overwrite: Overwrite = False,
    ) -> Annotated[CallToolResult, Cut]:
        """Redraw the edge of another tool's mask, hair by hair, and write it as a grey picture.

        The mask has the photo's proportions. Without `out` the result is photo-matte.png beside
        the photo.
        """
        with self._turn_of(ctx, roots) as (folders, progress):
            source, target = _ends(folders, photo, out, "-matte", overwrite)
            shape = folders.path(mask)
            result = _cutout(Settings.model)(source, mask=shape, progress=progress)
            return write(result, target, Output(format_of(target), only_mask=True))

    def models(self) -> list[Network]:
        """List the networks that find the subject, with their licences.

        One that is not here yet is fetched by the user: `wisp models download NAME`.
        """
        return [
            Network(
                name=row["name"],
                purpose=row["purpose"],
                here=row["state"] not in _ABSENT,
                bytes=row["bytes"],
                licence=row["licence"],
                noncommercial=row["noncommercial"],
            )
            for row in listing()
            if row["stage"] == 1
        ]

    @contextmanager
    def _turn_of(
        self, ctx: Context, roots: ListRootsResult
    ) -> Iterator[tuple[Folders, Callable[[str, float], None]]]:
        """Wait for the turn; yield the folders, and what is told of the progress.

        Errors of ours become the tool's: the agent reads them, and may do better.
        """

        def progress(stage: str, share: float, /) -> None:
            anyio.from_thread.check_cancelled()
            done = _STAGES.index(stage) + share
            anyio.from_thread.run(ctx.report_progress, done, len(_STAGES), stage)

        folders = Folders(of_roots(str(root.uri) for root in roots.roots), self._limits)
        try:
            with self._turn:
                yield folders, progress
        except WispError as error:
            raise ToolError(str(error)) from error


_ABSENT = ("available", "missing")


@lru_cache(maxsize=2)
def _cutout(model: str) -> Cutout:
    """Open a model by name. No file's path, and no download: those are the user's to decide."""
    rows = {row["name"]: row for row in listing() if row["stage"] == 1}
    if model not in rows:
        raise ModelMissing(f"no model {quoted(model)}: the tool models lists them")
    if rows[model]["state"] in _ABSENT:
        raise ModelMissing(f"{model} is not here yet: the user runs `wisp models download {model}`")
    return Cutout(model=model)


def _ends(
    folders: Folders, photo: str, out: str | None, suffix: str, overwrite: bool
) -> tuple[Path, Path]:
    """Return where a photo lies, and where its result goes."""
    source = folders.path(photo)
    beside = source.with_name(f"{source.stem}{suffix}.png")
    target = folders.path(str(beside) if out is None else out)
    if target == source:
        raise SettingsError(f"{target} is the photo itself: choose another out")
    if target.exists() and not overwrite:
        raise SettingsError(f"{target} is there already: overwrite, or choose another out")
    return source, target


def _behind(folders: Folders, background: str | None) -> Layer | None:
    """Understand a background; a picture must lie in the folders."""
    if background is None:
        return None
    try:
        return paint(background)
    except SettingsError:
        if background.startswith("gradient:"):
            raise
        return image_io.read(folders.path(background)).image


class _Server(MCPServer):
    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Refuse arguments that a tool does not have: they would be passed over in silence."""
        for tool in await self.list_tools():
            known = tool.input_schema["properties"]
            unknown = arguments.keys() - known.keys() if tool.name == name else ()
            if unknown:
                raise ToolError(
                    f"{name} has no argument {', '.join(sorted(unknown))}: it has "
                    f"{', '.join(known)}"
                )
        return await super().call_tool(name, arguments, context)


def server(limits: Sequence[Path]) -> MCPServer:
    """Make the server; it touches no file outside of ``limits``, if there are any."""
    made = _Server("wisp", instructions=_INSTRUCTIONS, version=__version__, log_level="WARNING")
    tools = Tools(limits)
    writes = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
    made.add_tool(tools.cut, annotations=writes)
    made.add_tool(tools.refine_mask, annotations=writes)
    made.add_tool(tools.models, annotations=ToolAnnotations(read_only_hint=True))
    return made
