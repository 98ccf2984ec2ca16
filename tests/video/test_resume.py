"""A stop loses nothing: what is done plays, and the work goes on behind it."""

from __future__ import annotations

import io
import json
from fractions import Fraction

import numpy as np
import pytest

from pipeline import Output, OutputError, SettingsError
from pipeline.selection import Selection
from tests.conftest import fake_cutout
from tests.video.conftest import av, cut, ffmpeg, packets, picture, write_clip
from wisp.video import Behind, ClipError, CutoutVideo, cut_clip, open_source, parts, sink_for
from wisp.video.sources import Raw

FRAMES = 30


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(parts, "LENGTH", 8)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    times = [40 * n + (7 if n % 3 else 0) for n in range(FRAMES)]
    write_clip(path, FRAMES, times=times, sound=True)
    return path


@pytest.mark.parametrize("ending", [".mov", ".mkv", ".webm", ".mp4"])
def test_stopped_and_gone_on_with_is_as_if_never_stopped(clip, tmp_path, ending):
    look = {"background": "white"} if ending == ".mp4" else {}
    whole, target = tmp_path / f"whole{ending}", tmp_path / f"b{ending}"
    cut(clip, whole, **look)
    report = cut(clip, target, stop_after=13, **look)
    assert (report.frames, report.whole) == (13, False)
    decoder = ["-c:v", "libvpx-vp9"] if ending == ".webm" else []
    assert len(ffmpeg(target, *decoder)) == 13
    report = cut(clip, target, resume=True, stop_after=20, **look)
    assert (report.frames, report.whole) == (20, False)
    report = cut(clip, target, resume=True, **look)
    assert (report.frames, report.whole) == (FRAMES, True)
    wanted, got = ffmpeg(whole, *decoder), ffmpeg(target, *decoder)
    assert len(got) == FRAMES
    assert np.abs(got.astype(int) - wanted).mean() < 1.5  # a part's first frame is coded by itself
    for kind in ("video", "audio"):
        first, second = packets(whole, kind), packets(target, kind)
        assert [time for _, time in second] == [time for _, time in first]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["clip.mp4", f"whole{ending}", f"b{ending}"]
    )


def test_what_is_followed_outlives_a_stop(clip, tmp_path, monkeypatch):
    asked = []

    def cutout(image, box, **_):
        asked.append(box)
        return fake_cutout(image)

    def run(resume: bool, most: int) -> None:
        source = open_source(str(clip))
        sink = sink_for(tmp_path / "b.mkv", source, True, resume, {})
        video = CutoutVideo(cutout, wanted=Selection(box=(0, 0, 1, 1)))
        cut_clip(
            source, sink, video, Behind(Output(), source.size), None, lambda: sink.written >= most
        )

    run(False, 10)
    followed = asked[-1]
    assert asked[0] == (0, 0, 1, 1) != followed
    asked.clear()
    run(True, 20)
    assert asked[0] == followed


def test_sound_ends_where_the_pictures_do(clip, tmp_path):
    cut(clip, tmp_path / "b.mkv", stop_after=10)
    end = packets(tmp_path / "b.mkv", "video")[-1][1]
    assert max(time for _, time in packets(tmp_path / "b.mkv", "audio")) <= end + 0.05


def test_what_a_crash_leaves_can_be_gone_on_with(clip, tmp_path, monkeypatch):
    """What was written is kept, the part under way too."""
    target = tmp_path / "b.mkv"

    calls = 0

    def failing(source, **_):
        nonlocal calls
        calls += 1
        if calls == 15:
            raise RuntimeError("power cut")
        return fake_cutout(source)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr("tests.video.conftest.fake_cutout", failing)
        cut(clip, target)
    assert not target.exists()
    listed = json.loads((tmp_path / ".b.mkv.parts" / "parts.json").read_text())
    assert [len(times) for times in listed["times"]] == [8, 8, 2]
    assert cut(clip, target, resume=True).frames == FRAMES
    assert len(ffmpeg(target)) == FRAMES


def raw(tmp_path, frames: float):
    """Cut out raw frames of which the last breaks off."""
    pixels = (picture(n).tobytes() for n in range(round(frames + 1)))
    stream = io.BytesIO(b"".join(pixels)[: int(frames * 48 * 64 * 3)])
    source = Raw(stream, "rgb24", (48, 64), Fraction(25))
    sink = sink_for(tmp_path / "b.mkv", source, True, False, {})
    with pytest.raises(ClipError, match="raw frames"):
        cut_clip(source, sink, CutoutVideo(fake_cutout), Behind(Output(), source.size))


def test_a_source_at_fault_leaves_no_less_than_a_part(tmp_path):
    raw(tmp_path, 7.5)
    assert list(tmp_path.iterdir()) == []
    raw(tmp_path, 20.5)
    assert (tmp_path / ".b.mkv.parts" / "parts.json").is_file()


def test_a_full_disk_leaves_nothing_that_cannot_be_gone_on_with(clip, tmp_path, monkeypatch):
    def full(path, data):
        raise OutputError("no space left on device")

    monkeypatch.setattr("wisp.video.parts.image_io.write", full)
    with pytest.raises(OutputError, match="no space left"):
        cut(clip, tmp_path / "b.mkv")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_an_error_leaves_no_half_loop(clip, tmp_path, monkeypatch):
    def failing(source, **_):
        raise RuntimeError("no more")

    monkeypatch.setattr("tests.video.conftest.fake_cutout", failing)
    with pytest.raises(RuntimeError, match="no more"):
        cut(clip, tmp_path / "b.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_other_settings_are_not_mixed_in(clip, tmp_path):
    cut(clip, tmp_path / "b.mkv", stop_after=10)
    with pytest.raises(SettingsError, match="begun from another clip, or with other settings"):
        cut(clip, tmp_path / "b.mkv", resume=True, background="white")
    assert cut(clip, tmp_path / "b.mkv").frames == FRAMES  # begins anew


def test_resume_without_anything_begins_at_the_beginning(clip, tmp_path):
    assert cut(clip, tmp_path / "b.mkv", resume=True).frames == FRAMES


def test_a_sequence_goes_on_behind_its_last_picture(clip, tmp_path):
    target = tmp_path / "frames" / "%05d.png"
    cut(clip, target, stop_after=7)
    before = (target.parent / "00003.png").stat().st_mtime_ns
    assert cut(clip, target, resume=True).frames == FRAMES
    assert (target.parent / "00003.png").stat().st_mtime_ns == before
    assert len(list(target.parent.iterdir())) == FRAMES


def test_nowhere_to_write(clip, tmp_path):
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "b.mkv", tmp_path / "file" / "b.gif"):
        with pytest.raises(OutputError):
            cut(clip, target)


@pytest.mark.parametrize(
    ("name", "size"), [("b.webp", (16, 17_000)), ("b.mp4", (16, 17_000)), ("b.mkv", (64, 1))]
)
def test_what_an_encoder_refuses_is_said_and_leaves_nothing(tmp_path, name, size):
    source = Raw(io.BytesIO(bytes(size[0] * size[1])), "gray", size, Fraction(25))
    behind = Behind(Output(background="white" if name == "b.mp4" else None), size)
    sink = sink_for(tmp_path / name, source, behind.alpha, False, {})
    with pytest.raises(OutputError, match="FFmpeg refuses it .*try frames of another size"):
        cut_clip(source, sink, CutoutVideo(fake_cutout), behind)
    assert list(tmp_path.iterdir()) == []


def test_a_loop_that_cannot_begin_leaves_nothing(tmp_path, monkeypatch):
    source = Raw(io.BytesIO(), "gray", (48, 64), Fraction(25))

    def refuse(*_: object, **__: object) -> None:
        raise av.error.ExternalError(0, "no more encoders")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(OutputError, match="no more encoders"):
        sink_for(tmp_path / "b.gif", source, True, False, {})
    assert list(tmp_path.iterdir()) == []
