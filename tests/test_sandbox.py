"""Small files that would stop all work: refused at a glance, or stopped when their time is over."""

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import (
    Cutout,
    ImageError,
    ImageTooLarge,
    ImageTooSlow,
    Settings,
    UnreadableImage,
    image_io,
)
from pipeline.image_io import sandbox, structure
from tests import hostile, networks
from tests.conftest import encoded, in_time

#: Each would take Pillow from many seconds to hours.
REFUSED = {
    "gif comment": lambda: hostile.gif_comment(16_000_000),
    "jpeg scans": lambda: hostile.jpeg_scans(5000, 1000),
    "jpeg markers": lambda: hostile.jpeg_markers(2_000_000),
    "jpeg fill bytes": lambda: hostile.jpeg_fill(20_000_000),
    "png chunks": lambda: hostile.png_chunks(2_000_000),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("seconds", [None, 0.001], ids=["here", "child"])
def test_what_no_camera_writes_is_refused_before_it_is_decoded(name, seconds):
    with pytest.raises(ImageTooSlow, match=r"more than .* no camera"):
        image_io.read(REFUSED[name](), seconds=seconds)


def test_pages_are_not_counted():
    photo = image_io.read(hostile.tiff_pages(100_000))
    assert photo.notes == ("several pages: the first was taken",)


def test_a_picture_that_takes_too_long_is_stopped():
    slow = hostile.bmp_runs(4000)
    with pytest.raises(ImageTooSlow, match=r"longer than 0\.3 s"):
        image_io.read(slow, seconds=0.3)
    assert image_io.read(hostile.bmp_runs(8)).image.shape == (8, 8, 3)


def test_a_picture_of_any_size_may_be_allowed(photo):
    data = encoded(photo, "TIFF")
    limits: list[Any] = [float("inf"), 10**30]
    for most in limits:
        assert np.array_equal(image_io.read(data, most, seconds=30).image, photo)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child's work")
@pytest.mark.parametrize("works", [True, False])
def test_a_picture_is_put_back_for_its_work_and_not_for_a_busy_machine(monkeypatch, works):
    slowed = []
    monkeypatch.setattr(sandbox, "_PATIENCE", 0.1)
    monkeypatch.setattr(sandbox._Child, "slow_down", lambda child: slowed.append(child))
    if not works:  # as where it gets no core
        monkeypatch.setattr(sandbox._Child, "worked", lambda child: 0.0)
    with pytest.raises(ImageTooSlow):
        image_io.read(hostile.bmp_runs(4000), seconds=1)
    assert bool(slowed) == works


@pytest.fixture
def starved(monkeypatch):
    """A child that gets no processor; call it to let it have one."""
    sandbox.close()
    child = sandbox._Child()
    sandbox._idle.append(child)
    yield child
    child.process.send_signal(signal.SIGCONT)


@pytest.mark.skipif(not sandbox._OVER, reason="no timers: there is only the clock")
def test_waiting_for_a_processor_does_not_count(photo, starved):
    data = encoded(photo, "TIFF")
    spent: list[float] = []
    assert sandbox.decode(data, 10**6, 60).image.shape == photo.shape  # it is warm
    starved.process.send_signal(signal.SIGSTOP)
    timer = threading.Timer(1.0, starved.process.send_signal, (signal.SIGCONT,))
    timer.start()
    assert np.array_equal(sandbox.decode(data, 10**6, 0.5, spent.append).image, photo)
    timer.join()
    assert max(spent) < 0.5


@pytest.mark.skipif(not sandbox._OVER, reason="no timers: there is only the clock")
def test_what_waits_for_ever_ends_too(photo, starved, monkeypatch):
    monkeypatch.setattr(sandbox, "_WAIT", 2.0)
    starved.process.send_signal(signal.SIGSTOP)
    with pytest.raises(ImageTooSlow, match=r"longer than 0\.2 s"):
        sandbox.decode(encoded(photo, "TIFF"), 10**6, 0.2)


def test_the_limit_is_a_setting(tmp_path):
    nets = networks.stage1(tmp_path / "coarse.onnx")
    cutout = Cutout(Settings(model=str(nets), refine=False, decode_seconds=0.2))
    path = tmp_path / "slow.bmp"
    path.write_bytes(hostile.bmp_runs(4000))
    with pytest.raises(ImageTooSlow, match=r"slow\.bmp: the picture takes longer than 0\.2 s"):
        cutout(path)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "F"])
def test_a_child_reads_what_we_read(photo, format, mode):
    try:
        data = encoded(Image.fromarray(photo).convert(mode), format, dpi=(72, 96))
    except (OSError, ValueError):
        pytest.skip(f"{format} has no {mode}")
    here, there = image_io.read(data, seconds=None), sandbox.decode(data, 10**6, 60)
    assert np.array_equal(here.image, there.image) and there.image.flags.writeable
    assert (here.alpha is None) == (there.alpha is None)
    if here.alpha is not None and there.alpha is not None:
        assert np.array_equal(here.alpha, there.alpha)
    for name in ("format", "dpi", "exif", "notes", "path"):
        assert getattr(here, name) == getattr(there, name)


def test_a_child_says_the_same_errors(photo):
    whole = encoded(photo, "PNG")
    for data, pixels in ((whole[:-40], 10**6), (whole, 100), (b"%PDF", 10**6), (b"", 10**6)):
        with pytest.raises(ImageError) as here:
            image_io.read(data, pixels, seconds=None)
        with pytest.raises(type(here.value)) as there:
            sandbox.decode(data, pixels, 60)
        assert str(here.value) == str(there.value)


def test_plain_files_need_no_child(photo, monkeypatch):
    monkeypatch.setattr(sandbox, "decode", lambda *a: pytest.fail("not plain?"))
    for format, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
        ("PNG", {}),
        ("WEBP", {}),
    ):
        assert image_io.read(encoded(photo, format, **options)).image.shape == photo.shape


@pytest.mark.parametrize("tail", [b"", b"\xff\xd9", b"\xff\xd9" + b"\xff\xda" * 1000])
def test_what_comes_after_a_jpeg_is_not_looked_at(photo, tail):
    data = encoded(photo, "JPEG")[:-2] + tail
    assert structure.check(data, "JPEG")


@pytest.mark.skipif(sys.platform == "win32", reason="no address limits")
def test_memory_is_bounded():
    # A tile of 2.5 GB for a picture of 81 pixels.
    with pytest.raises(ImageTooLarge, match="memory"):
        sandbox.decode(hostile.tiff_tiles(9, 50_000), 10_000, 10)


def test_a_decoder_that_dies_is_an_unreadable_picture_and_replaced(photo, monkeypatch):
    sandbox.warm()
    assert sandbox._idle
    for child in sandbox._idle:
        child.process.kill()  # between two pictures: nobody notices
        child.process.wait()
    data = encoded(photo, "BMP")
    assert image_io.read(data).image.shape == photo.shape
    take = sandbox._take

    def doomed():
        child = take()
        threading.Timer(0.2, child.process.kill).start()
        return child

    monkeypatch.setattr(sandbox, "_take", doomed)
    with pytest.raises(UnreadableImage, match="crash"):
        image_io.read(hostile.bmp_runs(4000))
    monkeypatch.undo()
    assert image_io.read(data).image.shape == photo.shape


def test_many_threads_read_at_once(photo):
    data = encoded(photo, "TIFF")
    names = []
    threads = [
        threading.Thread(target=lambda: names.append(image_io.read(data).image)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 8 and all(np.array_equal(image, photo) for image in names)
    assert len(sandbox._idle) <= 4


def test_where_no_child_can_be_started_we_read_ourselves(photo, monkeypatch):
    monkeypatch.setattr(sandbox, "available", lambda: False)
    monkeypatch.setattr(sandbox, "_take", lambda: pytest.fail("asked for a child"))
    assert image_io.read(encoded(photo, "TIFF")).image.shape == photo.shape

    def none():
        raise OSError("no more processes")

    monkeypatch.undo()
    monkeypatch.setattr(sandbox, "_take", none)
    assert image_io.read(encoded(photo, "TIFF")).image.shape == photo.shape


def gone(pid: int) -> bool:
    """Whether a process is no more, or waits only for somebody to take note of it."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except OSError:
        return False


SCRIPT = """
import io, os, sys, time
from PIL import Image
from pipeline import image_io

buffer = io.BytesIO()
Image.new("RGB", (5, 4)).save(buffer, "TIFF")
assert image_io.read(buffer.getvalue()).image.shape == (4, 5, 3)
{more}
"""


def script(more: str) -> subprocess.CompletedProcess[str]:
    # No guard for the main module: a spawned multiprocessing child would run it again.
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT.format(more=more)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_script_ends_without_a_word_and_leaves_no_child():
    done = script("from pipeline.image_io import sandbox; print(sandbox._idle[0].process.pid)")
    assert done.returncode == 0 and done.stderr == ""
    in_time(lambda: gone(int(done.stdout)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_after_a_fork_each_has_its_own_children():
    done = script(
        """
for _ in range(3):
    if not (pid := os.fork()):
        for _ in range(5):
            assert image_io.read(buffer.getvalue()).image.shape == (4, 5, 3)
        sys.exit(0)
    assert image_io.read(buffer.getvalue()).image.shape == (4, 5, 3)
    assert os.waitpid(pid, 0)[1] == 0
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_a_decoder_whose_parent_was_killed_ends_by_itself():
    done = script(
        """
import threading
from pipeline.image_io import sandbox
from tests import hostile
take = sandbox._take
def told():
    child = take()
    print(child.process.pid, flush=True)
    threading.Timer(0.3, os.kill, (os.getpid(), 9)).start()
    return child
sandbox._take = told
image_io.read(hostile.bmp_runs(4000), seconds=1.0)
"""
    )
    assert done.returncode == -signal.SIGKILL
    in_time(lambda: gone(int(done.stdout)))


def test_a_stream_is_read_from_where_it_is(photo):
    stream = io.BytesIO(b"before" + encoded(photo, "TIFF"))
    stream.seek(6)
    assert np.array_equal(image_io.read(stream).image, photo)
