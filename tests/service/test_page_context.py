"""The files of the page, and the door in front of Gradio."""

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs pip install 'wispcut[serve]'")

from service import files as module
from service.errors import NotAllowed, StorageFull, TooMany
from service.files import DAY, Files
from service.transfer import _safe


@pytest.fixture
def files(tmp_path):
    (tmp_path / "page").mkdir()
    return Files(tmp_path / "page", 1_000_000)


def kept(files, owner="one", upload=True, size=1, client="address") -> str:
    room = files.room(client, size)
    path = files.place() / "a.png"
    path.write_bytes(bytes(size))
    return files.add(path, owner, room, upload)


def read(files, path, owner) -> bytes:
    with files.opened(path, owner) as stream:
        return stream.read()


def test_each_file_has_a_name_that_cannot_be_guessed(files):
    one, two = (Path(kept(files)) for _ in range(2))
    assert one.name == two.name and one.parent != two.parent and len(one.parent.name) == 32


def test_only_the_one_who_sent_a_file_may_name_it(files):
    path = kept(files)
    assert files.look_up(path, "one") == path and read(files, path, "one") == b"\0"
    other = kept(files, upload=False)  # handed out, and not sent
    assert files.look_up(other, "one", None) == files.look_up(other, "one", False) == other
    with pytest.raises(NotAllowed):
        files.look_up(path, "one", False)
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
        name = files.add(path, "one", files.room("address"), upload=True)
        with pytest.raises(NotAllowed, match="no file of yours"):
            read(files, name, "one")


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


def test_a_folder_that_cannot_be_made_holds_no_room(files):
    files.folder.rmdir()
    files.folder.write_bytes(b"")
    with pytest.raises(OSError):
        files.begin("address")
    assert files.disk.used == 0


def on_the_disk(files) -> int:
    return sum(path.stat().st_size for path in files.folder.rglob("*") if path.is_file())


def test_a_clients_own_oldest_files_give_way(files, monkeypatch):
    """Whatever cookies it shows: those can be made up."""
    now = time.time()
    names = []
    for minute in range(12):
        monkeypatch.setattr(module.time, "time", lambda minute=minute: now + 61 * minute)
        names.append(kept(files, f"visitor {minute}", size=60_000))
        assert on_the_disk(files) <= files.disk.each == 250_000
    assert [os.path.exists(name) for name in names] == [False] * 9 + [True] * 3
    assert kept(files, "other", client="another") and os.path.exists(names[-1])


def test_a_client_that_sends_too_much_at_once_has_to_wait(files):
    while True:
        try:
            kept(files, size=60_000)
        except TooMany as error:
            assert error.retry_after and error.retry_after <= 60
            break
    assert 180_000 <= on_the_disk(files) <= 250_000
    with pytest.raises(TooMany):
        kept(files, client="third", size=300_000)  # more than its share, at whatever time


def test_where_all_is_full_whoever_has_the_most_gives_way(files, monkeypatch):
    now = time.time()
    small = kept(files, client="small", size=1000)
    large = [kept(files, client=f"large {i}", size=225_000) for i in range(4)]
    with pytest.raises(StorageFull):
        kept(files, client="new", size=100_000)
    monkeypatch.setattr(module.time, "time", lambda: now + 700)
    assert kept(files, client="new", size=100_000)
    assert os.path.exists(small) and sum(map(os.path.exists, large)) == 3
    assert on_the_disk(files) <= files.disk.total


def test_what_is_removed_leaves_its_room(files):
    for _ in range(50):
        files.remove(Path(kept(files, size=200_000)))
    assert files.disk.used == 0 and not list(files.folder.iterdir())


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
