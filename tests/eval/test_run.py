"""Runs: isolation, failures, resuming, fairness of times; on methods that take no time."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval import cache, results, run
from eval.cache import Cache
from eval.datasets import find
from eval.methods import Input, Spec
from eval.scenes import DatasetError
from eval.worker import MethodFailed, MethodUnavailable, Worker


def command(line: str, label: str) -> Spec:
    return Spec("command", (("run", line),), label)


def folder(path: Path, label: str) -> Spec:
    return Spec("folder", (("path", str(path)),), label)


@pytest.fixture
def input_(pairs: Path) -> Input:
    return Input("a", (pairs / "images/a.png").read_bytes(), np.zeros((30, 40, 3), np.uint8))


def test_a_hang_is_ended_with_all_that_it_started(tmp_path: Path, input_: Input) -> None:
    note, folder = tmp_path / "pid", tmp_path / "folder"
    line = f"sh -c 'dirname $1 > {folder}; echo $$ > {note}; exec sleep 60' sh {{in}} {{out}}"
    with Worker(command(line, "slow"), timeout=1.0) as worker:
        with pytest.raises(MethodFailed, match="no answer within 1 s"):
            worker.ask(input_)
        pid = int(note.read_text())
        assert not Path(folder.read_text().strip()).exists()  # nothing is left behind
        for _ in range(50):
            if not _running(pid):
                return
            time.sleep(0.1)
    pytest.fail("the command is still running")


def _running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:4]
    except OSError:
        return False


def test_a_crash_is_one_failure(tmp_path: Path, input_: Input) -> None:
    # Kills its own worker process, which is its parent's parent, the first time; then behaves.
    once = tmp_path / "once"
    kill = "kill -9 $(ps -o ppid= -p $PPID)"
    script = f"test -e {once} || {{ touch {once}; {kill}; sleep 5; }}; cp $1 $2"
    line = f"sh -c '{script}' sh {{in}} {{out}}"
    with Worker(command(line, "fragile"), timeout=60) as worker:
        with pytest.raises(MethodFailed, match="its process died"):
            worker.ask(input_)
        answer = worker.ask(input_)
    assert answer.cutout.shape == (30, 40, 4) and answer.seconds


def test_what_cannot_be_loaded_is_unavailable(tmp_path: Path, input_: Input) -> None:
    spec = folder(tmp_path / "nowhere", "gone")
    with Worker(spec, 60) as worker, pytest.raises(MethodUnavailable, match="not a folder"):
        worker.ask(input_)


@pytest.fixture
def finished(pairs: Path, tmp_path: Path) -> Path:
    """Perfect results for two of the three photos, and a broken one for the third."""
    root = tmp_path / "done"
    root.mkdir()
    for name in "ab":
        alpha = Image.open(pairs / "alphas" / f"{name}.png")
        photo = Image.open(pairs / "images" / f"{name}.png")
        photo.putalpha(alpha)
        photo.save(root / f"{name}.png")
    (root / "c.png").write_bytes(b"broken")
    return root


def test_a_run_from_end_to_end(pairs: Path, finished: Path, tmp_path: Path) -> None:
    dataset, store = find(str(pairs)), Cache(tmp_path / "cache")
    log = tmp_path / "calls"
    copy = f"sh -c 'echo x >> {log}; cp $1 $2' sh {{in}} {{out}}"
    specs = [
        command(copy, "copy"),
        folder(finished, "done"),
        folder(tmp_path / "nowhere", "gone"),
    ]
    plan = run.Plan(repeats=2, timeout=60)
    first = run.execute(dataset, specs, plan, store)

    assert [row.name for row in first.rows] == ["a", "b", "c"]
    assert len(log.read_text().split()) == 1 + 3 * 2  # a warm-up, then every photo twice
    assert list(first.unavailable) == ["gone"]
    done = [row.outcomes["done"] for row in first.rows]
    assert [outcome.failure is None for outcome in done] == [True, True, False]
    assert "no picture" in (done[2].failure or "")
    assert done[0].figures["psnr"] == 100
    assert done[0].figures["sad"] == pytest.approx(0, abs=1e-6)
    copied = first.rows[0].outcomes["copy"].figures
    assert 0 < copied["psnr"] < 20 and copied["seconds"] > 0 and copied["megabytes"] > 0
    assert "psnr@edge" in copied and "psnr@roi" not in copied  # no stage 1 in this run
    assert "seconds" not in done[0].figures

    # Again: the command is not run, what failed is tried again, and the figures are the same.
    (finished / "c.png").write_bytes((finished / "a.png").read_bytes())
    second = run.execute(dataset, specs[:2], plan, store)
    assert len(log.read_text().split()) == 7
    assert second.rows[2].outcomes["done"].failure is None
    for before, after in zip(first.rows, second.rows, strict=True):
        assert before.outcomes["copy"].figures == after.outcomes["copy"].figures

    document = results.collect(dataset, specs, plan, first, "wisp bench", "no lpips")
    assert json.loads(json.dumps(document)) == document
    means = document["subsets"]["all"]["means"]
    assert means["done"]["psnr"]["n"] == 2 and means["copy"]["psnr"]["n"] == 3
    pair = document["subsets"]["all"]["pairs"]["done"]["copy"]["psnr"]
    assert (pair["wins"], pair["losses"], pair["difference"]["n"]) == (2, 0, 2)
    by_label = {method["label"]: method for method in document["methods"]}
    assert by_label["done"]["failures"] == 1
    assert "not a folder" in by_label["gone"]["unavailable"]


def test_figures_in_several_processes_are_the_same(
    pairs: Path, finished: Path, tmp_path: Path
) -> None:
    dataset, specs = find(str(pairs)), [folder(finished, "done")]
    alone, many = (
        run.execute(dataset, specs, run.Plan(repeats=1, jobs=jobs), Cache(tmp_path / str(jobs)))
        for jobs in (1, 2)
    )
    for one, other in zip(alone.rows, many.rows, strict=True):
        assert one.outcomes["done"].figures == other.outcomes["done"].figures


def test_bad_samples_stop_the_run_or_are_counted(
    pairs: Path, finished: Path, tmp_path: Path
) -> None:
    (pairs / "alphas" / "a.png").unlink()
    (pairs / "alphas" / "b.png").write_bytes(b"broken")
    (finished / "c.png").write_bytes((finished / "a.png").read_bytes())
    specs, store = [folder(finished, "done")], Cache(tmp_path / "cache")
    with pytest.raises(DatasetError, match=r"1 of set cannot be used \(--skip-bad"):
        run.execute(find(str(pairs)), specs, run.Plan(), store)
    outcome = run.execute(find(str(pairs)), specs, run.Plan(skip_bad=True), store)
    assert [row.name for row in outcome.rows] == ["c"] and len(outcome.skipped) == 2


def test_times_are_compared_only_where_taken_together() -> None:
    def sample(together: dict[str, str]) -> dict:
        figures = {"a": {"seconds": 1.0}, "b": {"seconds": 2.0}}
        return {"figures": figures, "together": together}

    group = [sample({"a": "x", "b": "x"}), sample({"a": "x", "b": "y"})]
    ratio = results._time_ratios(group, ["a", "b"])["a"]["b"]
    assert ratio["n"] == 1 and ratio["value"] == pytest.approx(0.5)


def test_the_key_holds_what_the_result_depends_on(tmp_path: Path) -> None:
    weights = tmp_path / "m.onnx"
    weights.write_bytes(b"one")
    spec = Spec("coarse", (("model", str(weights)),), "coarse")
    key = cache.key(spec, "a", b"photo")
    assert key == cache.key(Spec(spec.kind, spec.options, "other name"), "a", b"photo")
    assert key != cache.key(spec, "a", b"other photo")
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(b"one")
    assert key == cache.key(Spec("coarse", (("model", str(copy)),)), "a", b"photo")
    weights.write_bytes(b"two!")
    assert key != cache.key(spec, "a", b"photo")


def test_a_cutout_without_its_note_does_not_count(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    pixels = np.zeros((2, 2, 4), np.uint8)
    store.keep("ab" * 32, {"figures": {}}, pixels)
    assert store.note("ab" * 32) == {"figures": {}}
    store._note("ab" * 32).write_text('{"figu')
    assert store.note("ab" * 32) is None
    assert not [path for path in tmp_path.rglob(".*")]
