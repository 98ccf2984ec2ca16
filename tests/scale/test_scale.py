"""Many photos on this machine: what is planned, written, skipped, and refused."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.memory import MemoryFile
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from tests.scale.fake import Fake, cutout, run
from wisp.scale.cutter import Piece
from wisp.scale.ledger import report
from wisp.scale.patience import Patience
from wisp.scale.places import open_place
from wisp.scale.plan import Slice, Spill, default_shards, shard_hash
from wisp.scale.sources import Item, Listed, open_source, safe_name

ROOT = Path(__file__).parents[2]


def fill(folder: Path, names: dict[str, bytes]) -> Path:
    for name, data in names.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def catalogue(folder: Path, count: int = 40) -> dict[str, bytes]:
    photos = {f"shelf{n % 3}/sku{n:04d}.jpg": f"photo {n}".encode() for n in range(count)}
    fill(folder, photos)
    return photos


def outputs(folder: Path) -> dict[str, bytes]:
    """All that a run leaves for others, without its own manifests."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "_wisp" not in path.parts
    }


def rows(folder: Path | str) -> dict[str, dict]:
    return {
        record["path"]: record
        for table in report(open_place(folder))
        for record in table.to_pylist()
    }


# -- which photos ----------------------------------------------------------------------------------


def test_a_folder_is_mirrored_and_names_that_clash_are_kept_whole(tmp_path):
    photos = catalogue(tmp_path / "in", 6)
    extra = {
        "a.jpg": b"one",
        "a.webp": b"two",
        "notes.txt": b"",
        ".hidden/b.png": b"",
        "c.d.png": b"3",
    }
    fill(tmp_path / "in", extra)
    summary = run(str(tmp_path / "in"), str(tmp_path / "out"))
    expected = {name.replace(".jpg", ".png"): cutout(data) for name, data in photos.items()}
    expected |= {"a.jpg.png": cutout(b"one"), "a.webp.png": cutout(b"two"), "c.d.png": cutout(b"3")}
    assert outputs(tmp_path / "out") == expected
    assert (summary.done, summary.failed, summary.skipped) == (9, 0, 0)


def test_a_pattern_takes_what_it_matches(tmp_path):
    catalogue(tmp_path / "in", 9)
    source = open_source(f"{tmp_path}/in/**/sku000[12].jpg")
    assert isinstance(source, Listed)
    assert sorted(i.path for i in source.items()) == ["shelf1/sku0001.jpg", "shelf2/sku0002.jpg"]


def test_cutouts_below_the_photos_are_no_photos(tmp_path):
    catalogue(tmp_path, 5)
    for _ in range(2):
        run(str(tmp_path), str(tmp_path / "cutouts"))
    assert len(outputs(tmp_path / "cutouts")) == 5


def test_lists_of_addresses(tmp_path):
    photos = catalogue(tmp_path / "in", 4)
    addresses = [str(tmp_path / "in" / name) for name in photos]
    (tmp_path / "list.txt").write_text("\n".join(addresses))
    with open(tmp_path / "list.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "url"])
        writer.writerows(enumerate(addresses))
    (tmp_path / "in" / "list.jsonl").write_text("\n".join(json.dumps({"photo": n}) for n in photos))
    pq.write_table(pa.table({"path": addresses}), tmp_path / "list.parquet")
    for name in ("list.txt", "list.csv", "list.parquet"):
        run(str(tmp_path / name), str(tmp_path / name) + ".out")
        made = outputs(tmp_path / f"{name}.out")
        assert sorted(made.values()) == sorted(map(cutout, photos.values())), name
        assert all(key.startswith(str(tmp_path).lstrip("/")) for key in made), name
    (tmp_path / "more.csv.gz").write_bytes(gzip.compress((tmp_path / "list.csv").read_bytes()))
    assert run(str(tmp_path / "more.csv.gz"), str(tmp_path / "more")).done == 4
    run(str(tmp_path / "list.csv"), str(tmp_path / "named"), names="id")
    assert sorted(outputs(tmp_path / "named")) == ["0.png", "1.png", "2.png", "3.png"]
    run(str(tmp_path / "in" / "list.jsonl"), str(tmp_path / "json"), column="photo")
    assert set(outputs(tmp_path / "json")) == {name.replace(".jpg", ".png") for name in photos}


def test_lists_of_pictures(tmp_path):
    """Tables of text hold pictures as data: addresses."""
    pictures = [b"picture", b"?" * 200_000]  # in base64 the latter ends in slashes
    rows_ = [f"data:image/jpeg;base64,{base64.b64encode(p).decode()}" for p in pictures]
    rows_ += ["data:image/jpeg;base64,A", "data:nothing"]
    (tmp_path / "list.csv").write_text("\n".join(["image", *(f'"{row}"' for row in rows_)]))
    lines = [json.dumps({"sku": f"s{n}", "image": row}) for n, row in enumerate(rows_)]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    for name, stems in (
        ("csv", [f"{n:08}" for n in (1, 2, 3, 4)]),
        ("jsonl", ["s0", "s1", "s2", "s3"]),
    ):
        names = "sku" if name == "jsonl" else None
        summary = run(str(tmp_path / f"list.{name}"), str(tmp_path / name), names=names)
        assert (summary.done, summary.failed) == (2, 2)
        made = outputs(tmp_path / name)
        assert made == {f"{s}.png": cutout(p) for s, p in zip(stems, pictures, strict=False)}
        errors = [
            row["error"] for row in rows(tmp_path / name).values() if row["status"] == "failed"
        ]
        assert all(0 < len(error) < 200 for error in errors), errors


def test_a_table_of_pictures_and_a_webdataset(tmp_path):
    pictures = [f"picture {n}".encode() for n in range(50)]
    table = pa.table({"sku": [f"s{n % 48}" for n in range(50)], "image": pictures})
    pq.write_table(table, tmp_path / "photos.parquet", row_group_size=20)
    run(str(tmp_path / "photos.parquet"), str(tmp_path / "numbered"), to="webdataset")
    names = [f"photos-0000{n}-0000.tar" for n in range(3)]
    assert sorted(outputs(tmp_path / "numbered")) == names
    run(str(tmp_path / "photos.parquet"), str(tmp_path / "named"), names="sku")
    # Two of the names are there twice, in different row groups.
    named = outputs(tmp_path / "named")
    assert sorted(named.values()) == sorted(map(cutout, pictures))
    assert {"photos/s0.png", "photos/s0-2.png", "photos/s1-2.png"} < set(named)
    # And back: a WebDataset in, whose samples have a text beside the picture.
    run(f"{tmp_path}/numbered/*.tar", str(tmp_path / "again"), to="parquet")
    tables = [pq.read_table(path) for path in sorted((tmp_path / "again").glob("*.parquet"))]
    made = pa.concat_tables(tables).to_pylist()
    assert [record["image"] for record in made] == [cutout(cutout(data)) for data in pictures]
    assert made[0]["path"].endswith("/photos/00000000.png") and made[0]["confidence"] == 0.5


def tar(path: Path, photos: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in photos:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_tars_with_names_alike_have_shards_of_their_own(tmp_path):
    names = ("train", "train-0000", "a/b", "a-b", "c/d")
    for name in names:
        tar(tmp_path / f"in/{name}.tar", [("x.jpg", name.encode())])
    summary = run(f"{tmp_path}/in/**/*.tar", str(tmp_path / "out"))
    assert (summary.done, summary.skipped) == (5, 0)
    summary = run(f"{tmp_path}/in/**/*.tar", str(tmp_path / "out"))
    assert (summary.done, summary.skipped) == (0, 5)
    assert set(rows(tmp_path / "out")) == {f"{name}/x.jpg" for name in names}
    manifests = {path.stem for path in (tmp_path / "out/_wisp/shards").iterdir()}
    # As older versions named them, so that their runs go on.
    assert {"train-0000", "train-0000-0000", "a-b-0000", "c-d-0000"} < manifests


@pytest.mark.parametrize("packed", ["p.tar", "p.parquet"])
def test_photos_that_would_share_a_cutouts_name_get_one_each(tmp_path, packed, monkeypatch):
    monkeypatch.setattr("wisp.scale.plan.PER_SHARD", 3)
    names = ("a.jpg", "b.jpg", "a.webp", "a-2.png", "b.jpg", "a.png")
    photos = [(name, b"photo %d" % number) for number, name in enumerate(names)]
    tar(tmp_path / "p.tar", photos)
    table = pa.table({"name": names, "image": [data for _, data in photos]})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=2)
    source, column = str(tmp_path / packed), None if packed == "p.tar" else "name"
    run(source, str(tmp_path / "out"), names=column)
    stems = ("a", "b", "a-2", "a-2-2", "b-2", "a-3")
    made = {f"p/{stem}.png": cutout(data) for stem, (_, data) in zip(stems, photos, strict=True)}
    assert outputs(tmp_path / "out") == made
    assert {"p/a.jpg", "p/a.webp", "p/a-2.png", "p/a.png"} <= set(rows(tmp_path / "out"))

    def stop(summary, row):
        if summary.done == 2:
            raise KeyboardInterrupt

    # Whatever comes first, and wherever a run was stopped, names are the same.
    with pytest.raises(KeyboardInterrupt):
        run(source, str(tmp_path / "again"), names=column, tell=stop)
    for number in (2, 1):
        run(source, str(tmp_path / "again"), names=column, part=Slice(number, 2))
    assert outputs(tmp_path / "again") == made

    run(source, str(tmp_path / "tars"), to="webdataset", names=column)
    members: list[str] = []
    for path in (tmp_path / "tars").glob("*.tar"):
        with tarfile.open(path) as archive:
            members += archive.getnames()
    assert len(members) == len(set(members)) == 12


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("a.csv", "id,place\n1,x\n", None, "say with --column"),
        ("a.csv", "id,place\n1,x\n", "url", "no column 'url': there are id, place"),
        ("a.jsonl", "{}\nnonsense", "x", "row 1 has no column 'x'"),
        ("a.jsonl", '{"url": "b"}\nnonsense', None, "line 2 is no JSON"),
        ("a.parquet", "nonsense", None, "no Parquet file"),
        ("a.tar", "nonsense", None, "no tar"),
        ("gone.csv", None, None, "there is no .*gone.csv"),
        ("gone.parquet", None, None, "there is no .*gone.parquet"),
        ("gone.tar", None, None, "there is no .*gone.tar"),
        ("in", None, "url", "is no table"),
    ],
)
def test_what_cannot_be_a_source_is_said(tmp_path, name, content, column, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SettingsError, match=message):
        run(str(tmp_path / name), str(tmp_path / "out"), column=column)


@given(st.text(max_size=40))
def test_no_name_leads_out_of_a_folder(text):
    parts = safe_name(text).split("/")
    assert parts and all(part not in ("", ".", "..") and part.isprintable() for part in parts)


def test_a_store_cannot_make_us_write_elsewhere(tmp_path):
    fs = fsspec.filesystem("memory")
    for name in ("a/b.jpg", "a/../b.jpg", "../../b.jpg"):
        fs.store[f"/hostile/in/{name}"] = MemoryFile(fs, f"/hostile/in/{name}", name.encode())
    source = open_source("memory://hostile/in")
    assert isinstance(source, Listed)
    names = [item.path for item in source.items()]
    assert len(set(names)) == len(names) and all(".." not in name for name in names)


def test_pipes_and_links_to_folders_are_passed_over(tmp_path):
    catalogue(tmp_path / "in", 3)
    os.mkfifo(tmp_path / "in" / "pipe.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert run(str(tmp_path / "in"), str(tmp_path / "out")).done == 3


def test_a_list_of_web_addresses(tmp_path):
    class Handler(BaseHTTPRequestHandler):
        busy = 2

        def do_GET(self):
            status = {"/a.jpg": 200, "/private.jpg": 403, "/b.jpg": 200}.get(
                self.path.partition("?")[0], 404
            )
            if self.path == "/b.jpg" and Handler.busy:
                Handler.busy, status = Handler.busy - 1, 503
            self.send_response(status)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"photo")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        paths = ["a.jpg", "a.jpg?w=2", "b.jpg", "private.jpg", "gone.jpg"]
        (tmp_path / "list.txt").write_text("\n".join(f"http://{host}/{path}" for path in paths))
        summary = run(str(tmp_path / "list.txt"), str(tmp_path / "out"))
        server.shutdown()
    records = rows(tmp_path / "out")
    assert (summary.done, summary.failed) == (3, 2)
    assert records[f"{host}/private.jpg"]["error"] == "the server answers 403"
    assert records[f"{host}/gone.jpg"]["error"] == "there is no such file"
    assert {row["fault"] for row in records.values() if row["status"] == "failed"} == {"picture"}
    assert len(outputs(tmp_path / "out")) == 3


# -- shards ----------------------------------------------------------------------------------------


def test_slices_share_all_photos_out_and_agree_on_shards(tmp_path):
    items = [Item(f"{n}.jpg", f"/{n}.jpg") for n in range(500)]
    times: Counter[str] = Counter()
    for number in range(1, 5):
        part = Slice(number, 4)
        spill = Spill(part, None)
        spill.fill(items)
        assert spill.photos == 500
        for shard in spill.shards(default_shards(500, part) * 3):
            assert int(shard.name) % 4 == number - 1
            times.update(item.path for item in shard.items)
    assert times == Counter(item.path for item in items)


def test_planning_needs_no_more_memory_for_more_photos():
    def peak(photos: int) -> int:
        spill = Spill(Slice(), None)
        tracemalloc.start()
        spill.fill(Item(f"{n % 97}/{n}.jpg", f"s3://shop/{n}.jpg") for n in range(photos))
        planned = sum(len(list(s.items)) for s in spill.shards(default_shards(photos, Slice())))
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert planned == photos
        return memory

    peak(2000)  # what Python keeps of a first time
    assert peak(32_000) < 1.5 * peak(2000)


def test_hashes_stay_what_they_are():
    # Else a run would not go on where an older version stopped.
    assert shard_hash("shelf/a.jpg") == shard_hash("shelf/a.webp") == 3417151292419045760
    assert [Slice(2, 3).has(n) for n in range(4)] == [False, True, False, False]
    with pytest.raises(SettingsError, match="from 0, add 1"):
        Slice(0, 200)


def test_array_jobs_make_what_one_machine_makes(tmp_path):
    catalogue(tmp_path / "in", 60)
    run(str(tmp_path / "in"), str(tmp_path / "whole"))
    for number in (3, 1, 2):
        run(str(tmp_path / "in"), str(tmp_path / "parts"), part=Slice(number, 3))
    assert outputs(tmp_path / "parts") == outputs(tmp_path / "whole")
    # Then one machine finds nothing left to do.
    summary = run(str(tmp_path / "in"), str(tmp_path / "parts"))
    assert (summary.done, summary.skipped) == (0, 60)


# -- going on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["files", "webdataset", "parquet"])
def test_a_second_run_does_what_is_new_and_nothing_else(tmp_path, to):
    photos = catalogue(tmp_path / "in", 30)
    run(str(tmp_path / "in"), str(tmp_path / "out"), to=to, shards=4)
    before = outputs(tmp_path / "out")
    again = run(str(tmp_path / "in"), str(tmp_path / "out"), to=to)
    assert (again.done, again.skipped) == (0, 30) and outputs(tmp_path / "out") == before
    more = {f"new{n}.jpg": b"new %d" % n for n in range(5)}
    fill(tmp_path / "in", more)
    added = run(str(tmp_path / "in"), str(tmp_path / "out"), to=to)
    assert (added.done, added.skipped) == (5, 30)
    made = outputs(tmp_path / "out")
    assert before.items() <= made.items()
    assert sorted(pictures(made)) == sorted(map(cutout, (photos | more).values()))
    assert len(rows(tmp_path / "out")) == 35


@pytest.mark.parametrize("to", ["files", "webdataset", "parquet"])
def test_a_photo_that_changed_is_made_again_and_is_there_once(tmp_path, to):
    photos = catalogue(tmp_path / "in", 12)
    run(str(tmp_path / "in"), str(tmp_path / "out"), to=to, shards=2)
    photos["shelf0/sku0000.jpg"] = b"another photo"
    fill(tmp_path / "in", {"shelf0/sku0000.jpg": b"another photo", "new.jpg": b"new"})
    photos["new.jpg"] = b"new"
    run(str(tmp_path / "in"), str(tmp_path / "out"), to=to)
    assert sorted(pictures(outputs(tmp_path / "out"))) == sorted(map(cutout, photos.values()))


def pictures(made: dict[str, bytes]) -> list[bytes]:
    """The cutouts in a run's files, of whatever kind."""
    names = []
    for name, data in made.items():
        if name.endswith(".tar"):
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for member in archive.getmembers():
                    file = archive.extractfile(member)
                    if file and not member.name.endswith(".json"):
                        names.append(file.read())
        elif name.endswith(".parquet"):
            names += [
                image for image in pq.read_table(io.BytesIO(data))["image"].to_pylist() if image
            ]
        else:
            names.append(data)
    return names


def test_other_settings_are_refused(tmp_path):
    catalogue(tmp_path / "in", 3)
    run(str(tmp_path / "in"), str(tmp_path / "out"))
    with pytest.raises(SettingsError, match="model: fake → other"):
        run(str(tmp_path / "in"), str(tmp_path / "out"), facts={"model": "other"})
    with pytest.raises(SettingsError, match="to: files → parquet"):
        run(str(tmp_path / "in"), str(tmp_path / "out"), to="parquet")
    with pytest.raises(SettingsError, match="another option.* or delete _wisp in it"):
        run(str(tmp_path / "in"), str(tmp_path / "out"), digest="1" * 16)
    look = {"model": "fake", "output": {"background": "white"}}
    with pytest.raises(SettingsError, match=r"run \(background: default → white\)"):
        run(str(tmp_path / "in"), str(tmp_path / "out"), facts=look, digest="1" * 16)
    with pytest.raises(SettingsError, match="begun with 1 shards"):
        run(str(tmp_path / "in"), str(tmp_path / "out"), shards=2)
    os.rename(tmp_path / "in", tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="source"):
        run(str(tmp_path / "elsewhere"), str(tmp_path / "out"))


def test_a_run_record_that_was_cut_off_is_written_anew(tmp_path):
    catalogue(tmp_path / "in", 3)
    (tmp_path / "out/_wisp").mkdir(parents=True)
    (tmp_path / "out/_wisp/run.json").write_text("")
    assert run(str(tmp_path / "in"), str(tmp_path / "out")).done == 3
    assert json.loads((tmp_path / "out/_wisp/run.json").read_text())["shards"] == 1


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["files", "webdataset", "parquet"])
def test_a_bad_photo_is_a_row(tmp_path, to):
    photos = catalogue(tmp_path / "in", 10)
    fill(tmp_path / "in", {"shelf0/sku0003.jpg": b"bad", "empty.jpg": b"bad too"})
    for retry, done, failed, skipped, before in (
        (False, 9, 2, 0, 0), (False, 0, 0, 11, 2), (True, 0, 2, 9, 0)
    ):  # fmt: skip
        summary = run(str(tmp_path / "in"), str(tmp_path / "out"), to=to, retry=retry)
        new = summary.done + summary.failed + summary.skipped
        assert new == 11
        if not (to == "parquet" and retry):  # whose tables have the failed rows too
            assert (summary.done, summary.failed) == (done, failed)
            assert (summary.skipped, summary.failed_before) == (skipped, before)
    records = rows(tmp_path / "out")
    assert records["empty.jpg"]["error"] == "this is not an image of a known kind"
    assert records["empty.jpg"]["fault"] == "picture" and records["empty.jpg"]["output"] in (
        "", "000000.parquet"
    )  # fmt: skip
    good = [data for name, data in photos.items() if name != "shelf0/sku0003.jpg"]
    assert sorted(pictures(outputs(tmp_path / "out"))) == sorted(map(cutout, good))


def test_a_photo_that_is_gone_is_a_row_and_not_tried_again(tmp_path):
    (tmp_path / "list.txt").write_text(f"{tmp_path}/gone.jpg\n")
    summary = run(str(tmp_path / "list.txt"), str(tmp_path / "out"))
    (row,) = rows(tmp_path / "out").values()
    assert summary.failed == 1 and row["error"] == "there is no such file"


def test_patience_waits_and_gives_up():
    calls = []

    def shaky(fails):
        calls.append(1)
        if len(calls) <= fails:
            raise OSError("503 Slow Down")
        return "fine"

    patience = Patience(tries=4, first=0.001)
    assert patience.call("cannot read", shaky, 3) == "fine" and len(calls) == 4
    calls.clear()
    with pytest.raises(Exception, match=r"cannot read: 503 Slow Down \(4 tries\)"):
        patience.call("cannot read", shaky, 9)
    calls.clear()
    with pytest.raises(Exception, match=r"cannot read: 503 Slow Down$"):
        Patience(total=-1).call("cannot read", shaky, 9)  # whose time is over after one call
    assert len(calls) == 1
    calls.clear()

    def missing():
        calls.append(1)
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        patience.call("cannot read", missing)
    assert len(calls) == 1


class Watched(Fake):
    """Tells who else was cutting as a photo that kills its worker began."""

    def cut(self, path: str, data: bytes, software: str = "") -> Piece:
        busy = Path(self.marker + ".busy")
        busy.mkdir(exist_ok=True)
        others = len(list(busy.iterdir()))
        if data == b"die":
            with open(self.marker + ".tries", "a") as file:
                file.write(f"{others}\n")
            return super().cut(path, data)
        mine = busy / str(os.getpid())
        mine.touch()
        time.sleep(0.01)
        mine.unlink()
        return super().cut(path, data)


def test_a_worker_that_dies_is_replaced_and_its_photo_tried_alone_once(tmp_path):
    photos = catalogue(tmp_path / "in", 20)
    fill(tmp_path / "in", {"fatal.jpg": b"die", "unlucky.jpg": b"once", "bad.jpg": b"bad"})
    watched = Watched(marker=str(tmp_path / "m"))
    summary = run(str(tmp_path / "in"), str(tmp_path / "out"), jobs=2, cutter=watched)
    assert (summary.done, summary.failed) == (21, 2)
    tries = (tmp_path / "m.tries").read_text().split()
    assert len(tries) == 2 and tries[1] == "0"
    records = rows(tmp_path / "out")
    assert records["fatal.jpg"]["fault"] == "worker" and "memory" in records["fatal.jpg"]["error"]
    assert records["unlucky.jpg"]["status"] == "done"
    good = [*photos.values(), b"once"]
    assert sorted(outputs(tmp_path / "out").values()) == sorted(map(cutout, good))


def test_workers_that_are_killed_at_random_moments_cost_no_photo(tmp_path):
    photos = catalogue(tmp_path / "in", 60)
    chance = random.Random(3)
    at = {3, 17, 18, 40}

    def kill(summary, row):
        if summary.done in at:
            at.remove(summary.done)
            victim = chance.choice(multiprocessing.active_children())
            assert victim.pid
            os.kill(victim.pid, signal.SIGKILL)

    fake = Fake(seconds=0.01)
    summary = run(str(tmp_path / "in"), str(tmp_path / "out"), jobs=2, cutter=fake, tell=kill)
    assert not at and (summary.done, summary.failed) == (60, 0)
    assert sorted(outputs(tmp_path / "out").values()) == sorted(map(cutout, photos.values()))
    assert len(rows(tmp_path / "out")) == 60


class Broken(Fake):
    def open(self) -> None:
        raise ValueError("no such network")


def test_workers_that_cannot_start_end_the_run(tmp_path):
    catalogue(tmp_path / "in", 2)
    with pytest.raises(Exception, match="no such network"):
        run(str(tmp_path / "in"), str(tmp_path / "out"), jobs=1, cutter=Broken())


@pytest.mark.parametrize("to", ["files", "webdataset"])
@pytest.mark.parametrize("source", ["in", "in.tar"])
def test_what_an_interrupted_run_has_done_is_kept(tmp_path, to, source):
    photos = catalogue(tmp_path / "in", 30)
    tar(tmp_path / "in.tar", list(photos.items()))

    def stop(summary, row):
        if summary.done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(str(tmp_path / source), str(tmp_path / "out"), to=to, tell=stop)
    for counts in ((20, 10) if to == "files" else (30, 0), (0, 30)):
        summary = run(str(tmp_path / source), str(tmp_path / "out"), to=to)
        assert (summary.done, summary.skipped) == counts


def test_ctrl_c_keeps_what_is_done(tmp_path):
    catalogue(tmp_path / "in", 200)
    command = [sys.executable, "-m", "tests.scale.fake", f"{tmp_path}/in", f"{tmp_path}/out"]
    with subprocess.Popen(
        [*command, "files", "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # What a shell starts in the background inherits a SIGINT that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as driver:
        assert driver.stdout
        for _ in range(20):
            driver.stdout.readline()
        driver.send_signal(signal.SIGINT)
    summary = run(str(tmp_path / "in"), str(tmp_path / "out"), shards=10)
    assert summary.skipped >= 20 and summary.done + summary.skipped == 200
    assert len(outputs(tmp_path / "out")) == 200


# -- stores ----------------------------------------------------------------------------------------


def test_memory_to_memory():
    fs = fsspec.filesystem("memory")
    for n in range(12):
        fs.pipe_file(f"/shop/in/{n}.jpg", b"photo %d" % n)
    summary = run("memory://shop/in", "memory://shop/out", to="webdataset", shards=2)
    assert summary.done == 12
    assert sorted(open_place("memory://shop/out").names()) == ["000000.tar", "000001.tar", "_wisp"]


def test_two_colons_are_part_of_a_name_unless_they_lead_into_an_archive(tmp_path):
    photos = {"x::y.jpg": b"one", "sub::folder/z.jpg": b"two"}
    fill(tmp_path / "in", photos)
    (tmp_path / "in" / "list.txt").write_text("\n".join(photos))
    for name in ("in", "in/list.txt"):
        assert run(str(tmp_path / name), f"{tmp_path}/{name}.out").done == 2
    assert open_place("https://shop/x::y.jpg").root == "https://shop/x::y.jpg"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.jpg", b"three")
    assert open_place(f"zip://x.jpg::{tmp_path}/a.zip").read() == b"three"


def test_unknown_kinds_of_places_are_said():
    with pytest.raises(SettingsError, match="nowhere"):
        open_place("nowhere://a/b")
