"""Networks that never end are ended; and too little memory is said in one way."""

import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from pipeline import Cutout, ModelTooSlow, OutOfMemory, Settings, models
from pipeline.memory import enough_memory
from tests import networks
from tests.conftest import encoded


@pytest.fixture
def endless(tmp_path):
    return str(networks.endless_stage1(tmp_path / "endless.onnx"))


@pytest.fixture
def tiny(tmp_path):
    return str(networks.stage1(tmp_path / "tiny.onnx"))


def test_an_endless_network_ends_with_its_limit(photo, endless, capfd):
    cutout = Cutout(Settings(model=endless, refine=False, network_seconds=0.2))
    for _ in range(2):
        with pytest.raises(ModelTooSlow, match=r"longer than 0\.2 s"):
            cutout(photo)
    assert capfd.readouterr() == ("", "")


def test_what_a_check_raises_ends_the_network_and_reaches_the_caller(photo, endless):
    cutout, leave = Cutout(Settings(model=endless, refine=False)), threading.Event()

    def check() -> None:
        if leave.is_set():
            raise KeyError("left")

    threading.Timer(0.2, leave.set).start()
    with pytest.raises(KeyError, match="left"), models.watched(check):
        cutout(photo)


def test_watching_changes_nothing_and_ends_with_its_block(photo, tiny):
    cutout = Cutout(Settings(model=tiny, refine=False))
    plain = cutout(photo).alpha
    seen = []
    with models.watched(lambda: seen.append(threading.current_thread().name)):
        assert np.array_equal(cutout(photo).alpha, plain)
        time.sleep(0.1)
    assert set(seen) == {"wisp-watch"}
    assert "wisp-watch" not in [thread.name for thread in threading.enumerate()]
    calls = len(seen)
    assert np.array_equal(cutout(photo).alpha, plain) and len(seen) == calls


def test_threads_are_watched_apart(photo, endless, tiny):
    slow, quick = (
        Cutout(Settings(model=model, refine=False, network_seconds=seconds))
        for model, seconds in ((endless, 0.5), (tiny, 60.0))
    )
    names = []

    def work() -> None:
        with pytest.raises(ModelTooSlow):
            slow(photo)
        names.append("ended")

    thread = threading.Thread(target=work)
    thread.start()
    assert quick(photo).alpha.shape == photo.shape[:2]
    thread.join()
    assert names == ["ended"]


class Starved(networks.Function):
    def __init__(self, error: Exception) -> None:
        super().__init__(lambda batch: batch)
        self.error = error

    def run(self, outputs, inputs):
        raise self.error


def onnx_error(text: str) -> Exception:
    return type("RuntimeException", (Exception,), {"__module__": "onnxruntime.capi"})(text)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        onnx_error("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"),
        onnx_error("Failed to allocate memory for requested buffer of size 3435973836800"),
        cv2.error("OpenCV: (-4:Insufficient memory) Failed to allocate 4 bytes"),
    ],
)
def test_too_little_memory_is_one_error(photo, tiny, error):
    cutout = Cutout(Settings(model=tiny, refine=False))
    cutout._opened = Starved(error), cutout.model
    with pytest.raises(OutOfMemory, match="not enough memory for this photo"):
        cutout(photo)


def test_where_no_thread_can_be_started_is_one_error(photo, tiny, monkeypatch):
    cutout = Cutout(Settings(model=tiny))
    cutout(photo)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OutOfMemory, match="no further thread: raise its limit"):
        cutout(photo)


@pytest.mark.parametrize("error", [ValueError("bad_alloc"), onnx_error("no such input")])
def test_other_errors_are_left_as_they_are(error):
    with pytest.raises(type(error)), enough_memory():
        raise error


def test_memory_that_is_not_there():
    with pytest.raises(OutOfMemory), enough_memory():
        np.zeros(1 << 60, np.uint8)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another kind")
def test_on_a_small_machine_the_command_says_it_in_one_line(tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(encoded(np.zeros((6000, 8000, 3), np.uint8), "JPEG"))
    limit = (700_000 * 1024,) * 2
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, {limit})\n"
        f"from pipeline.cli import main; main(['cut', {str(path)!r}, '-o', {str(tmp_path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "not enough memory" in line or "more memory than there is" in line
