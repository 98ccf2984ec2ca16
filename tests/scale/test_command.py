"""``wisp scale`` with the real networks, and what other engines call."""

from __future__ import annotations

import pickle
import socket
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq
from click.testing import CliRunner

from pipeline import Settings
from pipeline.cli import main
from pipeline.errors import SettingsError
from tests.conftest import encoded
from wisp.scale import Cutter
from wisp.scale.command import scale
from wisp.scale.progress import prometheus
from wisp.scale.rows import Row
from wisp.scale.summary import Summary


@pytest.fixture
def photos(tmp_path, photo) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encoded(photo, "JPEG"))
    (folder / "sub" / "b.png").write_bytes(encoded(photo[:, ::-1], "PNG"))
    return folder


def test_the_command_makes_what_cut_makes_and_each_skips_what_the_other_made(photos, tmp_path):
    ours, theirs = tmp_path / "scale", tmp_path / "cut"
    arguments = [str(photos), str(ours), "--jobs", "1", "--report", str(tmp_path / "r.parquet")]
    done = CliRunner().invoke(scale, arguments)
    assert done.exit_code == 0, done.output
    assert "2 done, 0 skipped, 0 failed in" in done.stderr
    assert CliRunner().invoke(main, ["cut", str(photos), "-o", str(theirs)]).exit_code == 0
    for name in ("a.png", "sub/b.png"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    again = CliRunner().invoke(main, ["cut", str(photos), "-o", str(ours)])
    assert "0 done, 2 skipped" in again.stderr
    table = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert [row["output"] for row in table] == ["a.png", "sub/b.png"]
    assert table[0]["width"] == 96 and table[0]["bytes_out"] == (ours / "a.png").stat().st_size


def test_a_failed_photo_makes_the_exit_code_one_also_the_next_time(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"no picture")
    for line in ("a.jpg: this is not an image", "1 of the skipped failed before"):
        done = CliRunner().invoke(
            scale, [str(tmp_path / "in"), str(tmp_path / "out"), "--jobs", "1"]
        )
        assert done.exit_code == 1 and line in done.stderr, done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "out", "--shard", "0/3"], "from 1 to the second"),
        (["in", "out", "--shard", "three"], "--shard is K/N"),
        (["in", "in"], "holds the photos"),
        (["empty", "out"], "no pictures in"),
        (["in", "nowhere://x"], "nowhere"),
        (["in", "out", "--column", "image"], "is no table"),
        (["in", "out", "--model", "none"], "none"),
        (["in", "out", "--margin", "5%"], "--margin is for --crop"),
    ],
)
def test_wrong_wishes_are_said_in_a_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(scale, arguments)
    assert done.exit_code != 0 and message in str(done.output) + str(done.exception)


def test_a_batch_of_columns(photos):
    data = (photos / "a.jpg").read_bytes()
    cutter = pickle.loads(pickle.dumps(Cutter(Settings(refine=False, threads=1))))
    made = cutter({"path": np.array(["a", "b"], object), "bytes": np.array([data, b""], object)})
    assert list(made) == ["path", "image", "status", "error", "confidence", "seconds"]
    assert {len(column) for column in made.values()} == {2}
    assert list(made["status"]) == ["done", "failed"] and made["image"][1] is None
    assert made["image"][0].startswith(b"\x89PNG") and "empty" in made["error"][1]
    by_address = cutter({"path": [str(photos / "a.jpg"), str(photos / "gone.jpg")]})
    assert by_address["image"][0] == made["image"][0]
    assert list(by_address["error"]) == ["", "there is no such file"]
    pandas = pytest.importorskip("pandas")
    (frame,) = cutter.frames([pandas.DataFrame({"path": ["a"], "image": [{"bytes": data}]})])
    assert frame["image"][0] == made["image"][0] and frame.shape == (1, 6)


def test_metrics_for_prometheus():
    pytest.importorskip("prometheus_client")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tell, summary = prometheus(port), Summary()
    for row in (Row("a", status="done", bytes_in=10, bytes_out=7, seconds=0.3), Row("b")):
        tell(summary, row)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert 'wisp_scale_photos_total{status="done"} 1.0' in text
    assert 'wisp_scale_bytes_total{direction="out"} 7.0' in text
    with pytest.raises(SettingsError, match=f"metrics on port {port}"):
        prometheus(port)
