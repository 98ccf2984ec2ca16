"""Every container is written, and read back by another program than the one that wrote it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from pipeline import OutputError, SettingsError, UnsupportedFormat
from pipeline.image_io import read
from tests.video.conftest import av, cut, ffmpeg, meant, packets, write_clip
from wisp.video.check import Kept, check
from wisp.video.clip import Colour
from wisp.video.coding import CONTAINERS, Coding, Encoder, Picture, bleed, coding_for
from wisp.video.parts import Shape
from wisp.video.sinks import Loop

SUBJECT = 200  # alpha from which a pixel's colours are compared


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, 8, sound=True)
    return path


@pytest.mark.parametrize(
    ("ending", "alpha_off", "colour_off"),
    [(".mov", 1, 1.5), (".mkv", 0.51, 0), (".webm", 2, 4), (".apng", 0.51, 0)],
)
def test_alpha_and_colours_as_ffmpeg_reads_them(clip, tmp_path, ending, alpha_off, colour_off):
    target = tmp_path / f"out{ending}"
    report = cut(clip, target)
    assert (report.frames, report.whole, report.damaged) == (8, True, 0)
    # Without this decoder's name ffmpeg shows VP9 without its alpha.
    frames = ffmpeg(target, *(["-c:v", "libvpx-vp9"] if ending == ".webm" else []))
    wanted = meant(clip)
    assert len(frames) == len(wanted)
    for pixels, picture in zip(frames, wanted, strict=True):
        error = np.abs(pixels[..., 3] - 255 * picture.alpha)
        assert error.mean() <= alpha_off
        subject = 255 * picture.alpha > SUBJECT
        off = np.abs(pixels[..., :3].astype(int) - picture.colours)[subject]
        assert off.mean() <= colour_off


def test_gif_and_webp_as_pillow_reads_them(clip, tmp_path):
    for ending in (".gif", ".webp"):
        target = tmp_path / f"out{ending}"
        cut(clip, target)
        wanted = meant(clip)
        with Image.open(target) as loop:
            assert getattr(loop, "n_frames", 1) == 8
            assert loop.info["loop"] == 0
            for number in (0, 3, 7):
                loop.seek(number)
                alpha = np.asarray(loop.convert("RGBA"))[..., 3]
                assert loop.info["duration"] == 40
                if ending == ".gif":
                    assert (alpha == 255 * (wanted[number].alpha >= 0.5)).all()
                else:
                    assert np.abs(alpha - 255 * wanted[number].alpha).max() < 1


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm"])
def test_with_a_background(clip, tmp_path, ending):
    target = tmp_path / f"out{ending}"
    cut(clip, target, background="#00ff00")
    frames = ffmpeg(target, pixels="rgb24")
    wanted = meant(clip, background="#00ff00")
    assert len(frames) == 8
    assert np.abs(frames[5].astype(int) - wanted[5].colours).mean() < 6
    assert np.abs(frames[5][0, 0].astype(int) - (0, 255, 0)).max() < 12


@pytest.mark.parametrize("ending", [".webp", ".apng", ".gif"])
def test_a_loop_with_a_background(clip, tmp_path, ending):
    cut(clip, tmp_path / f"out{ending}", background="#00ff00")
    with Image.open(tmp_path / f"out{ending}") as loop:
        assert getattr(loop, "n_frames", 1) == 8
        loop.seek(5)
        frame = np.asarray(loop.convert("RGBA"))
    assert (frame[..., 3] == 255).all()
    assert np.abs(frame[0, 0, :3].astype(int) - (0, 255, 0)).max() < 12
    wanted = meant(clip, background="#00ff00")[5].colours
    assert np.abs(frame[..., :3].astype(int) - wanted).mean() < 6


def test_only_the_mask(clip, tmp_path):
    target = tmp_path / "mask.mp4"
    cut(clip, target, only_mask=True)
    frame = ffmpeg(target, pixels="rgb24")[4]
    assert np.abs(frame[..., 0] - 255 * meant(clip)[4].alpha).mean() < 3


def test_mp4_without_a_background_names_what_holds_alpha(tmp_path):
    with pytest.raises(SettingsError, match=r"--background, or one of \.mov, \.webm, \.mkv"):
        coding_for(tmp_path / "a.mp4", alpha=True)
    with pytest.raises(UnsupportedFormat, match=r"\.avi.*%05d"):
        coding_for(tmp_path / "a.avi", alpha=True)


@pytest.mark.parametrize("ending", [".mov", ".mkv", ".webm", ".mp4"])
def test_colour_tags_are_kept(tmp_path, ending):
    write_clip(tmp_path / "a.mp4", 3, tags=(6, 6, 6))
    cut(tmp_path / "a.mp4", tmp_path / f"b{ending}", background="white")
    with av.open(str(tmp_path / f"b{ending}")) as container:
        context = container.streams.video[0].codec_context
        tags = context.colorspace, context.color_primaries, context.color_trc
        assert tags == (6, 6, 6)


def test_odd_sides(tmp_path):
    write_clip(tmp_path / "a.mkv", 3, codec="ffv1", options={}, size=(47, 63))
    for ending, size in ((".webm", (47, 63)), (".mov", (47, 63)), (".mkv", (47, 63))):
        cut(tmp_path / "a.mkv", tmp_path / f"b{ending}")
        assert ffmpeg(tmp_path / f"b{ending}").shape[1:3] == size
    cut(tmp_path / "a.mkv", tmp_path / "b.mp4", background="white")
    assert ffmpeg(tmp_path / "b.mp4").shape[1:3] == (46, 62)


def test_a_sequence_of_pictures_out_and_in(clip, tmp_path):
    target = tmp_path / "frames" / "%05d.png"
    assert cut(clip, target).frames == 8
    names = sorted(path.name for path in target.parent.iterdir())
    assert names == [f"{number:05d}.png" for number in range(1, 9)]
    wanted = meant(clip)[2]
    photo = read(target.parent / "00003.png")
    assert np.abs(photo.alpha - wanted.alpha).max() <= 0.5 / 255 + 1e-6
    for place in (target, target.parent):
        out = tmp_path / "again.mkv"
        assert cut(place, out).frames == 8
        assert [float(t) for _, t in packets(out, "video")][:3] == [0, 0.04, 0.08]


def test_a_loop_is_not_resumed_and_not_long(clip, tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match="in one go"):
        cut(clip, tmp_path / "a.gif", resume=True)
    monkeypatch.setattr("wisp.video.sinks.LONGEST_LOOP", 4)
    with pytest.raises(SettingsError, match="up to 4 frames"):
        cut(clip, tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


def half(number: int) -> Picture:
    """A grey frame, transparent on the left, and by one pixel more each time."""
    alpha = np.zeros((48, 64), np.float32)
    alpha[:, 20 + number :] = 1
    return Picture(np.full((48, 64, 3), 128, np.uint8), alpha)


def test_lost_alpha_is_found_before_it_is_said_to_be_done(tmp_path):
    """A container that holds alpha, and an encoder that was not asked for any."""
    path = tmp_path / "a.webm"
    encoder = Encoder(path, Coding("libvpx-vp9", "yuv420p"), (48, 64), Fraction(25),
                      Fraction(1, 25), Colour())  # fmt: skip
    kept = Kept()
    for number in range(3):
        picture = half(number)
        kept.offer(number, picture)
        encoder.write(Picture(picture.colours), number)
    encoder.close()
    asked = CONTAINERS[".webm"][0]
    assert asked
    with pytest.raises(OutputError, match="does not show what was meant"):
        check(path, asked, kept, [0, 1, 2], Fraction(1, 25))


def test_a_webp_whose_alpha_is_lost_is_found(tmp_path):
    path = tmp_path / "a.webp"
    coding = coding_for(path, alpha=True)
    encoder = Encoder(path, coding, (48, 64), Fraction(25), Fraction(1, 25), Colour())
    kept = Kept()
    for number in range(3):
        picture = half(number)
        kept.offer(number, picture)
        encoder.write(picture if number < 2 else Picture(picture.colours), number)
    encoder.close()
    with pytest.raises(OutputError, match=r"at 0.08 s it does not show what was meant"):
        check(path, coding, kept, [0, 1, 2], Fraction(1, 25))
    with pytest.raises(OutputError, match="no frame at"):
        check(path, coding, kept, [0, 1, 9], Fraction(1, 25))
    kept.frames.pop(2)
    check(path, coding, kept, [0, 1, 2], Fraction(1, 25))


def test_endings_may_be_capitals(clip, tmp_path):
    for ending in CONTAINERS:
        target = tmp_path / f"out{ending.upper()}"
        assert cut(clip, target, background="white").frames == 8 and target.is_file()


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("soft", [False, True])
def test_a_clip_that_stands_still_is_a_webp_with_alpha(tmp_path, frames, soft):
    alpha = np.zeros((48, 64), np.float32)
    alpha[10:30, 10:40] = np.linspace(0, 1, 30) if soft else 1
    coding, colours = CONTAINERS[".webp"][1], np.full((48, 64, 3), 128, np.uint8)
    rate = Fraction(25)
    loop = Loop(tmp_path / "a.webp", Shape(coding, (48, 64), rate, 1 / rate, Colour(), Fraction(1)))
    for number in range(frames):
        loop.write(Picture(colours, alpha), number)
    loop.finish(True)
    with Image.open(tmp_path / "a.webp") as still:
        assert still.mode == "RGBA"
        assert np.abs(np.asarray(still)[..., 3] - 255 * alpha).max() < 1


def test_a_few_frames_are_kept_from_all_over_a_clip():
    kept = Kept()
    picture = Picture(np.zeros((2, 2, 3), np.uint8))
    for number in range(1000):
        kept.offer(number, picture)
    assert 3 <= len(kept.frames) <= 5
    assert min(kept.frames) == 0
    assert max(kept.frames) >= 500


def test_colours_go_on_where_alpha_is_zero():
    colours = np.zeros((32, 64, 3), np.uint8)
    colours[:, :32] = (200, 50, 10)
    colours[:, 32:] = (0, 0, 255)  # the background, which is not to come through
    alpha = np.zeros((32, 64), np.float32)
    alpha[:, :32] = 1
    filled = bleed(colours, alpha)
    assert (filled[:, :32] == colours[:, :32]).all()
    assert np.abs(filled[:, 32:].astype(int) - (200, 50, 10)).max() <= 2
