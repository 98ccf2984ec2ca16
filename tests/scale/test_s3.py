"""A store that speaks S3 and fails now and then; drivers and workers that are killed."""

from __future__ import annotations

import gzip
import io
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("s3fs")
pytest.importorskip("moto")
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import s3fs
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from pipeline.errors import SettingsError
from tests.scale.fake import Fake, cutout, run
from wisp.scale.cutter import Piece
from wisp.scale.errors import StoreError
from wisp.scale.ledger import report
from wisp.scale.patience import Patience
from wisp.scale.places import Place, open_place

ROOT = Path(__file__).parents[2]
_BUSY = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
_BROKEN = b"<Error><Code>InternalError</Code><Message>Please try again.</Message></Error>"
DROP, SLOW, HANG = -1, 0.2, 3.0
_TIMEOUT = 2.0  # seconds that a client waits for an answer here, and so less than HANG


class Store:
    """moto's S3 with faults put in.

    ``fault`` is asked for each request's path, and answers 0 (none), an HTTP status, the seconds to
    wait first, or :data:`DROP` to close the connection without an answer.
    """

    def __init__(self) -> None:
        self._application = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self.fault: Callable[[str], float] = calm
        self.faults: Counter[float] = Counter()
        self.lists = 0
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self.server = make_server("127.0.0.1", 0, self, threaded=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __call__(self, environ: Any, start: Any) -> Any:
        with self._lock:
            fault = self.fault(environ["PATH_INFO"])
            self.faults[fault] += 1
            self.lists += "list-type=2" in environ.get("QUERY_STRING", "")
        if fault == DROP:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        if 0 < fault < 100:
            time.sleep(fault)
        if fault >= 100 or fault == HANG:  # whose client has gone meanwhile
            said = _BUSY if fault == 503 else _BROKEN
            start(f"{fault:.0f} Trouble", [("Content-Length", str(len(said)))])
            return [said]
        return self._application(environ, start)


def calm(path: str) -> float:
    return 0


def rough(seed: int) -> Callable[[str], float]:
    """A store in which an eighth of the calls goes wrong, in every way."""
    chance = random.Random(seed)
    kinds = [503, 500, SLOW, DROP, HANG, 0]

    def fault(path: str) -> float:
        return chance.choices(kinds, [40, 30, 30, 20, 5, 875])[0]

    return fault


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
    patch.setattr(s3fs.S3FileSystem, "read_timeout", _TIMEOUT)
    fsspec.filesystem("s3").mkdir("shop")
    yield store
    store.server.shutdown()
    patch.undo()


@pytest.fixture
def photos(store) -> Iterator[dict[str, bytes]]:
    store.fault = calm
    fs = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    photos = {f"in/shelf{n % 3}/{n:03d}.jpg": b"photo %d" % n for n in range(40)}
    photos["in/shelf0/broken.jpg"] = b"bad"
    fs.pipe({f"shop/{name}": data for name, data in photos.items()})
    yield photos
    store.fault = calm
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


def test_listings_come_page_by_page_as_they_are_read(store, photos, monkeypatch):
    place = open_place("s3://shop/in")
    asked = place.fs.call_s3
    monkeypatch.setattr(place.fs, "call_s3", lambda *a, **k: asked(*a, **k, MaxKeys=7))
    store.lists = 0
    listing = place.listing()
    first = [next(listing) for _ in range(7)]
    assert store.lists == 1
    assert len([*first, *listing]) == 41 and store.lists == 6


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
    store.fault, store.faults = rough(len(to)), Counter()
    summary = run("s3://shop/in", "s3://shop/rough", to=to, shards=3)
    store.fault = calm
    assert (summary.done, summary.failed) == (40, 1)
    assert sum(store.faults.values()) - store.faults[0] > 5, store.faults
    assert outputs("rough") == outputs("calm") and rows("rough") == rows("calm")


def tar(photos: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in photos.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def table(columns: dict[str, list]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, row_group_size=16)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["in/**/0*.jpg", "list.csv.gz", "list.parquet", "images.parquet", "set-*.tar"]
)
def test_every_kind_of_source_is_read_from_a_store_that_fails(store, photos, name):
    fs = fsspec.filesystem("s3")
    good = {name: data for name, data in photos.items() if data != b"bad"}
    lines = "\n".join(["url", *good]).encode()
    fs.pipe({
        "shop/list.csv.gz": gzip.compress(lines),
        "shop/list.parquet": table({"path": list(good)}),
        "shop/images.parquet": table({"image": list(good.values())}),
        "shop/set-1.tar": tar(good),
    })  # fmt: skip
    store.fault = rough(len(name))
    summary = run(f"s3://shop/{name}", "s3://shop/out")
    store.fault = calm
    assert (summary.done, summary.failed) == (40, 0)
    assert sorted(outputs("out").values()) == sorted(map(cutout, good.values()))


@pytest.mark.parametrize("fault", [503, 500, DROP, HANG])
def test_an_object_that_never_comes_is_given_up_soon(store, photos, monkeypatch, fault):
    patience = Patience(tries=2, first=0.01)
    monkeypatch.setattr("wisp.scale.cutter.open_place", lambda at: open_place(at, patience))
    store.fault = lambda path: fault if path.endswith("/001.jpg") else 0
    store.faults.clear()
    summary = run("s3://shop/in", "s3://shop/out")
    assert (summary.done, summary.failed) == (39, 2)
    # The libraries below us ask at most eight times for each of our two, and not 250 times.
    assert 2 <= store.faults[fault] <= 16
    (failed,) = [row for row in rows("out") if row["fault"] == "store"]
    assert failed["path"] == "shelf1/001.jpg" and "cannot read shop/in/" in failed["error"]


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


_MOMENTS = 10  # for each of two kinds of outputs
_APART = 15  # photos between the deaths of two workers: a photo's second one would be its last


def after(driver: subprocess.Popen[bytes], photos: int) -> list[int]:
    """Wait until so many photos are done; return the workers of that moment."""
    assert driver.stdout
    workers: list[int] = []
    for _ in range(photos):
        line = driver.stdout.readline()
        assert line and not line.startswith(b"finished"), "more photos are needed"
        workers = [int(word) for word in line.split()[1:]]
    return workers


@pytest.mark.parametrize("to", ["files", "webdataset"])
def test_kills_of_driver_and_workers_at_random_moments_change_nothing(store, photos, to):
    fs = fsspec.filesystem("s3")
    fs.pipe({f"shop/in/more/{n:03d}.jpg": b"more %d" % n for n in range(160)})
    run("s3://shop/in", "s3://shop/calm", to=to, shards=10)
    chance, faults = random.Random(to), random.Random(to)
    store.fault = lambda path: faults.choices([503, 500, DROP, SLOW, 0], [1, 1, 1, 1, 96])[0]
    command = [sys.executable, "-m", "tests.scale.fake", "s3://shop/in", "s3://shop/killed", to]
    killed: Counter[str] = Counter()
    while killed.total() < _MOMENTS:
        with subprocess.Popen([*command, "2"], cwd=ROOT, stdout=subprocess.PIPE) as driver:
            workers: list[int] = []
            while driver.poll() is None:
                workers = after(driver, chance.randrange(12)) or workers
                time.sleep(chance.random() * 0.05)
                if workers and chance.random() < 0.6 and killed.total() < _MOMENTS - 1:
                    os.kill(chance.choice(workers), signal.SIGKILL)
                    killed["worker"] += 1
                    workers = after(driver, _APART)
                else:
                    driver.kill()
                    killed["driver"] += 1
                    driver.wait()
    assert min(killed["driver"], killed["worker"]) >= 2, killed
    done = subprocess.run([*command, "2"], cwd=ROOT, capture_output=True, check=True)
    assert b"finished" in done.stdout
    assert outputs("killed") == outputs("calm") and rows("killed") == rows("calm")
