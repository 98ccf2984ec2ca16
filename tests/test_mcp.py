"""``wisp mcp``, spoken to by the SDK's own client."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import SettingsError

pytest.importorskip("mcp", reason="needs the extra 'mcp'")

import anyio
from mcp import Client, StdioServerParameters
from mcp.types import ListRootsResult

from wisp.mcp.answers import preview
from wisp.mcp.folders import Folders, of_roots
from wisp.mcp.server import server


@pytest.fixture
def folder(tmp_path: Path, photo: np.ndarray) -> Path:
    place = tmp_path / "my photos"
    place.mkdir()
    Image.fromarray(photo).resize((480, 320)).save(place / "photo.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    return place


def talk(where: Any, *calls: tuple[str, dict], roots: list[Path] | None = None, **options: Any):
    """Call tools one after the other; return their answers."""

    async def named(_: Any) -> ListRootsResult:
        return ListRootsResult.model_validate(
            {"roots": [{"uri": path.as_uri()} for path in roots or []]}
        )

    async def run() -> list[Any]:
        knows: Any = None if roots is None else named
        async with Client(where, list_roots_callback=knows, **options) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return anyio.run(run)


def refusal(answer: Any) -> str:
    assert answer.is_error
    return answer.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_stdio_a_photo_becomes_a_file_and_a_small_preview(folder: Path, mode: str) -> None:
    command = "from wisp.mcp.command import mcp; mcp()"
    started = StdioServerParameters(
        command=sys.executable, args=["-c", command], env={"PYTHONPATH": ":".join(sys.path)}
    )
    (done, refused) = talk(
        started,
        ("cut", {"photo": str(folder / "photo.png"), "crop": True}),
        ("cut", {"photo": str(folder.parent / "outside.png")}),
        roots=[folder],
        mode=mode,
    )
    assert not done.is_error, done.content
    facts = done.structured_content
    with Image.open(folder / "photo-cutout.png") as cutout:
        assert cutout.mode == "RGBA" and cutout.size == (facts["width"], facts["height"])
    assert facts["path"] == str(folder / "photo-cutout.png") and 0 <= facts["confidence"] <= 1
    (shown,) = (part for part in done.content if part.type == "image")
    assert len(shown.data) < 40_000 and len(done.model_dump_json()) < 50_000
    with Image.open(io.BytesIO(base64.b64decode(shown.data))) as small:
        assert max(small.size) == 256
    assert "outside of what is open" in refusal(refused)
    assert not (folder.parent / "outside-cutout.png").exists()


def test_the_tools_describe_themselves() -> None:
    async def listed() -> Any:
        async with Client(server([])) as client:
            return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in anyio.run(listed)}
    assert set(tools) == {"cut", "refine_mask", "models"}
    assert tools["cut"].input_schema["required"] == ["photo"]
    for tool in tools.values():
        assert tool.description and tool.output_schema
        for name, value in tool.input_schema["properties"].items():
            assert value.get("description"), f"{tool.name} does not describe {name}"


def test_a_mask_gets_its_edge(folder: Path) -> None:
    Image.fromarray(np.uint8(np.hypot(*np.mgrid[-1:1:320j, -1:1:480j]) < 0.7) * 255).save(
        folder / "mask.png"
    )
    (done,) = talk(server([folder]), ("refine_mask", {"photo": "photo.png", "mask": "mask.png"}))
    assert not done.is_error, done.content
    with Image.open(folder / "photo-matte.png") as matte:
        assert matte.mode == "L" and matte.size == (480, 320)
        assert len(np.unique(np.asarray(matte))) > 2  # no longer binary


def test_the_folder_of_a_result_is_made(folder: Path) -> None:
    (done,) = talk(server([folder]), ("cut", {"photo": "photo.png", "out": "sub/dir/x.png"}))
    assert not done.is_error, done.content
    assert (folder / "sub" / "dir" / "x.png").is_file()


def test_nothing_is_lost_and_errors_say_what_to_do(folder: Path) -> None:
    before = (folder / "photo.png").read_bytes()
    (folder / "there.png").write_bytes(b"mine")
    link = folder / "link.png"
    link.symlink_to(folder.parent / "outside.png")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"photo": "photo.png", "out": "photo.png", "overwrite": True}, "the photo itself"),
        ({"photo": "photo.png", "out": "there.png"}, "overwrite, or choose"),
        ({"photo": "photo.png", "out": "../x.png"}, "outside of what is open"),
        ({"photo": "photo.png", "background": str(folder.parent / "outside.png")}, "outside"),
        ({"photo": str(link)}, "outside of what is open"),
        ({"photo": "photo.png", "model": "u2nett"}, "the tool models lists them"),
        ({"photo": "photo.png", "model": str(folder / "my.onnx")}, "the tool models lists them"),
        ({"photo": "photo.png", "box": [0.5, 0.5, 0.1, 0.1]}, "no area"),
        ({"photo": "none.png"}, "none.png"),
        ({"photo": "photo.png", "out": "a.svg"}, "cannot write"),
        ({"photo": "photo.png", "colour": "red"}, "cut has no argument colour: it has photo, out"),
    ]
    answers = talk(server([folder]), *(("cut", arguments) for arguments, _ in cases))
    for answer, (_, text) in zip(answers, cases, strict=True):
        assert text in refusal(answer)
    assert (folder / "photo.png").read_bytes() == before
    assert (folder / "there.png").read_bytes() == b"mine"


def test_a_model_that_is_not_here_is_the_users_to_fetch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WISP_HOME", "U2NET_HOME"):
        monkeypatch.setenv(name, str(folder / "home"))
    asked = ("cut", {"photo": "photo.png", "model": "silueta"})
    listed, refused = talk(server([folder]), ("models", {}), asked)
    models = {model["name"]: model for model in listed.structured_content["result"]}
    assert models["wisp"]["here"] and not models["silueta"]["here"]
    assert models["bria-rmbg"]["noncommercial"]
    assert "wisp models download silueta" in refusal(refused)


def test_progress_is_told(folder: Path) -> None:
    seen: list[tuple[float, float | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    async def run() -> None:
        async with Client(server([folder])) as client:
            await client.call_tool("cut", {"photo": "photo.png"}, progress_callback=note)

    anyio.run(run)
    assert len(seen) >= 5 and seen == sorted(seen)
    assert all(total == 5 and 0 <= done <= 5 for done, total in seen)


def test_roots_and_folders_both_bind(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "a" / "b"
    b.mkdir(parents=True)
    assert Folders(roots=(a,)).path("x.png") == a / "x.png"
    assert Folders(roots=(a,), limits=(b,)).path("b/x.png") == b / "x.png"
    assert Folders(limits=(b,)).path((b / "x y.png").as_uri()) == b / "x y.png"
    for roots, limits, name in (((a,), (b,), "x.png"), ((b,), (), "../x.png"), ((), (), "x.png")):
        with pytest.raises(SettingsError, match=r"open"):
            Folders(roots, limits).path(name)
    assert of_roots([a.as_uri(), "https://example.org/a"]) == (a,)


@pytest.mark.parametrize("shape", [(2000, 3000, 4), (9, 4000, 3), (50, 40)])
def test_a_preview_is_small(shape: tuple[int, ...]) -> None:
    noise: Callable[..., np.ndarray] = np.random.default_rng(1).integers
    data = preview(noise(0, 256, shape, np.uint8))
    with Image.open(io.BytesIO(data)) as small:
        assert max(small.size) <= 256 and small.mode == "RGB"
    assert len(data) < 60_000
