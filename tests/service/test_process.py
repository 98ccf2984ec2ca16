"""The process as a whole: it drains, dies and comes back, and frees what nobody waits for."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx

from service.result_store import ResultStore
from tests import networks
from tests.conftest import in_time
from tests.service import live as servers
from tests.service.live import ROOT, get, live, post

URL = "/api/remove-background"


def test_kill_9_leaves_nothing_half_and_everything_opens_again(nets, tmp_path, photo):
    with live(nets, tmp_path / "data", "--no-web") as server:
        kept = post(server.url + URL, files={"file": photo}).json()
        whole = get(server.url + kept["result_url"]).content
        stop = threading.Event()

        def pour(number: int) -> None:
            while not stop.is_set():
                try:
                    post(
                        server.url + URL,
                        files={"file": photo},
                        data={"crop": "1", "margin": f"{number}px"},
                    )
                except httpx.HTTPError:
                    return
                number += 10

        threads = [threading.Thread(target=pour, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        stop.set()
        for thread in threads:
            thread.join()
    with live(nets, tmp_path / "data", "--no-web") as server:
        assert get(server.url + kept["result_url"]).content == whole
        in_time(lambda: post(server.url + URL, files={"file": photo}).json()["cached"])
    results = ResultStore(tmp_path / "data" / "results.sqlite", 10**9)
    assert results._base
    rows = results._base.execute("SELECT length(data) + length(thumb), size FROM kept").fetchall()
    assert rows and all(length == size for length, size in rows)
    assert results._base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    results.close()


def test_sigterm_finishes_what_is_in_work_and_ends_well(nets, tmp_path, photo, monkeypatch):
    go = tmp_path / "go"
    held = f"""
import os, time
from service.engine import Engine

def wait(*arguments, run=Engine.run):
    while not os.path.exists({str(go)!r}):
        time.sleep(0.02)
    return run(*arguments)

Engine.run = wait
"""
    monkeypatch.setattr(servers, "COMMAND", held + servers.COMMAND)
    with live(nets, tmp_path / "data", "--no-web", cache="off") as server:
        answers = []

        def ask(number: int) -> None:
            fields = {"crop": "1", "margin": f"{number}px"}
            with httpx.Client(timeout=60) as client:
                answers.append(client.post(server.url + URL, files={"file": photo}, data=fields))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        in_time(lambda: at_work(server) == 4)
        server.process.send_signal(signal.SIGTERM)
        in_time(lambda: refused(server))
        go.touch()
        assert server.stop() in (0, -signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200] * 4


def at_work(server) -> int:
    """How many requests are running or wait."""
    state = get(f"{server.url}/readyz").json()
    return state["queued"] + state["running"]


def refused(server) -> bool:
    """Whether it takes no connections any more."""
    try:
        get(f"{server.url}/healthz")
    except httpx.HTTPError:
        return True
    return False


def test_sigterm_ends_what_never_ends(nets, tmp_path, photo, monkeypatch):
    endless = "import time; from service.engine import Engine; "
    endless += "Engine.run = lambda *_: time.sleep(600); "
    monkeypatch.setattr(servers, "COMMAND", endless + servers.COMMAND)
    with live(nets, tmp_path / "data", "--no-web", cache="off", drain="1") as server:
        thread = threading.Thread(target=lambda: post(server.url + URL, files={"file": photo}))
        thread.start()
        in_time(lambda: at_work(server))
        server.stop()  # after the drain time, and five seconds
        thread.join()


def test_a_client_that_hangs_up_frees_its_work(nets, tmp_path, photo):
    with live(nets, tmp_path / "data", "--no-web", cache="off", queue="1") as server:
        host, port = server.url.removeprefix("http://").split(":")
        boundary = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        body = boundary + photo + b"\r\n--b--\r\n"
        head = (
            f"POST {URL} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        ).encode()
        for _ in range(12):  # more than slots and queue together
            with socket.create_connection((host, int(port))) as client:
                client.sendall(head + body)
                time.sleep(0.05)
        in_time(lambda: not at_work(server))
        answer = post(server.url + "/api/matting", files={"image": photo})
        assert answer.status_code == 200
        text = get(f"{server.url}/metrics").text
        assert "wisp_abandoned_total 0.0" not in text


def test_the_log_is_json_with_ids_and_no_content(nets, tmp_path, photo):
    with live(nets, tmp_path / "data", "--no-web", pubilc="1") as server:
        files = {"file": ("my-secret-name.jpg", photo)}
        body = post(server.url + URL, files=files, headers={"X-Request-ID": "find-me"}).json()
        get(server.url + body["result_url"])
        in_time(lambda: "find-me" in server.log.read_text())
        text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    (line,) = [line for line in lines if line.get("id") == "find-me"]
    assert line["status"] == 200 and line["route"] == URL and line["model"] == "tiny"
    (warning,) = [line["message"] for line in lines if line["level"] == "warning"]
    assert warning == "no part of Wisp has a variable WISP_PUBILC: did you mean WISP_PUBLIC?"
    assert "my-secret-name" not in text
    assert body["result_url"].split("/")[-1].split(".")[0] not in text


def test_wrong_settings_are_one_line_and_exit_2(tmp_path):
    command = "from pipeline.cli import main; import service.cli as c; main.add_command(c.serve)"
    arguments = ["serve", "--no-web", "--data", str(tmp_path)]
    for environment, word in (
        ({"WISP_PORT": "many"}, "WISP_PORT"),
        ({"WISP_MODEL": "/nowhere.onnx", "WISP_PORT": "0"}, "nowhere"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", f"{command}; main()", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=120,
        )
        assert done.returncode == 2, done.stderr
        assert word in done.stderr
        assert "Traceback" not in done.stderr


def test_a_crowd_gets_its_answers_or_503_at_once(serve, photo, nets):
    """One at a time, two in the queue, twenty callers: nobody hangs, nobody gets a fault."""
    slow = networks.stage1(nets / "crowd.onnx", gain=3.0)
    client = serve(model=str(slow), queue=2)
    answers = []

    def ask(number: int) -> None:
        start = time.perf_counter()
        answer = client.post(
            URL,
            files={"file": photo},
            data={"crop": "1", "margin": f"{number}px"},
            headers={"Accept": "image/*"},
        )
        answers.append((answer, time.perf_counter() - start))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = [answer.status_code for answer, _ in answers]
    assert set(codes) == {200, 503}
    assert codes.count(200) >= 3
    assert all(int(a.headers["retry-after"]) >= 1 for a, _ in answers if a.status_code == 503)
