"""What comes in: times, turned and damaged clips, sound, and what is refused."""

from __future__ import annotations

import io
import random
import socket
import weakref
from fractions import Fraction

import numpy as np
import pytest

from pipeline import Output
from tests.conftest import encoded, fake_cutout
from tests.video.conftest import av, cut, ffmpeg, packets, picture, write_clip
from wisp.video import (
    Behind,
    ClipError,
    ClipTooLarge,
    CutoutVideo,
    Frame,
    Limits,
    cut_clip,
    open_clip,
    open_source,
)
from wisp.video.sinks import Pipe
from wisp.video.sources import Pictures, Raw, numbered, raw_size


def test_frames_as_ffmpeg_decodes_them(tmp_path):
    write_clip(tmp_path / "a.mp4", 6)
    clip = open_clip(tmp_path / "a.mp4")
    assert (clip.size, clip.rate, clip.count) == ((48, 64), 25, 6)
    frames = list(clip.frames())
    assert np.abs(frames[4].image.astype(int) - picture(4)).mean() < 3
    theirs = ffmpeg(tmp_path / "a.mp4", pixels="rgb24")
    assert np.abs(frames[4].image.astype(int) - theirs[4]).mean() < 1


@pytest.mark.parametrize("ending", [".mov", ".mkv", ".webm", ".mp4"])
def test_times_of_a_variable_rate_are_kept(tmp_path, ending):
    times = [0, 33, 100, 117, 450, 500, 1203]
    write_clip(tmp_path / "a.mkv", 7, times=times)
    cut(tmp_path / "a.mkv", tmp_path / f"b{ending}", background="white")
    written = [time for _, time in packets(tmp_path / f"b{ending}", "video")]
    assert [round(1000 * time) for time in written] == times


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_clip_is_upright(tmp_path, degrees):
    write_clip(tmp_path / "a.mp4", 3)
    turned = tmp_path / "turned.mp4"
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(turned), "w") as made:
        stream = made.add_stream_from_template(source.streams.video[0])
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot make a turned clip")
        stream.set_display_rotation(degrees)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    clip = open_clip(turned)
    assert clip.size == ((48, 64) if degrees == 180 else (64, 48))
    upright = next(clip.frames()).image
    back = np.rot90(upright, -degrees // 90)
    assert np.abs(back.astype(int) - picture(0)).mean() < 3
    cut(turned, tmp_path / "b.mkv")
    assert open_clip(tmp_path / "b.mkv").size == clip.size


@pytest.mark.parametrize("ending", [".mov", ".mkv"])
def test_sound_is_copied_bit_for_bit(tmp_path, ending):
    write_clip(tmp_path / "a.mp4", 30, sound=True)
    report = cut(tmp_path / "a.mp4", tmp_path / f"b{ending}")
    before, after = packets(tmp_path / "a.mp4", "audio"), packets(tmp_path / f"b{ending}", "audio")
    assert len(before) > 20
    assert [data for data, _ in after] == [data for data, _ in before]
    # Both begin where they began, against the picture too; Matroska counts in milliseconds.
    shift = packets(tmp_path / f"b{ending}", "video")[0][1]
    assert all(abs(b - shift - a) < 0.002 for (_, a), (_, b) in zip(before, after, strict=True))
    assert report.notes == ()


def heard(path) -> np.ndarray:
    """The sound of a file, (N,) float32, mono at 44.1 kHz."""
    to_mono = av.AudioResampler("flt", "mono", 44100)
    with av.open(str(path)) as container:
        frames = [f for frame in container.decode(audio=0) for f in to_mono.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def test_sound_that_webm_cannot_hold_is_coded_anew_and_told_of(tmp_path):
    write_clip(tmp_path / "a.mp4", 50, sound=True)
    report = cut(tmp_path / "a.mp4", tmp_path / "b.webm")
    assert any("aac" in note and "webm" in note for note in report.notes)
    before, after = heard(tmp_path / "a.mp4"), heard(tmp_path / "b.webm")
    assert len(after) == pytest.approx(len(before), abs=3000)
    middle = slice(20_000, 60_000)
    loudness = [float(np.sqrt(np.mean(np.square(sound[middle])))) for sound in (before, after)]
    assert loudness[1] == pytest.approx(loudness[0], rel=0.05)
    assert np.abs(np.fft.rfft(after[middle])).argmax() == pytest.approx(
        int(np.abs(np.fft.rfft(before[middle])).argmax()), abs=2
    )


def test_opus_in_webm_stays_as_it_is(tmp_path):
    write_clip(tmp_path / "a.mp4", 25, sound=True)
    cut(tmp_path / "a.mp4", tmp_path / "b.webm")
    report = cut(tmp_path / "b.webm", tmp_path / "c.webm")
    assert report.notes == ()
    kept = [data for data, _ in packets(tmp_path / "c.webm", "audio")]
    assert kept == [data for data, _ in packets(tmp_path / "b.webm", "audio")]


def test_subtitles_are_copied_or_told_of(tmp_path):
    write_clip(tmp_path / "a.mkv", 50)
    (tmp_path / "a.srt").write_text("1\n00:00:00,200 --> 00:00:01,000\nHello there\n")
    both = tmp_path / "both.mkv"
    with (
        av.open(str(tmp_path / "a.mkv")) as pictures,
        av.open(str(tmp_path / "a.srt")) as words,
        av.open(str(both), "w") as made,
    ):
        added = [made.add_stream_from_template(s.streams[0], True) for s in (pictures, words)]
        for source, stream in zip((pictures, words), added, strict=True):
            for packet in source.demux():
                if packet.size:
                    packet.stream = stream
                    made.mux(packet)
    assert cut(both, tmp_path / "b.mkv").notes == ()
    assert packets(tmp_path / "b.mkv", "subtitle") == packets(both, "subtitle") != []
    (note,) = cut(both, tmp_path / "b.mov").notes
    assert "subtitles (subrip) left out" in note


def test_a_long_clip_with_a_background_as_webm(tmp_path):
    """VP9 makes frames that are not shown; joining must not take them for others."""
    write_clip(tmp_path / "a.mp4", 120)
    cut(tmp_path / "a.mp4", tmp_path / "b.webm", background="white")
    assert len(ffmpeg(tmp_path / "b.webm", pixels="rgb24")) == 120


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_with_a_way_out(tmp_path, transfer, name):
    write_clip(tmp_path / "a.mp4", 2, tags=(9, 9, transfer))
    with pytest.raises(ClipError, match=rf"HDR \({name}\).*tonemap"):
        open_clip(tmp_path / "a.mp4")


LIMITS = Limits(pixels=64 * 48, seconds=1.0, frames=30)


@pytest.mark.parametrize(
    ("frames", "times", "size"),
    [
        (27, None, (48, 64)),  # 1.08 s
        (31, list(range(31)), (48, 64)),
        (3, [0, 40, 5_000_000], (48, 64)),
        (1, None, (50, 64)),
    ],
)
@pytest.mark.parametrize("ending", [".mp4", ".h264"])
def test_a_clip_beyond_its_limits_is_refused(tmp_path, ending, frames, times, size):
    """Also where the container says nothing of its length, at the frame that is too many."""
    path = tmp_path / f"a{ending}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number in range(frames):
            pixels = np.full((*size, 3), 7 * number % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts = 40 * number if times is None else times[number]
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if ending == ".h264" and times == [0, 40, 5_000_000]:
        pytest.skip("holds no times")
    with pytest.raises(ClipTooLarge, match="limit is 3072|longer than 1 s or 30 frames"):
        list(open_clip(path, LIMITS).frames())


def test_a_clip_within_its_limits_is_as_without(tmp_path):
    write_clip(tmp_path / "a.mp4", 25)
    assert len(list(open_clip(tmp_path / "a.mp4", LIMITS).frames())) == 25


def test_a_frame_that_grows_on_the_way_is_not_decoded(tmp_path):
    """The container says one size, and a later frame has a thousand times as many pixels."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        container.start_encoding()
        for number, size in enumerate([(48, 64)] * 4 + [(1536, 2048)]):
            packet = av.Packet(encoded(np.full((*size, 3), 60 * number, np.uint8), "JPEG"))
            packet.pts = packet.dts = 40 * number
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            container.mux(packet)
    assert list(open_clip(tmp_path / "a.mkv").frames())[-1].image.min() > 230  # but reduced
    frames = list(open_clip(tmp_path / "a.mkv", LIMITS).frames())
    assert len(frames) >= 4 and max(frame.image.max() for frame in frames) < 200


@pytest.mark.parametrize("content", [b"", b"not a clip at all", None])
def test_what_is_no_clip(tmp_path, content):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    why = ": the file is empty" if content == b"" else ""
    with pytest.raises(ClipError, match=rf"a\.mp4 cannot be read as a clip{why}"):
        open_clip(path)


def test_sound_alone_is_no_clip(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ClipError, match="no pictures"):
        open_clip(tmp_path / "a.m4a")


def test_damaged_frames_repeat_the_one_before_and_are_counted(tmp_path):
    write_clip(tmp_path / "a.mp4", 20, options={"crf": "10", "bf": "0"})
    with av.open(str(tmp_path / "a.mp4")) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    draw = random.Random(0)
    position, size = places[12]
    for index in range(position + 5, position + size - 1):
        data[index] = draw.randrange(256)
    (tmp_path / "a.mp4").write_bytes(data)
    frames = list(open_clip(tmp_path / "a.mp4").frames())
    assert len(frames) == 20
    assert [frame.pts for frame in frames] == sorted(frame.pts for frame in frames)
    assert frames[12].damaged
    report = cut(tmp_path / "a.mp4", tmp_path / "b.mkv")
    assert report.frames == 20
    assert report.damaged >= 1
    decoded = ffmpeg(tmp_path / "b.mkv")
    assert (decoded[12] == decoded[11]).all()


def test_a_clip_that_breaks_off(tmp_path):
    write_clip(tmp_path / "a.mkv", 40, sound=True)
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: len(data) * 2 // 3])
    report = cut(tmp_path / "a.mkv", tmp_path / "b.mkv")
    assert 5 < report.frames < 40
    assert len(ffmpeg(tmp_path / "b.mkv")) == report.frames
    assert any("is the file whole?" in note for note in report.notes)


def test_sound_that_goes_on_longer_is_no_break(tmp_path):
    write_clip(tmp_path / "a.mp4", 10)
    write_clip(tmp_path / "b.mp4", 50, sound=True)
    both = tmp_path / "both.mkv"
    with (
        av.open(str(tmp_path / "a.mp4")) as pictures,
        av.open(str(tmp_path / "b.mp4")) as sound,
        av.open(str(both), "w") as made,
    ):
        read = pictures.streams.video[0], sound.streams.audio[0]
        added = [made.add_stream_from_template(stream, True) for stream in read]
        for source, stream, copy in zip((pictures, sound), read, added, strict=True):
            for packet in source.demux(stream):
                if packet.size:
                    packet.stream = copy
                    made.mux(packet)
    assert cut(both, tmp_path / "c.mkv").notes == ()


def test_frames_whose_times_start_over_are_told_of(tmp_path):
    write_clip(tmp_path / "a.ts", 5)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * (tmp_path / "a.ts").read_bytes())
    report = cut(joined, tmp_path / "b.mkv")
    assert report.frames == 5
    (note,) = report.notes
    assert note.startswith("5 frames left out, as times start over")


def test_frames_of_another_size_are_told_of(tmp_path):
    write_clip(tmp_path / "a.ts", 5)
    write_clip(tmp_path / "b.ts", 5, size=(32, 48), times=[1000 + 40 * n for n in range(5)])
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    report = cut(joined, tmp_path / "b.mkv")
    assert report.frames == 10
    (note,) = report.notes
    assert note.startswith("5 frames of another size")


def test_a_clip_that_stands_still_holds_one_frame_and_not_all(tmp_path):
    """Nothing comes back before something changes: what waits until then must not add up."""
    pictures: list[weakref.ref[np.ndarray]] = []
    most = 0

    class Still(Pictures):
        def frames(self, after=None):
            nonlocal most
            for number in range(40):
                frame = Frame(picture(0), number)
                pictures.append(weakref.ref(frame.image))
                most = max(most, sum(known() is not None for known in pictures))
                yield frame
                del frame

    source = Still(tmp_path, (), picture(0).shape[:2], Fraction(25))
    sink = Pipe(io.BytesIO())
    report = cut_clip(source, sink, CutoutVideo(fake_cutout), Behind(Output(), source.size))
    assert report.frames == 40
    assert most < 4


def test_raw_frames():
    import io

    pixels = np.stack([picture(number) for number in range(3)])
    source = Raw(io.BytesIO(pixels.tobytes()), "rgb24", (48, 64), Fraction(25))
    assert all((f.image == p).all() for f, p in zip(source.frames(), pixels, strict=True))
    source = Raw(io.BytesIO(pixels[..., ::-1].tobytes()), "bgr24", (48, 64), Fraction(25))
    assert (next(source.frames()).image == pixels[0]).all()
    source = Raw(io.BytesIO(pixels.tobytes()[:-5]), "rgb24", (48, 64), Fraction(25))
    with pytest.raises(ClipError, match="the last has 9211 of 9216 bytes"):
        list(source.frames())
    assert raw_size("1920x1080") == (1080, 1920)


def test_a_sequence_has_one_size_and_may_have_gaps(tmp_path):
    from PIL import Image

    for number in (1, 2, 4, 10):
        Image.fromarray(picture(number)).save(tmp_path / f"f{number}.png")
    source = open_source(str(tmp_path / "f%d.png"), Fraction(30))
    assert source.count == 4
    assert source.rate == 30
    assert (list(source.frames())[3].image == picture(10)).all()
    (tmp_path / "f2.png").write_bytes(b"broken")
    assert [frame.damaged for frame in source.frames()] == [False, True, False, False]
    Image.fromarray(picture(3)[:40]).save(tmp_path / "f4.png")
    with pytest.raises(ClipError, match="64×40 px.*64×48"):
        list(source.frames())
    with pytest.raises(ClipError, match="no pictures"):
        open_source(str(tmp_path / "g%05d.png"))
    assert numbered(tmp_path / "a%05d.png", 7).name == "a00007.png"


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat"])
@pytest.mark.parametrize("place", ["secret.ts", "http"])
def test_a_playlist_opens_no_other_file_and_no_connection(tmp_path, name, place):
    write_clip(tmp_path / "secret.ts", 5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        if place == "http":
            place = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.2,\n{place}\n#EXT-X-ENDLIST\n"
        joined = f"ffconcat version 1.0\nfile '{place}'\n"
        (tmp_path / name).write_text(joined if "concat" in name else playlist)
        with pytest.raises(ClipError, match="cannot be read as a clip"):
            open_clip(tmp_path / name)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has come
            server.accept()
