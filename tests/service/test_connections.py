"""Whoever opens connections and says nothing, or reads nothing, is in nobody's way."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress

import httpx
import numpy as np
import pytest

from pipeline.errors import SettingsError
from service.folder import taken
from tests.conftest import in_time
from tests.service.conftest import encoded
from tests.service.live import ROOT, get, live, post


@pytest.fixture(scope="module")
def server(nets, tmp_path_factory):
    with live(
        nets,
        tmp_path_factory.mktemp("connections") / "data",
        "--no-web",
        header_timeout="2",
        send_timeout="2",
        client_connections="50",
        connections="120",
        rate="60/hour",
    ) as server:
        yield server


def connect(server, host="127.0.0.1"):
    """Open a connection from one of this machine's many addresses."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    one.bind((host, 0))
    one.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
    return one


def visitor(host):
    # One request a connection: an idle one is closed by the server, and the next would race it.
    return httpx.Client(
        transport=httpx.HTTPTransport(local_address=host),
        headers={"Connection": "close"},
        timeout=60,
    )


def held(server):
    """The bytes that requests hold."""
    text = get(f"{server.url}/metrics").text
    return next(float(line.split()[1]) for line in text.splitlines() if "wisp_held" in line[:9])


needs_addresses = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8"
)


@needs_addresses
@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
def test_hundreds_of_idle_connections_keep_nobody_out(server, begun):
    with ExitStack() as stack:
        for number in range(530):
            one = stack.enter_context(closing(connect(server, f"127.0.1.{number % 5}")))
            one.sendall(begun)
        for host in ("127.0.0.1", "127.0.1.1", "127.0.2.2"):
            with visitor(host) as client:
                for path in ("/healthz", "/readyz", "/api/models"):
                    assert client.get(server.url + path).status_code == 200


def closed_after(one, drip=b""):
    """Return the seconds until the server closes a connection, while it is sent a byte at times."""
    start = time.monotonic()
    one.settimeout(0.3)
    while time.monotonic() - start < 60:
        try:
            if drip:
                one.sendall(drip)
            if not one.recv(65536):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - start


def test_a_head_that_does_not_end_is_not_waited_for(server):
    for begun, drip in ((b"", b""), (b"GET / HTTP/1.1\r\nX-Slow: ", b"a")):
        with closing(connect(server)) as one:
            one.sendall(begun)
            assert 1 < closed_after(one, drip) < 60


def test_the_rest_of_a_refused_body_is_not_waited_for(server):
    head = b"POST /api/matting HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 90000000\r\n\r\n"
    with closing(connect(server)) as one:
        one.sendall(head)
        assert b" 413 " in one.recv(4096)
        assert closed_after(one, b"a") < 60


def test_an_answer_that_is_not_read_is_let_go(server):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
    body = post(f"{server.url}/api/remove-background", files={"file": encoded(noise)}).json()
    assert body["bytes"] > 5_000_000
    with closing(connect(server)) as one:
        one.sendall(f"GET {body['result_url']} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert select.select([one], [], [], 60)[0]  # the answer has begun, and is held whole
        in_time(lambda: not held(server))
        size = 0
        with suppress(ConnectionError):
            while part := one.recv(1 << 16):
                size += len(part)
        assert 0 < size < body["bytes"]
    # One that reads slowly gets all of it.
    with closing(connect(server)) as one:
        one.sendall(f"GET {body['result_url']} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        got = b""
        while len(got) < body["bytes"] and (part := one.recv(1 << 16)):
            got += part
            time.sleep(0.025)  # in all longer than ``send_timeout``
        assert len(got) > body["bytes"]


@needs_addresses
def test_a_client_with_all_its_connections_in_work_is_told_so(server):
    head = b"POST /api/matting HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n"
    head += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(closing(connect(server, "127.0.3.1"))).sendall(head)
        in_time(lambda: held(server) == 50 * 9)  # each is waited for
        one = stack.enter_context(closing(connect(server, "127.0.3.1")))
        assert b" 503 " in one.recv(4096)
        with visitor("127.0.3.2") as client:
            assert client.get(f"{server.url}/healthz").status_code == 200


@needs_addresses
def test_nobody_says_for_himself_who_he_is(server):
    with visitor("127.0.4.1") as client:
        codes = [
            client.get(
                f"{server.url}/v1.0/account", headers={"X-Forwarded-For": f"8.8.8.{number}"}
            ).status_code
            for number in range(62)
        ]
    assert codes == [200] * 60 + [429] * 2


def test_a_proxy_that_is_named_says_who_it_is(nets, tmp_path):
    with live(
        nets,
        tmp_path / "data",
        "--no-web",
        rate="2/hour",
        proxies="127.0.0.0/8",
        client_connections="1",
    ) as server:

        def ask(chain):
            return get(f"{server.url}/v1.0/account", headers={"X-Forwarded-For": chain}).status_code

        assert [ask("8.8.8.8") for _ in range(3)] == [200, 200, 429]
        assert ask("8.8.4.4") == 200
        assert ask("1.1.1.1, 8.8.8.8") == 429  # what the client itself put before it
        with ExitStack() as stack:
            for _ in range(5):  # a proxy is many clients
                one = stack.enter_context(closing(connect(server)))
                one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert b" 200 " in one.recv(4096)


# -- the data folder -------------------------------------------------------------------------------


def serve(*arguments, **environment):
    command = "from pipeline.cli import main; import service.cli as c; main.add_command(c.serve)"
    return subprocess.run(
        [sys.executable, "-c", f"{command}; main()", "serve", "--port", "0", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )


def test_a_second_service_says_what_holds_the_folder(server):
    folder = server.log.parent / "data"
    before = sorted(folder.rglob("*"))
    done = serve("--data", str(folder))
    assert done.returncode == 2
    assert f"{folder} is in use by another wisp serve (process {server.process.pid}" in done.stderr
    assert server.url in done.stderr and "--data" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_a_folder_is_free_again_when_its_holder_was_killed(nets, tmp_path):
    hold = "import sys, time; from pathlib import Path; from service.folder import taken\n"
    hold += "with taken(Path(sys.argv[1])) as tell: tell('here'); print('up', flush=True); "
    hold += "time.sleep(60)"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert holder.stdout and holder.stdout.readline() == b"up\n"
    with pytest.raises(SettingsError, match=f"process {holder.pid} .*, here,"), taken(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with taken(tmp_path) as tell:
        tell("there")
    assert json.loads((tmp_path / "serve.json").read_text())["url"] == "there"


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    done = serve("--data", str(tmp_path / "file" / "data"))
    assert done.returncode == 2
    assert "cannot be written to" in done.stderr and "--data" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SettingsError, match="cannot be written to"), taken(tmp_path):
        pass


@pytest.mark.parametrize("missing", ["limits", "uvicorn", "fastapi", "gradio"])
def test_without_its_extra_the_service_says_what_to_install(missing, tmp_path):
    code = f"import sys; sys.modules[{missing!r}] = None; from pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", "--port", "0", "--data", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode
    last = done.stderr.strip().splitlines()[-1]
    assert "pip install 'wispcut[serve]'" in last and missing in last
