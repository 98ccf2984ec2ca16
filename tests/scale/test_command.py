"""``wisp scale`` with the real networks, and what other engines call."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq
from click.testing import CliRunner
from PIL import Image

from pipeline import Settings
from pipeline.cli import main
from pipeline.errors import SettingsError
from tests.conftest import encoded
from wisp.scale import Cutter, cut_dataset
from wisp.scale.command import scale
from wisp.scale.cutter import Piece
from wisp.scale.on_ray import MEMORY
from wisp.scale.progress import conclude, progress, prometheus
from wisp.scale.rows import Row
from wisp.scale.summary import Summary


@pytest.fixture
def photos(tmp_path, photo) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encoded(photo, "JPEG"))
    (folder / "sub" / "b.png").write_bytes(encoded(photo[:, ::-1], "PNG"))
    return folder


def test_the_command_makes_what_cut_makes_and_cut_skips_it(photos, tmp_path):
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


@pytest.mark.parametrize(
    ("to", "look"),
    [
        ("files", ["--only-mask"]),
        ("webdataset", ["--format", "zip"]),
        ("parquet", ["--format", "jpg", "--background", "white", "--crop"]),
    ],
)
def test_any_output_in_any_kind_of_file_is_what_cut_makes(photos, tmp_path, to, look):
    look = [*look, "--no-refine", "--jobs", "1"]
    wanted = tmp_path / "cut"
    done = CliRunner().invoke(scale, [str(photos), str(tmp_path / "out"), "--to", to, *look])
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(main, ["cut", str(photos), "-o", str(wanted), *look]).exit_code == 0
    kept = {path.stem: path.read_bytes() for path in wanted.rglob("*.*")}
    assert len(kept) == 2
    assert made_in(tmp_path / "out", to) == kept


def made_in(folder: Path, to: str) -> dict[str, bytes]:
    """The cutouts of a run, by the photos' names without folder and ending."""
    if to == "parquet":
        (table,) = (pq.read_table(path).to_pylist() for path in folder.glob("*.parquet"))
        return {Path(row["path"]).stem: row["image"] for row in table}
    if to == "files":
        return {path.stem: path.read_bytes() for path in folder.rglob("*.png")}
    made = {}
    (path,) = folder.glob("*.tar")
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file and not member.name.endswith(".json"):
                made[Path(member.name).stem] = file.read()
    return made


def test_progress_is_lines_in_a_pipe_and_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("wisp.scale.progress._EVERY", 0)
    counted = []
    summary = Summary(listed=12, begun=time.monotonic() - 2)
    with progress(False, True, lambda summary, row: counted.append(row)) as tell:
        tell(summary, None)
        for number in range(8):
            row = Row(f"{number}.jpg", status="done", seconds=number)
            summary.count(row)
            tell(summary, row)
        summary.count(Row("bad\n.jpg", error="no picture"))
        tell(summary, Row("bad\n.jpg", error="no picture"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "listing: 12 photos so far"
    assert lines[-2] == "bad�.jpg: no picture"
    assert lines[-1].startswith("9 of 12, 1 failed, 4.") and "minutes left" in lines[-1]
    assert len(counted) == 10
    conclude(summary, False)
    said = capsys.readouterr().err
    assert "8 done, 0 skipped, 1 failed in 2 s" in said
    assert "slowest: 7.jpg 7.00 s, 6.jpg 6.00 s, 5.jpg 5.00 s, 4.jpg 4.00 s, 3.jpg 3.00 s" in said
    monkeypatch.setattr("pipeline.cli.terminal.on_terminal", lambda stream: True)
    with progress(False, True, None) as tell:
        tell(summary, Row("7.jpg", status="done"))
    assert "cutting" in capsys.readouterr().err


def test_sigterm_ends_the_run_and_keeps_what_is_done(photos, tmp_path, monkeypatch):
    out = str(tmp_path / "out")
    count = Summary.count

    def stop(summary, row):
        count(summary, row)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Summary, "count", stop)
    arguments = [str(photos), out, "--jobs", "1", "--no-refine"]
    done = CliRunner().invoke(scale, arguments)
    assert done.exit_code == 130 and "the same command goes on" in done.stderr
    monkeypatch.undo()
    again = CliRunner().invoke(scale, arguments)
    assert again.exit_code == 0 and "1 done, 1 skipped, 0 failed" in again.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system counts in other units")
def test_a_worker_needs_less_than_600_mb_for_a_photo_of_12_megapixels(photo, tmp_path):
    (tmp_path / "in").mkdir()
    large = Image.fromarray(photo).resize((4032, 3024), Image.Resampling.BICUBIC)
    large.save(tmp_path / "in" / "a.jpg")
    code = (
        "import resource, sys\n"
        "from wisp.scale.command import scale\n"
        "failed = scale(sys.argv[1:], standalone_mode=False)\n"
        "print(failed, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "in"), str(tmp_path / "out")]
    done = subprocess.run([*command, "--jobs", "1"], capture_output=True, text=True, check=True)
    failed, kilobytes = done.stdout.split()
    assert failed == "0" and 200_000 < int(kilobytes) < 600_000


def test_an_actor_asks_for_a_processor_memory_and_a_share_of_a_gpu():
    class Dataset:
        def map_batches(self, worker, **options):
            return options

    for providers, share in (("CUDAExecutionProvider", 0.25), ("CPUExecutionProvider", None)):
        asked = cut_dataset(Dataset(), Settings(providers=(providers,)), concurrency=(1, 64))
        assert (asked["num_cpus"], asked["num_gpus"], asked["memory"]) == (1, share, MEMORY)
        assert asked["concurrency"] == (1, 64) and asked["max_restarts"] == -1


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
        (["nowhere", "out"], "there is no nowhere"),
        (["empty.csv", "out"], "no pictures in"),
        (["empty.tar", "out"], "no pictures in"),
        (["", "out"], "a name is empty"),
        (["in", ""], "a name is empty"),
        (["in", "out", "--model", "bad.onnx"], "bad.onnx cannot be opened"),
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
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.csv").write_text("path\n")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(scale, arguments)
    assert done.exit_code != 0 and message in str(done.output) + str(done.exception)
    assert sorted(tmp_path.rglob("*")) == before  # nothing that another run would trip over


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


def test_a_bad_row_of_a_batch_is_a_row_that_says_why(monkeypatch):
    monkeypatch.setattr(Cutter, "cut", lambda self, path, data: Piece(data, "done"))
    good = [b"a", bytearray(b"b"), memoryview(b"c"), np.frombuffer(b"d", np.uint8), {"bytes": b"e"}]
    made = Cutter()({"image": [*good, None, "f.jpg", float("nan"), 5, np.zeros(3)]})
    assert list(made["image"]) == [b"a", b"b", b"c", b"d", b"e", b"", None, None, None, None]
    assert list(made["status"]) == ["done"] * 6 + ["failed"] * 4
    assert made["error"][6] == "there is a str where a picture's bytes should be"


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
