"""Files that would stop a decoder for minutes: they are refused, and nobody else notices."""

import contextlib
import signal
import threading
import time

import httpx
import numpy as np
import pytest

from tests import hostile, networks
from tests.conftest import in_time
from tests.service import live as servers
from tests.service.conftest import encoded
from tests.service.live import get, live, post

URL = "/api/remove-background"
SLOW = hostile.bmp_runs(3500)  # ten seconds of Pillow alone, and nothing odd about it
FILES = {
    "gif comment": lambda: hostile.gif_comment(16_000_000),
    "jpeg scans": lambda: hostile.jpeg_scans(5000, 1000),
    "jpeg markers": lambda: hostile.jpeg_markers(2_000_000),
    "jpeg fill bytes": lambda: hostile.jpeg_fill(20_000_000),
    "png chunks": lambda: hostile.png_chunks(2_000_000),
    "bmp runs": lambda: SLOW,
}


@pytest.fixture(scope="module")
def server(nets, tmp_path_factory):
    data = tmp_path_factory.mktemp("server") / "data"
    with live(nets, data, "--no-web", cache="off", decode_seconds="1", held_bytes=str(10**9)) as it:
        yield it


def ask(url: str, photo: bytes, **fields: str) -> httpx.Response:
    return post(url + URL, files={"file": photo}, data=fields)


@pytest.mark.parametrize("name", FILES)
def test_each_is_refused_with_its_reason_while_others_are_answered(server, photo, name):
    data, answers = FILES[name](), []
    thread = threading.Thread(target=lambda: answers.append(ask(server.url, data)))
    thread.start()
    others = [ask(server.url, photo, crop="1", margin=f"{number}px") for number in range(3)]
    thread.join()
    assert [answer.status_code for answer in others] == [200] * 3
    assert answers[0].status_code == 413
    assert answers[0].json()["code"] == "image_too_slow"
    assert "anew" in answers[0].json()["detail"]


def test_pages_are_not_counted(server):
    assert ask(server.url, hostile.tiff_pages(40_000)).status_code == 200


def test_several_at_once_hold_nobody_up(server, photo):
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda data=data: answers.append(ask(server.url, data)))
        for data in (SLOW + bytes(number) for number in range(4))  # each another file
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    answer = ask(server.url, photo, crop="1", margin="9px")
    assert answer.status_code == 200
    for thread in threads:
        thread.join()
    assert [answer.json()["code"] for answer in answers] == ["image_too_slow"] * 4


def test_a_background_is_a_picture_like_others(server, photo):
    for data in (SLOW, hostile.gif_comment(4_000_000)):
        answer = post(
            f"{server.url}/v1.0/removebg", files={"image_file": photo, "bg_image_file": data}
        )
        assert answer.status_code == 413
        assert answer.json()["errors"][0]["code"] == "image_too_slow"


def test_a_background_has_the_limit_of_pixels(serve, photo):
    large = encoded(np.zeros((600, 600, 3), np.uint8), "PNG")
    client = serve(max_pixels=512 * 512)
    answer = client.post("/v1.0/removebg", files={"image_file": photo, "bg_image_file": large})
    assert answer.json()["errors"][0]["code"] == "resolution_too_high"


#: Decoders that never get on.
STOPPED = """
import os, signal
from pipeline.image_io import sandbox

def stopped(take=sandbox._take):
    child = take()
    os.kill(child.process.pid, signal.SIGSTOP)
    return child

sandbox._take = stopped
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped here")
def test_decoders_end_with_their_clients_and_with_the_server(nets, tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "COMMAND", STOPPED + servers.COMMAND)
    limits = {"decode_seconds": "600", "timeout": "600", "drain": "1"}
    with live(nets, tmp_path / "data", "--no-web", **limits) as server:

        def queued() -> int:
            return get(f"{server.url}/readyz").json()["queued"]

        with pytest.raises(httpx.ReadTimeout):
            post(server.url + URL, files={"file": SLOW}, timeout=httpx.Timeout(60, read=0.5))
        in_time(lambda: not queued())

        def send() -> None:
            with contextlib.suppress(httpx.HTTPError):
                ask(server.url, SLOW)

        threads = [threading.Thread(target=send) for _ in range(2)]
        for thread in threads:
            thread.start()
        in_time(queued)
        assert server.stop() in (0, -signal.SIGTERM)
        for thread in threads:
            thread.join()


def test_a_network_that_never_ends_frees_its_worker(serve, photo, nets):
    client = serve(model=str(networks.endless_stage1(nets / "endless.onnx")), timeout=0.5)
    queue = client.app.state.wisp.queue
    for _ in range(2):
        answer = client.post(URL, files={"file": photo})
        assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
        in_time(lambda: not queue.running)
