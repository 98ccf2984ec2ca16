"""A store that speaks S3 and fails now and then; a driver that is killed now and then."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("s3fs")
pytest.importorskip("moto")
import fsspec
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from pipeline.errors import SettingsError
from tests.scale.fake import Fake, cutout, run
from wisp.scale.cutter import Piece
from wisp.scale.errors import StoreError
from wisp.scale.ledger import report
from wisp.scale.places import Place, open_place

ROOT = Path(__file__).parents[2]
_BUSY = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"


class Store:
    """moto's S3 with faults put in: ``fault`` is asked for each request, and answers 0 (none), an
    HTTP status, or the seconds to wait first."""

    def __init__(self) -> None:
        self._application = DomainDispatcherApplication(create_backend_app)
        self._count = 0
        self._lock = threading.Lock()
        self.fault: Callable[[int], float] = lambda number: 0
        self.faults = 0
        self.lists = 0
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = make_server("127.0.0.1", 0, self, threaded=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __call__(self, environ: Any, start: Any) -> Any:
        with self._lock:
            self._count += 1
            fault = self.fault(self._count)
            self.faults += fault > 0
            self.lists += "list-type=2" in environ.get("QUERY_STRING", "")
        if fault >= 100:
            start(f"{fault:.0f} Trouble", [("Content-Type", "application/xml")])
            return [_BUSY]
        time.sleep(fault)
        return self._application(environ, start)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    patch = pytest.MonkeyPatch()
    store = Store()
    for name, value in {
        "AWS_ENDPOINT_URL": store.address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "no_proxy": "127.0.0.1",
    }.items():
        patch.setenv(name, value)
    fsspec.filesystem("s3").mkdir("shop")
    yield store
    store.server.shutdown()
    patch.undo()


@pytest.fixture
def photos(store) -> Iterator[dict[str, bytes]]:
    store.fault = lambda number: 0
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    photos = {f"in/shelf{n % 3}/{n:03d}.jpg": b"photo %d" % n for n in range(40)}
    photos["in/shelf0/broken.jpg"] = b"bad"
    fs.pipe({f"shop/{name}": data for name, data in photos.items()})
    yield photos
    store.fault = lambda number: 0
    fs.rm("shop/", recursive=True)
    fs.mkdir("shop")


def outputs(prefix: str) -> dict[str, bytes]:
    place = open_place(f"s3://shop/{prefix}")
    names = [place.below(entry.path) for entry in place.listing()]
    return {name: place.read(name) for name in names if not name.startswith("_wisp/")}


def rows(prefix: str) -> list[dict]:
    listed = [
        record
        for table in report(open_place(f"s3://shop/{prefix}"))
        for record in table.to_pylist()
    ]
    for record in listed:
        del record["seconds"]
    return sorted(listed, key=lambda record: record["path"])


def test_from_bucket_to_bucket(store, photos):
    summary = run("s3://shop/in", "s3://shop/out")
    assert (summary.done, summary.failed) == (40, 1)
    good = {name: data for name, data in photos.items() if data != b"bad"}
    assert outputs("out") == {
        name.removeprefix("in/").replace(".jpg", ".png"): cutout(data)
        for name, data in good.items()
    }
    again = run("s3://shop/in/", "s3://shop/out/")
    assert (again.done, again.skipped, again.failed_before) == (0, 41, 1)
    # An object that changed is seen by its ETag.
    fsspec.filesystem("s3").pipe_file("shop/in/shelf0/000.jpg", b"another")
    assert run("s3://shop/in/", "s3://shop/out/").done == 1
    assert outputs("out")["shelf0/000.png"] == cutout(b"another")


def test_an_empty_object_of_a_list_is_a_row(store, photos):
    fs = fsspec.filesystem("s3")
    fs.pipe_file("shop/in/empty.jpg", b"")
    fs.pipe_file("shop/list.txt", b"in/empty.jpg\ns3://shop/in/shelf0/000.jpg\nin/gone.jpg")
    summary = run("s3://shop/list.txt", "s3://shop/out", cutter=Strict())
    assert (summary.done, summary.failed) == (1, 2)
    by_path = {row["path"]: (row["error"], row["fault"]) for row in rows("out")}
    assert by_path["in/empty.jpg"] == ("the file is empty", "picture")
    assert by_path["in/gone.jpg"] == ("there is no such file", "picture")


class Strict(Fake):
    def cut(self, path: str, data: bytes, software: str = "") -> Piece:
        if not data:
            return Piece(None, "failed", "the file is empty")
        return super().cut(path, data, software)


def test_listings_come_page_by_page(store, photos, monkeypatch):
    place = open_place("s3://shop/in")
    asked = place.fs.call_s3
    monkeypatch.setattr(place.fs, "call_s3", lambda *a, **k: asked(*a, **k, MaxKeys=7))
    store.lists = 0
    assert len(list(place.listing())) == 41 and store.lists == 6


def test_who_comes_first_settles_the_run(store, photos):
    place = open_place("s3://shop/out")
    assert place.create("a", b"1") and not place.create("a", b"2")
    assert place.read("a") == b"1"
    run("s3://shop/in", "s3://shop/other")
    with pytest.raises(SettingsError, match="holds cutouts of another run"):
        run("s3://shop/in", "s3://shop/other", digest="1" * 16)


@pytest.mark.parametrize("to", ["files", "webdataset", "parquet"])
def test_a_store_that_fails_now_and_then_changes_nothing(store, photos, to):
    run("s3://shop/in", "s3://shop/calm", to=to, shards=3)
    chance = random.Random(1)

    def fault(number: int) -> float:
        draw = chance.random()
        return 503 if draw < 0.08 else 500 if draw < 0.12 else 0.2 if draw < 0.14 else 0

    store.fault, store.faults = fault, 0
    summary = run("s3://shop/in", "s3://shop/rough", to=to, shards=3)
    store.fault = lambda number: 0
    assert store.faults > 5 and (summary.done, summary.failed) == (40, 1)
    assert outputs("rough") == outputs("calm") and rows("rough") == rows("calm")


def test_photos_that_the_store_fails_are_tried_again_by_the_next_run(store, photos, monkeypatch):
    def shut(address: str) -> Place:
        if address.endswith("/001.jpg"):
            raise StoreError("cannot read: 503")
        return open_place(address)

    monkeypatch.setattr("wisp.scale.cutter.open_place", shut)
    summary = run("s3://shop/in", "s3://shop/out", to="webdataset")
    assert (summary.done, summary.failed) == (39, 2)
    monkeypatch.undo()
    again = run("s3://shop/in", "s3://shop/out", to="webdataset")
    assert (again.done, again.skipped, again.failed_before) == (1, 40, 1)


def test_a_store_that_is_away_ends_the_run(store, photos, monkeypatch):
    def away(address: str) -> Place:
        raise StoreError("cannot read: no answer")

    monkeypatch.setattr("wisp.scale.cutter.open_place", away)
    with pytest.raises(StoreError, match="30 photos in a row failed, the last: cannot read"):
        run("s3://shop/in", "s3://shop/out")
    monkeypatch.undo()
    assert run("s3://shop/in", "s3://shop/out").done == 40


@pytest.mark.parametrize(("to", "jobs", "kills"), [("files", 2, 10), ("webdataset", 1, 10)])
def test_a_driver_that_is_killed_loses_nothing(store, photos, to, jobs, kills):
    run("s3://shop/in", "s3://shop/calm", to=to, shards=4)
    chance = random.Random(kills + jobs)
    command = [sys.executable, "-m", "tests.scale.fake", "s3://shop/in", "s3://shop/killed"]
    seen = 0
    for _ in range(kills):
        driver = subprocess.Popen([*command, to, str(jobs)], cwd=ROOT, stdout=subprocess.PIPE)
        assert driver.stdout
        for _ in range(chance.randrange(0, 12)):
            line = driver.stdout.readline()
            seen += 1
            if line.startswith(b"finished") or not line:
                break
        time.sleep(chance.random() * 0.05)
        driver.kill()
        driver.wait()
        driver.stdout.close()
    done = subprocess.run([*command, to, str(jobs)], cwd=ROOT, capture_output=True, check=True)
    assert b"finished" in done.stdout and seen
    assert outputs("killed") == outputs("calm") and rows("killed") == rows("calm")
