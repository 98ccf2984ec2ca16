"""Clips through the API: cut out in a process that ends, whatever a stranger sends."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.app import create_app
from service.clips import queue
from service.clips.wish import MEDIA
from tests.conftest import in_time
from tests.service.conftest import encoded
from tests.video.conftest import av, ffmpeg, picture, write_clip

URL = "/api/video"


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    write_clip(path, 6, sound=True)
    return path.read_bytes()


def send(client, clip: bytes, headers=None, behind: bytes | None = None, **fields):
    files = {"file": ("walk.mp4", clip)}
    if behind is not None:
        files["background_file"] = ("behind", behind)
    return client.post(URL, files=files, data=fields, headers=headers)


def ended(client, answer) -> dict:
    """Wait for a job to end, and return the last that is said of it."""
    assert answer.status_code == 202, answer.text
    url = answer.json()["job_url"]
    assert answer.headers["location"] == url
    in_time(lambda: client.get(url).json()["status"] in ("done", "failed"), 120)
    return client.get(url).json()


def left(client) -> list[Path]:
    """Files on the disk, and nothing that is held without one."""
    files = client.app.state.wisp.files
    there = [path for path in files.folder.rglob("*") if path.is_file()]
    assert bool(there) or (files.disk.used == 0 and not list(files.folder.iterdir()))
    return there


def pixels(client, told: dict, path: Path, *decoder: str) -> np.ndarray:
    answer = client.get(told["result_url"])
    assert answer.headers["content-type"] == MEDIA[path.suffix[1:]]
    assert f'filename="walk-cutout{path.suffix}"' in answer.headers["content-disposition"]
    path.write_bytes(answer.content)
    return ffmpeg(path, *decoder)


def test_a_clip_becomes_a_file_with_alpha_and_is_deleted(client, clip, tmp_path):
    told = ended(client, send(client, clip, format="mov"))
    assert (told["status"], told["frames"], told["of"]) == ("done", 6, 6), told
    frames = pixels(client, told, tmp_path / "b.mov")
    assert len(frames) == 6 and np.unique(frames[..., 3]).size > 1
    assert [path.name for path in left(client)] == ["walk-cutout.mov"]
    assert client.get(told["result_url"], headers={"Range": "bytes=0-3"}).status_code == 206
    assert client.delete(told["job_url"]).status_code == 204
    assert client.get(told["job_url"]).status_code == 404
    assert client.get(told["result_url"]).status_code == 404
    assert left(client) == []


def test_what_lies_behind_is_a_picture_or_a_clip(client, clip, tmp_path):
    blue = encoded(np.full((30, 40, 3), (0, 0, 255), np.uint8), "PNG")
    told = ended(client, send(client, clip, behind=blue, format="webp"))
    assert told["status"] == "done", told
    with Image.open(io.BytesIO(client.get(told["result_url"]).content)) as loop:
        corner = np.asarray(loop.convert("RGB"))[:4, :4].reshape(-1, 3).mean(0)
    assert np.abs(corner - (0, 0, 255)).max() < 30
    client.delete(told["job_url"])
    told = ended(client, send(client, clip, behind=clip, format="mp4"))
    assert told["status"] == "done", told
    assert len(pixels(client, told, tmp_path / "b.mp4")) == 6
    client.delete(told["job_url"])


def test_an_odd_colour_behind_a_clip_is_no_fault(client, clip):
    told = ended(client, send(client, clip, background="rgb(999, 0, 0)", format="mp4"))
    assert told["status"] == "done", told
    client.delete(told["job_url"])


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"format": "mp4"}, "invalid_format"),
        ({"format": "avi"}, "invalid_format"),
        ({"background": "nonsense"}, "invalid_parameter"),
        ({"background": "/etc/hostname"}, "invalid_parameter"),
        ({"background": "#1234"}, "invalid_parameter"),
        ({"background": "white", "only_mask": "1"}, "invalid_parameter"),
        ({"linear": "1"}, "invalid_parameter"),
        ({"linear": "perhaps"}, "invalid_linear"),
        ({"model": "/etc/hostname"}, "unknown_model"),
        ({"crop": "1"}, "unsupported_parameter"),
        ({"background": "a" * 5000}, "invalid_parameter"),
        ({f"field{number}": "1" for number in range(40)}, "file_too_large"),
    ],
)
def test_what_cannot_be_is_refused_at_once(client, clip, fields, code):
    answer = send(client, clip, **fields)
    assert 400 <= answer.status_code <= 413
    assert answer.json()["code"] == code, answer.text
    assert left(client) == []


def test_files_that_are_missing_empty_or_too_many(client, clip):
    for files in (
        {"background_file": clip},
        {"file": b""},
        {"file": clip, "other": clip},
        [("file", clip), ("file", clip)],
        [("file", clip)] * 3,
    ):
        answer = client.post(URL, files=files)
        assert answer.status_code in (400, 413), answer.text
        assert left(client) == []
    assert client.post(URL, json={}).status_code == 400
    assert client.get(f"{URL}/{'a' * 32}").status_code == 404
    assert client.get(f"{URL}/..").status_code in (404, 405)


def test_no_wish_is_passed_over(client, clip):
    for url, fields, message in (
        (URL, [("fit", "fill"), ("fit", "fit")], "'fit' is given twice"),
        (f"{URL}?fit=fit", [], "'fit' is in the query"),
    ):
        parts = [("file", ("a.mp4", clip)), *((name, (None, text)) for name, text in fields)]
        answer = client.post(url, files=parts)
        assert answer.status_code == 400 and message in answer.json()["detail"]
        assert left(client) == []


def test_size_is_bounded_in_bytes_and_takes_no_memory(serve, clip):
    client = serve(clip_bytes=len(clip), held_bytes=1)
    answer = send(client, clip + b"\0")
    assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
    answer = send(client, clip + bytes(2 * len(clip) + 1_000_000))
    assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
    assert send(client, clip).status_code == 202


def flat(tmp_path: Path, size: tuple[int, int]) -> bytes:
    """Few bytes of many pixels."""
    path = tmp_path / "flat.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, "gray"
        frame = av.VideoFrame.from_ndarray(np.zeros(size, np.uint8), format="gray")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def test_hostile_clips_end_with_their_reason_and_name_no_path(serve, clip, tmp_path):
    """More of them are in tests/video/test_clips.py: here they are sent."""
    client = serve(clip_seconds=1.0, clip_pixels=64 * 48)
    write_clip(tmp_path / "long.mp4", 40)
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n#EXT-X-ENDLIST\n"
    large = io.BytesIO()
    Image.new("1", (9000, 9000)).save(large, "PNG")
    for data, behind, code in (
        (playlist, None, "invalid_clip"),
        (flat(tmp_path, (8000, 8000)), None, "clip_too_large"),
        ((tmp_path / "long.mp4").read_bytes(), None, "clip_too_large"),
        (clip, large.getvalue(), "image_too_large"),
    ):
        told = ended(client, send(client, data, behind=behind))
        assert (told["status"], told["code"]) == ("failed", code), told
        assert "/" not in told["detail"] and told["result_url"] is None
        assert left(client) == []


@pytest.mark.parametrize("field", ["file", "background_file"])
def test_what_is_no_clip_is_told_by_its_field(client, clip, field):
    files = {"file": clip, "background_file": clip} | {field: b"no clip"}
    told = ended(client, client.post(URL, files=files))
    assert told["detail"].startswith(f"{field} cannot be read as a clip")
    empty = client.post(URL, files=files | {field: ("a.mp4", b"")})
    assert empty.json()["detail"] == f"{field} is empty"


SLEEP = "import time; time.sleep(600)"
SAY = 'import time; print(\'{"frames": 1, "of": 9}\', flush=True); '


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("import os; os.abort()", "invalid_clip"),
        ("print('{')", "internal_error"),
        (SLEEP, "timeout"),
        (SAY + SLEEP, "timeout"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    ],
)
def test_a_process_that_crashes_hangs_or_lies(serve, clip, monkeypatch, does, code):
    client = serve()
    monkeypatch.setattr(queue, "_START", does)
    monkeypatch.setattr(queue, "_SILENCE", 1.0)
    told = ended(client, send(client, clip))
    assert (told["status"], told["code"]) == ("failed", code)
    assert left(client) == []


def test_time_is_bounded_however_much_is_said(serve, clip, monkeypatch):
    client = serve(clip_timeout=0.5)
    says = 'while True: print(\'{"frames": 1, "of": 9}\', flush=True); time.sleep(0.05)'
    monkeypatch.setattr(queue, "_START", f"import time\n{says}")
    assert ended(client, send(client, clip))["code"] == "timeout"


def test_the_disk_is_bounded_while_it_is_written(serve, clip, monkeypatch):
    """What was written is counted twice: the parts are joined at the end."""
    client = serve(page_bytes=4_000_000)  # a quarter of it for one
    grows = "open('out', 'wb').write(bytes(600_000)); "
    monkeypatch.setattr(queue, "_START", grows + SAY + SLEEP)
    told = ended(client, send(client, clip))
    assert (told["status"], told["code"]) == ("failed", "too_much_kept")
    assert left(client) == []


def test_a_visitor_has_half_of_the_places(serve, clip, monkeypatch):
    client = serve(clips=3, api_keys=("a", "b", "c"), rate="6/minute")
    monkeypatch.setattr(queue, "_START", SLEEP)
    sent = [send(client, clip, {"X-Api-Key": key}) for key in "aaabbc"]
    assert [answer.status_code for answer in sent] == [202, 202, 429, 202, 503, 503]
    assert sent[2].json()["code"] == "too_many_clips" and sent[2].headers["retry-after"]
    one, two, other = (answer.json()["job_url"] for answer in (sent[0], sent[1], sent[3]))
    mine = {"X-Api-Key": "a"}
    for _ in range(20):  # to ask is free
        assert client.get(two, headers=mine).json()["status"] == "waiting"
    in_time(lambda: client.get(one, headers=mine).json()["status"] == "working")
    assert client.get(one).status_code in (401, 403)
    # Who stops makes room, whether the clip waited or was in work.
    assert client.delete(two, headers=mine).status_code == 204
    assert client.delete(one, headers=mine).status_code == 204
    in_time(lambda: client.get(other, headers=mine).json()["status"] == "working")
    assert send(client, clip, mine).status_code == 202


def test_no_process_outlives_the_service(settings, clip, monkeypatch, tmp_path):
    mark = tmp_path / "pid"
    writes = f"import os; open({str(mark)!r}, 'w').write(str(os.getpid())); "
    monkeypatch.setattr(queue, "_START", writes + SLEEP)
    with TestClient(create_app(settings)) as client:
        assert send(client, clip).status_code == 202
        in_time(lambda: mark.exists() and mark.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_where_no_clips_are_taken(serve, clip, monkeypatch):
    answer = send(serve(clips=0), clip)
    assert (answer.status_code, answer.json()["code"]) == (501, "no_clips")
    monkeypatch.setattr(queue, "find_spec", lambda name: None)
    answer = send(serve(), clip)
    assert answer.status_code == 501
    assert "pip install 'wispcut[video]'" in answer.json()["detail"]


def child(*lines: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    code = "\n".join(("from service.clips import child", *lines))
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=seconds
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound less")
def test_the_system_bounds_the_process_itself(tmp_path):
    done = child(
        "import time",
        "child._GRACE = 0.5",
        "child._bound(1.0, 1000, 100)",
        "try: bytearray(20 << 30)",
        "except MemoryError: print('memory')",
        f"try: open({str(tmp_path / 'a')!r}, 'wb', 0).write(bytes(2000)) == 1000 and 1 / 0",
        "except (OSError, ZeroDivisionError): print('disk')",
        "print(open('/proc/self/oom_score_adj').read().strip(), flush=True)",
        "while True: pass",
    )
    assert done.stdout.split() == ["memory", "disk", "1000"], done.stderr
    assert done.returncode == -14  # SIGALRM


def test_the_process_ends_with_its_parent():
    code = (
        "import time; from service.clips import child; child._cut = lambda *_: time.sleep(600); "
        "child._bound = lambda *_: None; child.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    process.stdin.write(b'{"seconds": 9, "largest": 9, "limits": {"pixels": 9}}\n')
    process.stdin.flush()
    time.sleep(0.2)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(60) == 1


def test_the_pictures_of_a_clip_are_those_of_the_command(client, tmp_path):
    """One runner: what the service makes is what ``wisp video`` makes of the same."""
    from pipeline import Cutout, Output, Settings
    from wisp.video import Behind, CutoutVideo, cut_clip, open_clip, sink_for

    write_clip(tmp_path / "a.mp4", 4)
    source = open_clip(tmp_path / "a.mp4")
    service = client.app.state.wisp.settings
    settings = Settings(model=service.model, refiner=service.refiner, views=1)
    sink = sink_for(tmp_path / "b.mkv", source, True, False, {})
    cut_clip(source, sink, CutoutVideo(Cutout(settings)), Behind(Output(), source.size))
    told = ended(client, send(client, (tmp_path / "a.mp4").read_bytes(), format="mkv"))
    theirs = pixels(client, told, tmp_path / "c.mkv")
    assert (theirs == ffmpeg(tmp_path / "b.mkv")).all()
    client.delete(told["job_url"])
    assert picture(0).shape[:2] == theirs.shape[1:3]
