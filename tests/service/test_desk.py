"""The files of the page, and the door in front of Gradio."""

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs pip install 'wispcut[serve]'")

from service.errors import NotAllowed
from service.web import files as module
from service.web.files import DAY, Files
from service.web.transfer import _safe


@pytest.fixture
def files(tmp_path):
    (tmp_path / "page").mkdir()
    return Files(tmp_path / "page")


def kept(files, owner="one", upload=True) -> str:
    path = files.place() / "a.png"
    path.write_bytes(b"x")
    return files.add(path, owner, upload)


def test_each_file_has_a_name_that_cannot_be_guessed(files):
    one, two = (Path(kept(files)) for _ in range(2))
    assert one.name == two.name and one.parent != two.parent and len(one.parent.name) == 32


def test_only_the_one_who_sent_a_file_may_name_it(files):
    path = kept(files)
    assert files.look_up(path, "one") == path and files.read(path, "one", 9) == b"x"
    other = kept(files, upload=False)  # handed out, and not sent
    assert files.look_up(other, "one", uploads_only=False) == other
    for name, owner in (
        (path, "two"),
        (other, "one"),
        (path + "/", "one"),
        (path.replace("/a.png", "/./a.png"), "one"),
        (str(Path(path).parent), "one"),
        (None, "one"),
        (["x"], "one"),
        (1, "one"),
        ("", "one"),
    ):
        with pytest.raises(NotAllowed, match="no file of yours"):
            files.look_up(name, owner)


def test_only_regular_files_are_opened(files, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    for make in (
        lambda path: path.symlink_to(tmp_path / "secret"),
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: None,
    ):
        path = files.place() / "a.png"
        make(path)
        name = files.add(path, "one", upload=True)
        with pytest.raises(NotAllowed, match="no file of yours"):
            files.read(name, "one", 9)


def test_files_go_after_a_day(files, monkeypatch):
    old = kept(files)
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + DAY / 2)
    young = kept(files)
    monkeypatch.setattr(module.time, "time", lambda: now + DAY + 60)
    files.place()
    assert not Path(old).parent.exists() and Path(young).exists()
    with pytest.raises(NotAllowed):
        files.look_up(old, "one")


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\cat.png", "cat.png"),
        ("..", "file"),
        ("", "file"),
        (".hidden.png", "hidden.png"),
        ("猫 (1).png", "猫 (1).png"),
        ("a\x00b\n<i>.png", "a_b__i_.png"),
    ],
)
def test_what_a_client_calls_a_file_becomes_a_file_name(sent, name):
    assert _safe(sent) == name


def test_a_long_name_keeps_its_ending_and_fits_a_file_system():
    name = _safe("猫" * 300 + ".png")
    assert name.endswith("猫.png") and len(name.encode()) <= 255
