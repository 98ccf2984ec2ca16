"""The folder of the files that the page hands out."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs pip install 'wispcut[serve]'")

from service.web.common import DAY, Desk


@pytest.fixture
def desk(settings, tmp_path):
    context: Any = SimpleNamespace(settings=settings, engine=None, core=None)
    (tmp_path / "page").mkdir()
    return Desk(context, tmp_path / "page")


def test_each_file_has_a_name_that_cannot_be_guessed(desk):
    one, two = (Path(asyncio.run(desk.file(b"x", "a.png"))) for _ in range(2))
    assert one.name == two.name == "a.png" and one.read_bytes() == b"x"
    assert one.parent != two.parent and len(one.parent.name) == 32


def test_a_lasting_file_is_made_once_and_never_written_again(desk):
    path = Path(desk.lasting("thumb.webp", lambda: b"first"))
    before = path.stat()
    with open(path, "rb") as reader:
        assert desk.lasting("thumb.webp", lambda: b"second") == str(path)
        assert reader.read() == b"first"
    assert path.stat().st_ino == before.st_ino
    assert [p.name for p in desk.folder.iterdir()] == ["thumb.webp"]


def test_folders_left_empty_are_removed_after_a_day(desk):
    old, young, full = (desk.place() for _ in range(3))
    (full / "a.png").write_bytes(b"x")
    for place in (old, full):
        os.utime(place, (0, 0))
    os.utime(young, (os.stat(young).st_mtime - DAY / 2,) * 2)
    desk._tidied = 0
    place = desk.place()
    assert {p.name for p in desk.folder.iterdir()} == {young.name, full.name, place.name}
    os.utime(young, (0, 0))
    desk.place()  # within the hour
    assert young.is_dir()
