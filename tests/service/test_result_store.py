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

from service import result_store
from service.errors import Busy, StorageFull
from service.job import Job
from service.result_store import ResultStore
from service.settings import ServiceSettings
from tests.service.test_job_queue import ANSWER

DAY = 86400


def content(results, name):
    kept = results.get(name)
    assert kept
    return kept.data


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(result_store, "_PATIENCE", 0.1)


def test_the_shelf_is_capped_by_age_and_size(tmp_path):
    now = [1000.0]
    results = ResultStore(tmp_path / "results.sqlite", 1000, clock=lambda: now[0])
    first = results.add(bytes(400), "png", hours=1, owner="me")
    now[0] += 1
    second = results.add(bytes(400), "png", hours=2, owner="me")
    now[0] += 1
    third = results.add(bytes(400), "png", hours=1, owner="you")
    assert results.get(first.name) is None  # the oldest made room
    assert [kept.name for kept in results.list("me")] == [second.name]
    assert results.list("me")[0].data == b""
    assert not results.delete(third.name, "me")
    assert results.delete(third.name, "you")
    now[0] += 3 * 3600
    assert results.get(second.name) is None
    assert results.list("me") == []
    with pytest.raises(Exception, match="larger"):
        results.add(bytes(2000), "png", hours=1)
    results.close()


def test_a_shelf_that_is_no_database_is_put_aside(tmp_path):
    file = tmp_path / "results.sqlite"
    file.write_bytes(b"garbage" * 1000)
    results = ResultStore(file, 10_000)
    kept = results.add(b"x", "png", hours=1)
    assert results.get(kept.name) == replace(kept, data=b"x")
    assert results.get(kept.name, data=False) == replace(kept, data=b"")
    assert list(tmp_path.glob("*.broken-*"))
    results.close()


# -- what is no damage -----------------------------------------------------------------------------


@pytest.fixture
def history(tmp_path):
    """A file, and the name of what it holds, which is in the WAL alone, as after kill -9."""
    live = ResultStore(tmp_path / "live.sqlite", 10**6)
    kept = live.add(b"precious", "png", hours=1, owner="me")
    for ending in ("", "-wal", "-shm"):
        shutil.copy(tmp_path / f"live.sqlite{ending}", tmp_path / f"results.sqlite{ending}")
    live.close()
    return tmp_path / "results.sqlite", kept.name


def test_a_locked_file_is_waited_for_and_kept(history):
    """A backup holds it; also from before the service starts."""
    file, name = history
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    results = ResultStore(file, 10**6)
    for call in (
        lambda: results.get(name),
        lambda: results.list("me"),
        lambda: results.add(b"x", "png", hours=1),
    ):
        with pytest.raises(Busy, match="locked"):
            call()
    other.execute("ROLLBACK")
    other.close()
    assert content(results, name) == b"precious"
    assert not list(file.parent.glob("*.broken-*"))
    results.close()


def test_a_full_disk_costs_nothing_that_is_kept(history):
    file, name = history
    results = ResultStore(file, 3_000_000)
    others = [results.add(bytes(900_000), "png", hours=1, visitor="you") for _ in range(3)]
    assert results._base
    (pages,) = results._base.execute("PRAGMA page_count").fetchone()
    results._base.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull, match="full"):
        results.add(os.urandom(1_100_000), "png", hours=1, visitor="him")
    assert content(results, name) == b"precious"
    assert all(results.get(other.name) for other in others)  # also those that would have made room
    results.close()
    again = ResultStore(file, 3_000_000)
    assert content(again, name) == b"precious"
    assert not list(file.parent.glob("*.broken-*"))
    again.close()


def test_a_folder_that_cannot_be_opened_is_no_damage(tmp_path):
    (tmp_path / "results.sqlite").mkdir()
    results = ResultStore(tmp_path / "other" / "results.sqlite", 1000)
    results.close()
    results = ResultStore(tmp_path / "folder.sqlite", 1000)
    results.close()


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
    results = ResultStore(file, 10**6)
    assert results.list("me") == []
    kept = results.add(b"new", "png", hours=1)
    assert content(results, kept.name) == b"new"
    (aside,) = file.parent.glob("*.broken-*.sqlite")
    assert aside.read_bytes() == broken
    if before is not None:
        assert aside.with_name(aside.name + "-wal").read_bytes() == before
    results.close()


def test_damage_that_shows_later_is_set_aside_too(tmp_path):
    file = tmp_path / "results.sqlite"
    results = ResultStore(file, 10**7)
    names = [results.add(os.urandom(50_000), "png", hours=1).name for _ in range(20)]
    results.close()
    whole = bytearray(file.read_bytes())
    whole[8192:] = bytes(len(whole) - 8192)
    file.write_bytes(whole)
    results = ResultStore(file, 10**7)
    entries = []
    for name in names:
        try:
            entries.append(results.get(name))
        except Busy:
            break
    kept = results.add(b"new", "png", hours=1)
    assert content(results, kept.name) == b"new"
    assert list(tmp_path.glob("*.broken-*.sqlite"))
    results.close()


# -- whose room, and how long ----------------------------------------------------------------------


def test_a_stranger_evicts_nobody_who_holds_less(tmp_path):
    results = ResultStore(tmp_path / "results.sqlite", 10_000, 5_000)
    mine = [results.add(bytes(500), "png", hours=1, owner="me") for _ in range(4)]
    theirs = [
        results.add(bytes(900), "png", hours=1, owner=f"cookie {number}", visitor="stranger")
        for number in range(30)
    ]
    assert [results.get(kept.name) is not None for kept in mine] == [True] * 4
    assert [results.get(kept.name) is not None for kept in theirs] == [False] * 25 + [True] * 5
    for number in range(20):  # many strangers take from each other
        results.add(bytes(900), "png", hours=1, visitor=f"stranger {number % 3}")
    assert [results.get(kept.name) is not None for kept in mine] == [True] * 4
    assert results.used()[1] <= 10_000
    with pytest.raises(StorageFull):
        results.add(bytes(5_001), "png", hours=1, owner="me")
    assert [results.get(kept.name) is not None for kept in mine] == [True] * 4
    results.close()


def test_a_clock_that_jumps_deletes_nothing(tmp_path):
    now, steady = [time.time()], [0.0]

    def opened():
        return ResultStore(
            tmp_path / "results.sqlite", 10**6, None, lambda: now[0], lambda: steady[0]
        )

    results = opened()
    kept = results.add(b"precious", "png", hours=30 * 24, owner="me")
    now[0] += 40 * DAY
    results.add(b"x", "png", hours=1)
    assert results.get(kept.name) is None  # expired, by this clock
    results.close()
    results = opened()  # a machine that starts with a wrong clock
    results.add(b"x", "png", hours=1)
    now[0] -= 40 * DAY
    results.add(b"x", "png", hours=1)
    assert content(results, kept.name) == b"precious"
    now[0] -= 10_000 * DAY
    results.add(b"x", "png", hours=1)
    now[0] += 10_000 * DAY
    for _ in range(32):  # days pass
        now[0] += DAY
        steady[0] += DAY
        results.add(b"x", "png", hours=1)
    now[0] -= 32 * DAY
    assert results.get(kept.name) is None  # it was deleted in its time
    results.close()


def test_a_file_of_an_earlier_version_is_taken_over(tmp_path):
    file = tmp_path / "results.sqlite"
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
    results = ResultStore(file, 1000)
    assert content(results, "n") == b"d"
    kept = results.add(b"x", "png", hours=1, owner="me", facts={"a": 1})
    assert [entry.name for entry in results.list("me")] == [kept.name, "n"]
    results.close()


def test_the_page_takes_room_by_address_and_does_without_a_busy_shelf(tmp_path, photo):
    """A browser may throw its name away and be given another; its address stays."""
    pytest.importorskip("gradio", reason="the page needs gradio")
    from service.web.history import History

    results = ResultStore(tmp_path / "results.sqlite", 10**7)
    page: Any = SimpleNamespace(
        context=SimpleNamespace(results=results),
        settings=ServiceSettings(),
        owner=lambda request: "cookie",
        client=lambda request: "address 1.2.3.4",
    )

    def remember(image):
        story = History(page).remember(cast(Any, None), ANSWER, photo, "a title", Job(image))
        asyncio.run(story)

    remember(b"x")
    assert [kept.facts["title"] for kept in results.list("cookie")] == ["a title"]
    assert results._base
    rows = results._base.execute("SELECT visitor FROM kept").fetchall()
    assert rows == [("address 1.2.3.4",)]
    other = sqlite3.connect(tmp_path / "results.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    remember(b"y")  # raises nothing
    other.close()
    results.close()
