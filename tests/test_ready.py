"""Graphs kept as onnxruntime has made them ready."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from pipeline.errors import ModelInvalid
from pipeline.models import COARSE, providers, ready
from tests import networks

FILE = COARSE["wisp"].path
CPU = ("CPUExecutionProvider",)


@pytest.fixture
def graphs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "wisp" / "graphs"


def answer(session: onnxruntime.InferenceSession | None = None) -> np.ndarray:
    photo = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    hints = np.zeros((1, 2, 64, 64), np.float32)
    session = session or providers.open_session(FILE, CPU, 1)
    return session.run(["d0"], {"input": photo, "hints": hints})[0]


def test_it_answers_as_the_file_and_is_made_once(graphs):
    expected = answer(onnxruntime.InferenceSession(FILE, providers=CPU))
    np.testing.assert_array_equal(answer(), expected)
    (graph,) = graphs.iterdir()
    made = graph.stat().st_mtime_ns
    np.testing.assert_array_equal(answer(), expected)
    assert [path.stat().st_mtime_ns for path in graphs.iterdir()] == [made]
    used = {node.op_type for node in onnx.load(graph).graph.node}
    assert "QLinearConv" in used  # which the file has none of
    assert "QLinearConv" not in {node.op_type for node in onnx.load(FILE).graph.node}


def test_a_broken_one_is_made_anew(graphs):
    expected = answer()
    (graph,) = graphs.iterdir()
    whole = graph.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"no network"):
        graph.write_bytes(broken)
        np.testing.assert_array_equal(answer(), expected)
        assert abs(graph.stat().st_size - len(whole)) < 1000


def test_of_another_file_version_or_processor_it_is_another(graphs, tmp_path, monkeypatch):
    first = ready.place(FILE, "1.0")
    changed = Path(shutil.copy(FILE, tmp_path))
    assert ready.place(changed, "1.0") == first
    changed.write_bytes(FILE.read_bytes() + b"\0")
    others = {ready.place(changed, "1.0"), ready.place(FILE, "1.1")}
    monkeypatch.setattr(ready, "_processor", lambda: "another")
    others.add(ready.place(FILE, "1.0"))
    assert len(others | {first}) == 4 and None not in others


def test_where_nothing_can_be_kept_the_file_is_opened(graphs, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    assert answer().shape == (1, 1, 64, 64)
    (tmp_path / "cache").unlink()

    def unknown() -> str:
        raise FileNotFoundError(ready._CPUINFO)

    monkeypatch.setattr(ready, "_processor", unknown)
    assert answer().shape == (1, 1, 64, 64)
    assert not graphs.exists() or not list(graphs.iterdir())


def test_the_newest_stay(graphs, monkeypatch):
    monkeypatch.setattr(ready, "KEPT", 2)
    for version in "abc":
        monkeypatch.setattr(ready, "_processor", lambda version=version: version)
        answer()
    kept = ready.place(FILE, onnxruntime.__version__)
    assert len(list(graphs.iterdir())) == 2 and kept in graphs.iterdir()


def test_what_a_killed_process_left_behind_goes(graphs):
    graphs.mkdir(parents=True)
    (graphs / ".wisp-0123456789abcdef.part").write_bytes(b"half a graph")
    answer()
    assert [path.suffix for path in graphs.iterdir()] == [".onnx"]


def test_of_what_is_small_or_no_network_none_is_kept(graphs, tmp_path):
    providers.open_session(networks.stage1(tmp_path / "tiny.onnx"), CPU, 1)
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"no network " * 60_000)
    with pytest.raises(ModelInvalid, match="wrong.onnx cannot be opened"):
        providers.open_session(wrong, CPU, 1)
    assert not graphs.exists() or not list(graphs.iterdir())
