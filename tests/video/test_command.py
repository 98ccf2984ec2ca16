"""``wisp video``, with tiny networks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import OutputError
from tests import networks
from tests.video.conftest import HEIGHT, WIDTH, av, ffmpeg, picture, write_clip
from wisp.video.command import video


@pytest.fixture(scope="module")
def nets(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("nets")
    one = networks.stage1(folder / "one.onnx", gain=3.0)
    two = networks.stage2(folder / "two.onnx")
    return ["--model", str(one), "--refiner", str(two)]


@pytest.fixture
def run(nets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main.add_command(video)  # an installation does so by its entry point

    def run(*args: str, stdin: bytes | None = None):
        return CliRunner().invoke(main, ["video", *args, *nets], input=stdin)

    yield run
    main.commands.pop("video")


def test_a_clip(run, tmp_path):
    write_clip(tmp_path / "a.mp4", 6)
    done = run("a.mp4", "-o", "b.mov")
    assert done.exit_code == 0, done.output
    assert "a.mp4 → b.mov  6 frames" in done.stderr
    assert ffmpeg(tmp_path / "b.mov").shape == (6, HEIGHT, WIDTH, 4)
    again = run("a.mp4", "-o", "b.mov")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    finished = run("a.mp4", "-o", "b.mov", "--resume")
    assert finished.exit_code == 0 and "is finished" in finished.stderr
    assert run("a.mp4", "-o", "b.mov", "--overwrite", "-q").stderr == ""


def test_backgrounds(run, tmp_path):
    write_clip(tmp_path / "a.mp4", 6)
    write_clip(tmp_path / "short.mp4", 2)
    for background in ("green", "#fff", "blur", "short.mp4", "gradient:white,#c8d0d8"):
        done = run("a.mp4", "-o", "b.mp4", "--background", background, "--overwrite", "--linear")
        assert done.exit_code == 0, done.output
        assert len(ffmpeg(tmp_path / "b.mp4", pixels="rgb24")) == 6


def test_another_clip_behind_plays_on_in_a_loop(tmp_path):
    from fractions import Fraction

    from pipeline import Output
    from tests.conftest import fake_cutout
    from wisp.video import Behind, open_clip

    pictures = write_clip(tmp_path / "behind.mp4", 3)
    behind = Behind(Output(), (HEIGHT, WIDTH), open_clip(tmp_path / "behind.mp4"))
    assert not behind.alpha
    result = fake_cutout(picture(0))
    for number in range(8):
        shown = behind.picture(result, Fraction(number + 5, 25)).colours
        corner = np.s_[:6, :6]  # nothing of the subject is there
        wanted = pictures[number % 3]
        assert np.abs(shown[corner].astype(int) - wanted[corner]).mean() < 6
    moving = [behind.picture(result, Fraction(n + 13, 25)).colours[24] for n in range(2)]
    assert (moving[0] != moving[1]).any()


def test_after_a_gap_a_short_clip_behind_is_where_it_would_have_played_to(tmp_path):
    from fractions import Fraction

    from pipeline import Output
    from tests.conftest import fake_cutout
    from wisp.video import Behind, open_clip

    write_clip(tmp_path / "behind.mp4", 3)
    behind = Behind(Output(), (HEIGHT, WIDTH), open_clip(tmp_path / "behind.mp4"))
    result = fake_cutout(picture(0))

    def shown(number: int) -> np.ndarray:
        return behind.picture(result, Fraction(number, 25)).colours

    first = [shown(number) for number in range(3)]
    assert (first[0] != first[1]).any() and (first[1] != first[2]).any()
    for number in (90_001, 180_002, 270_000):  # an hour later each time
        assert (shown(number) == first[number % 3]).all()


def test_a_box_and_a_point_say_what_to_cut(run, tmp_path):
    write_two(tmp_path / "a.mp4")
    for hint in (("--box", "0,0,0.5,1"), ("--point", "0.2,0.5")):
        done = run("a.mp4", "-o", "b.mov", *hint, "--overwrite")
        assert done.exit_code == 0, done.output
        alpha = ffmpeg(tmp_path / "b.mov")[..., 3]
        assert (alpha[:, :, 40:] == 0).all()
        # The one on the left, wherever it has moved to.
        assert all(frame[24, 10 + number] > 200 for number, frame in enumerate(alpha))
    stopped = run("a.mp4", "-o", "frames/%05d.png", *hint, "--resume")
    assert stopped.exit_code == 2 and "in one go" in stopped.stderr
    outside = run("a.mp4", "-o", "c.mov", "--box", "70,50,80,60")
    assert outside.exit_code == 2 and "not inside" in outside.stderr
    assert not (tmp_path / ".c.mov.parts").exists()


def write_two(path: Path) -> None:
    """Two bright squares on black; the left one moves by a pixel a frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number in range(8):
            pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            pixels[16:32, 4 + number : 16 + number] = pixels[16:32, 48:60] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("a.mp4", "-o", "b.mp4"), "holds no transparency"),
        (("a.mp4", "-o", "b.avi"), "cannot write .avi"),
        (("a.mp4", "-o", "b.mov", "--background", "nonsense"), "no colour"),
        (("a.mp4", "-o", "a.mp4", "--background", "white"), "is the clip itself"),
        (("a.mp4", "-o", "b.mov", "--fps", "30"), "has its own times"),
        (("none.mp4", "-o", "b.mov"), "no such file"),
        (("-", "-o", "b.mov"), "--raw"),
        (("-", "-o", "b.mov", "--raw", "yuv420p", "64x48"), "one of rgb24"),
        (("-", "-o", "b.mov", "--raw", "rgb24", "64"), "looks like 1920x1080"),
        (("f%05d.png", "-o", "b.mov", "--fps", "0"), "--fps is a number"),
        (("", "-o", "b.mov"), "a name is empty"),
        (("a.mp4", "-o", ""), "a name is empty"),
        (("-", "-o", "b.mov", "--raw", "rgb24", "64x48"), "not one came"),
    ],
)
def test_one_line_says_what_is_wrong(run, tmp_path, args, message):
    write_clip(tmp_path / "a.mp4", 2)
    done = run(*args)
    assert done.exit_code in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_pictures_are_overwritten_when_asked_and_leave_no_older_ones(run, tmp_path):
    write_clip(tmp_path / "a.mp4", 6)
    write_clip(tmp_path / "short.mp4", 3)
    (tmp_path / "frames").mkdir()
    assert run("a.mp4", "-o", "frames/%05d.png").exit_code == 0
    before = (tmp_path / "frames" / "00001.png").stat().st_mtime_ns
    again = run("short.mp4", "-o", "frames/%05d.png")
    assert again.exit_code == 2 and "--overwrite writes over it" in again.stderr
    assert (tmp_path / "frames" / "00001.png").stat().st_mtime_ns == before
    own = run("frames", "-o", "frames/%05d.png", "--overwrite")
    assert own.exit_code == 2 and "is the clip itself" in own.stderr
    assert run("short.mp4", "-o", "frames/%05d.png", "--overwrite").exit_code == 0
    assert len(list((tmp_path / "frames").iterdir())) == 3


def test_a_clip_without_a_subject_is_told_of(run, tmp_path):
    write_two(tmp_path / "a.mp4")
    for hint, told in (("0,0,0.1,0.1", True), ("0,0,0.5,1", False)):
        done = run("a.mp4", "-o", "b.mov", "--box", hint, "--overwrite")
        assert done.exit_code == 0 and ("no subject found" in done.stderr) == told


def test_a_wrong_ending_is_a_wrong_command(run, tmp_path):
    write_clip(tmp_path / "a.mp4", 2)
    assert run("a.mp4", "-o", "b.avi").exit_code == 2


def test_what_a_failure_leaves_is_told_of(run, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OutputError("cannot write b.mov: no space left on device")

    write_clip(tmp_path / "a.mp4", 2)
    with monkeypatch.context() as patch:
        patch.setattr("wisp.video.parts.Parts.join", full)
        done = run("a.mp4", "-o", "b.mov")
    assert done.exit_code == 1 and "--resume goes on" in done.stderr
    assert run("a.mp4", "-o", "b.mov", "--resume").exit_code == 0


def test_raw_frames_through_a_pipe(run):
    pixels = np.stack([picture(number) for number in range(4)])
    done = run("-", "--raw", "rgb24", "64x48", "-o", "-", stdin=pixels.tobytes())
    assert done.exit_code == 0, done.stderr
    frames = np.frombuffer(done.stdout_bytes, np.uint8).reshape(4, HEIGHT, WIDTH, 4)
    subject = frames[..., 3] == 255
    assert (frames[..., :3][subject] == pixels[subject]).all()
    done = run(
        "-", "--raw", "rgb24", "64x48", "-o", "-", "--background", "red", stdin=pixels.tobytes()
    )
    assert len(done.stdout_bytes) == 4 * HEIGHT * WIDTH * 3


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_leaves_a_clip_and_resume_goes_on(nets, tmp_path):
    write_clip(tmp_path / "a.mp4", 600)
    code = "from wisp.video.command import video; video()"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, "a.mp4", "-o", "b.mkv", *nets]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    part = tmp_path / ".b.mkv.parts" / "00000.mkv"
    deadline = time.monotonic() + 120
    while not (part.exists() and part.stat().st_size > 1000):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    count = len(ffmpeg(tmp_path / "b.mkv"))
    assert 0 < count < 600
    done = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(ffmpeg(tmp_path / "b.mkv")) == 600
    assert not part.parent.exists()
