"""Results that are kept: nothing that is sound is ever thrown away."""

import asyncio
import os
import random
import shutil
import sqlite3
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service import shelf as shelves
from service.errors import Busy, StorageFull
from service.job import Job
from service.settings import ServiceSettings
from service.shelf import Shelf
from tests.service.test_core import ANSWER

DAY = 86400


def content(shelf, name):
    kept = shelf.get(name)
    assert kept
    return kept.data


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(shelves, "_PATIENCE", 0.1)


def test_the_shelf_is_capped_by_age_and_size(tmp_path):
    now = [1000.0]
    shelf = Shelf(tmp_path / "shelf.sqlite", 1000, clock=lambda: now[0])
    first = shelf.add(bytes(400), "png", hours=1, owner="me")
    now[0] += 1
    second = shelf.add(bytes(400), "png", hours=2, owner="me")
    now[0] += 1
    third = shelf.add(bytes(400), "png", hours=1, owner="you")
    assert shelf.get(first.name) is None  # the oldest made room
    assert [kept.name for kept in shelf.list("me")] == [second.name]
    assert shelf.list("me")[0].data == b""
    assert not shelf.delete(third.name, "me")
    assert shelf.delete(third.name, "you")
    now[0] += 3 * 3600
    assert shelf.get(second.name) is None
    assert shelf.list("me") == []
    with pytest.raises(Exception, match="larger"):
        shelf.add(bytes(2000), "png", hours=1)
    shelf.close()


def test_a_shelf_that_is_no_database_is_put_aside(tmp_path):
    file = tmp_path / "shelf.sqlite"
    file.write_bytes(b"garbage" * 1000)
    shelf = Shelf(file, 10_000)
    kept = shelf.add(b"x", "png", hours=1)
    assert shelf.get(kept.name) == replace(kept, data=b"x")
    assert list(tmp_path.glob("*.broken-*"))
    shelf.close()


# -- what is no damage -----------------------------------------------------------------------------


@pytest.fixture
def history(tmp_path):
    """A file, and the name of what it holds, which is in the WAL alone, as after kill -9."""
    live = Shelf(tmp_path / "live.sqlite", 10**6)
    kept = live.add(b"precious", "png", hours=1, owner="me")
    for ending in ("", "-wal", "-shm"):
        shutil.copy(tmp_path / f"live.sqlite{ending}", tmp_path / f"shelf.sqlite{ending}")
    live.close()
    return tmp_path / "shelf.sqlite", kept.name


def test_a_locked_file_is_waited_for_and_kept(history):
    """A backup holds it; also from before the service starts."""
    file, name = history
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    shelf = Shelf(file, 10**6)
    for call in (
        lambda: shelf.get(name),
        lambda: shelf.list("me"),
        lambda: shelf.add(b"x", "png", hours=1),
    ):
        with pytest.raises(Busy, match="locked"):
            call()
    other.execute("ROLLBACK")
    other.close()
    assert content(shelf, name) == b"precious"
    assert not list(file.parent.glob("*.broken-*"))
    shelf.close()


def test_a_full_disk_costs_nothing_that_is_kept(history):
    file, name = history
    shelf = Shelf(file, 3_000_000)
    others = [shelf.add(bytes(900_000), "png", hours=1, visitor="you") for _ in range(3)]
    assert shelf._base
    (pages,) = shelf._base.execute("PRAGMA page_count").fetchone()
    shelf._base.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull, match="full"):
        shelf.add(os.urandom(1_100_000), "png", hours=1, visitor="him")
    assert content(shelf, name) == b"precious"
    assert all(shelf.get(other.name) for other in others)  # also those that would have made room
    shelf.close()
    again = Shelf(file, 3_000_000)
    assert content(again, name) == b"precious"
    assert not list(file.parent.glob("*.broken-*"))
    again.close()


def test_a_folder_that_cannot_be_opened_is_no_damage(tmp_path):
    (tmp_path / "shelf.sqlite").mkdir()
    shelf = Shelf(tmp_path / "other" / "shelf.sqlite", 1000)
    shelf.close()
    shelf = Shelf(tmp_path / "folder.sqlite", 1000)
    shelf.close()


# -- what is damage --------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["header", "emptied", "pages"])
def test_a_damaged_file_is_kept_with_all_that_belongs_to_it(history, damage):
    file, _ = history
    if damage == "header":
        broken = b"garbage" * 1000
    elif damage == "emptied":
        broken = b""
    else:
        with sqlite3.connect(file) as base:
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        base.close()
        whole = bytearray(file.read_bytes())
        whole[100:] = random.Random(0).randbytes(len(whole) - 100)
        broken = bytes(whole)
    file.write_bytes(broken)
    wal = file.with_name(file.name + "-wal")
    before = wal.read_bytes() if wal.exists() else None
    shelf = Shelf(file, 10**6)
    assert shelf.list("me") == []
    kept = shelf.add(b"new", "png", hours=1)
    assert content(shelf, kept.name) == b"new"
    (aside,) = file.parent.glob("*.broken-*.sqlite")
    assert aside.read_bytes() == broken
    if before is not None:
        assert aside.with_name(aside.name + "-wal").read_bytes() == before
    shelf.close()


def test_damage_that_shows_later_is_set_aside_too(tmp_path):
    file = tmp_path / "shelf.sqlite"
    shelf = Shelf(file, 10**7)
    names = [shelf.add(os.urandom(50_000), "png", hours=1).name for _ in range(20)]
    shelf.close()
    whole = bytearray(file.read_bytes())
    whole[8192:] = bytes(len(whole) - 8192)
    file.write_bytes(whole)
    shelf = Shelf(file, 10**7)
    found = []
    for name in names:
        try:
            found.append(shelf.get(name))
        except Busy:
            break
    kept = shelf.add(b"new", "png", hours=1)
    assert content(shelf, kept.name) == b"new"
    assert list(tmp_path.glob("*.broken-*.sqlite"))
    shelf.close()


# -- whose room, and how long ----------------------------------------------------------------------


def test_a_stranger_evicts_nobody_who_holds_less(tmp_path):
    shelf = Shelf(tmp_path / "shelf.sqlite", 10_000, 5_000)
    mine = [shelf.add(bytes(500), "png", hours=1, owner="me") for _ in range(4)]
    theirs = [
        shelf.add(bytes(900), "png", hours=1, owner=f"cookie {number}", visitor="stranger")
        for number in range(30)
    ]
    assert [shelf.get(kept.name) is not None for kept in mine] == [True] * 4
    assert [shelf.get(kept.name) is not None for kept in theirs] == [False] * 25 + [True] * 5
    for number in range(20):  # many strangers take from each other
        shelf.add(bytes(900), "png", hours=1, visitor=f"stranger {number % 3}")
    assert [shelf.get(kept.name) is not None for kept in mine] == [True] * 4
    assert shelf.used()[1] <= 10_000
    with pytest.raises(StorageFull):
        shelf.add(bytes(5_001), "png", hours=1, owner="me")
    assert [shelf.get(kept.name) is not None for kept in mine] == [True] * 4
    shelf.close()


def test_a_clock_that_jumps_deletes_nothing(tmp_path):
    now, steady = [time.time()], [0.0]

    def opened():
        return Shelf(tmp_path / "shelf.sqlite", 10**6, None, lambda: now[0], lambda: steady[0])

    shelf = opened()
    kept = shelf.add(b"precious", "png", hours=30 * 24, owner="me")
    now[0] += 40 * DAY
    shelf.add(b"x", "png", hours=1)
    assert shelf.get(kept.name) is None  # expired, by this clock
    shelf.close()
    shelf = opened()  # a machine that starts with a wrong clock
    shelf.add(b"x", "png", hours=1)
    now[0] -= 40 * DAY
    shelf.add(b"x", "png", hours=1)
    assert content(shelf, kept.name) == b"precious"
    now[0] -= 10_000 * DAY
    shelf.add(b"x", "png", hours=1)
    now[0] += 10_000 * DAY
    for _ in range(32):  # days pass
        now[0] += DAY
        steady[0] += DAY
        shelf.add(b"x", "png", hours=1)
    now[0] -= 32 * DAY
    assert shelf.get(kept.name) is None  # it was deleted in its time
    shelf.close()


def test_a_file_of_an_earlier_version_is_taken_over(tmp_path):
    file = tmp_path / "shelf.sqlite"
    with sqlite3.connect(file) as base:
        base.execute(
            "CREATE TABLE kept (name TEXT PRIMARY KEY, owner TEXT NOT NULL, made REAL NOT NULL, "
            "expires REAL NOT NULL, format TEXT NOT NULL, told TEXT NOT NULL, thumb BLOB, "
            "size INTEGER NOT NULL, data BLOB NOT NULL)"
        )
        base.execute("CREATE INDEX by_owner ON kept (owner, made)")
        base.execute("CREATE INDEX by_made ON kept (made)")
        row = ("n", "me", time.time(), time.time() + 999, "png", "{}", b"t", 2, b"d")
        base.execute("INSERT INTO kept VALUES (?,?,?,?,?,?,?,?,?)", row)
    base.close()
    shelf = Shelf(file, 1000)
    assert content(shelf, "n") == b"d"
    kept = shelf.add(b"x", "png", hours=1, owner="me", told={"a": 1})
    assert [entry.name for entry in shelf.list("me")] == [kept.name, "n"]
    shelf.close()


def test_the_page_takes_room_by_address_and_does_without_a_busy_shelf(tmp_path, photo):
    """A browser may throw its name away and be given another; its address stays."""
    pytest.importorskip("gradio", reason="the page needs gradio")
    from service.web.history import History

    shelf = Shelf(tmp_path / "shelf.sqlite", 10**7)
    desk: Any = SimpleNamespace(
        context=SimpleNamespace(shelf=shelf),
        settings=ServiceSettings(),
        owner=lambda request: "cookie",
        client=lambda request: "address 1.2.3.4",
    )

    def remember(image):
        story = History(desk).remember(cast(Any, None), ANSWER, photo, "a title", Job(image))
        asyncio.run(story)

    remember(b"x")
    assert [kept.told["title"] for kept in shelf.list("cookie")] == ["a title"]
    assert shelf._base
    rows = shelf._base.execute("SELECT visitor FROM kept").fetchall()
    assert rows == [("address 1.2.3.4",)]
    other = sqlite3.connect(tmp_path / "shelf.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    remember(b"y")  # raises nothing
    other.close()
    shelf.close()
