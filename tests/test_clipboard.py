"""``wisp cut --paste --copy``, with stand-ins for the programs of the system's clipboard."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.cli import clipboard, main
from pipeline.cli import run as running
from tests.conftest import encoded, fake_cutout

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-ins are Linux's")

#: Holds what it is given in a file beside it, as the clipboard does.
XCLIP = """#!/bin/sh
held="$(dirname "$0")/held"
for word in "$@"; do [ "$word" = -o ] && exec cat "$held"; done
exec cat > "$held"
"""


class Fake:
    def __init__(self, settings: object, for_masks: bool) -> None: ...

    def cut(self, source, wanted):
        return fake_cutout(source)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that holds the clipboard of an X11 desktop."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "xclip").write_text(XCLIP)
    (programs / "xclip").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(running, "Cutout", Fake)
    monkeypatch.chdir(tmp_path)
    return programs / "held"


def cut(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["cut", *arguments], prog_name="wisp")


def test_a_picture_goes_from_the_clipboard_back_to_it(board: Path, photo: np.ndarray) -> None:
    board.write_bytes(encoded(photo, "PNG"))
    done = cut("--paste", "--copy", "--crop")
    assert done.exit_code == 0 and done.stdout == "" and "clipboard → clipboard" in done.stderr
    with Image.open(board) as cutout:
        assert cutout.mode == "RGBA" and cutout.width < photo.shape[1]


def test_one_end_may_be_a_file(board: Path, photo: np.ndarray) -> None:
    Path("a.jpg").write_bytes(encoded(photo, "JPEG"))
    assert cut("a.jpg", "--copy").exit_code == 0
    with Image.open(board) as cutout:
        assert cutout.mode == "RGBA" and cutout.size == photo.shape[1::-1]
    assert not Path("a-cutout.png").exists()
    assert cut("--paste", "-o", "b.webp").exit_code == 0
    with Image.open("b.webp") as written:
        assert written.format == "WEBP"
    assert cut("a.jpg", "--copy", "-o", "c.jpg").exit_code == 0  # both: a file, and the clipboard
    with Image.open("c.jpg") as written, Image.open(board) as held:
        assert written.format == "JPEG" and held.format == "PNG"


@pytest.mark.parametrize("arguments, message", [
    (["a.jpg", "b.jpg", "--copy"], "one picture"),
    (["a.jpg", "--paste"], "not both"),
    (["--paste"], "-o FILE"),
    ([], "give photos, or --paste"),
    (["--paste", "--copy", "--keep", "each"], "holds one"),
    (["--paste", "--copy", "--watch"], "one picture"),
])  # fmt: skip
def test_what_makes_no_sense_is_said(board: Path, arguments: list[str], message: str) -> None:
    done = cut(*arguments)
    assert done.exit_code == 2 and message in done.stderr


def test_an_empty_clipboard_and_none_at_all(
    board: Path, monkeypatch: pytest.MonkeyPatch, photo: np.ndarray
) -> None:
    board.write_bytes(b"")
    done = cut("--paste", "--copy")
    assert done.exit_code == 1 and "clipboard" in done.stderr and done.stderr.count("\n") == 1
    Path("a.png").write_bytes(encoded(photo, "PNG"))
    (board.parent / "xclip").unlink()
    done = cut("a.png", "--copy")
    assert done.exit_code == 1 and "install wl-clipboard" in done.stderr
    monkeypatch.delenv("DISPLAY")
    for arguments in (["--paste", "--copy"], ["a.png", "--copy"]):
        done = cut(*arguments)
        assert done.exit_code == 1 and "no desktop" in done.stderr


def test_a_file_that_was_copied_is_read(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(photo, "JPEG"))
    monkeypatch.setattr("PIL.ImageGrab.grabclipboard", lambda: [str(path)])
    assert clipboard.paste() == path.read_bytes()
