"""No request of the page reaches a file that is not an upload of the same visitor.

Walks every endpoint that the page's own configuration has, so that one added later is covered.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.requests import Request

pytest.importorskip("gradio", reason="the page needs pip install 'wispcut[serve]'")

from service.app import create_app
from service.web.guard import GuardMiddleware
from service.web.upload_progress import UploadProgress
from tests.conftest import in_time
from tests.service.conftest import MORE, encoded

META = {"_type": "gradio.FileData"}
REFUSED = {
    "detail": "this is no file of yours, or it is no longer kept: send it again",
    "code": "not_your_file",
}
# What a path may stand for; each is answered alike.
KINDS = ("secret", "missing", "folder", "device", "pipe", "link", "escape", "stranger", "results")
LIMITS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Page:
    """A page, a visitor of it, and paths that are none of the visitor's."""

    def __init__(self, client: Any, folder: Path, public: bool) -> None:
        self.client = client
        self.public = public
        folder.mkdir()
        (folder / "secret.png").write_bytes(encoded(Image.new("RGB", (1, 1)), "PNG"))
        (folder / "link.png").symlink_to(folder / "secret.png")
        os.mkfifo(folder / "pipe.png")
        self.cookie = {"Cookie": f"wisp={'v' * 32}"}
        self.mine = self.upload(self.cookie)
        data = self.client.app.state.wisp.settings.data
        self.paths = {
            "secret": str(folder / "secret.png"),
            "missing": str(folder / "missing.png"),
            "folder": str(folder),
            "device": "/dev/zero",
            "pipe": str(folder / "pipe.png"),
            "link": str(folder / "link.png"),
            "escape": f"{data}/page/../../{folder.name}/secret.png",
            "stranger": self.upload({"Cookie": f"wisp={'s' * 32}"}) if public else "/etc/hostname",
            "results": f"{data}/results.sqlite",
        }
        self.config = client.get("/config").json()

    def upload(self, headers) -> str:
        files = [("files", ("a.png", encoded(Image.new("RGB", (1, 1)), "PNG")))]
        sent = self.client.post("/gradio_api/upload", files=files, headers=headers)
        assert sent.status_code == 200, sent.text
        return sent.json()[0]

    def post(self, path: str, body):
        return self.client.post(path, json=body, headers=self.cookie)

    def join(self, function: int, data: list, **more):
        body = {"data": data, "fn_index": function, "session_hash": "s", **more}
        return self.post("/gradio_api/queue/join", body)

    def functions(self):
        """(number, name or None, how many arguments) of every function of the page."""
        for entry in self.config["dependencies"]:
            if entry["backend_fn"]:
                yield entry["id"], entry["api_name"] or None, len(entry["inputs"])


@pytest.fixture(scope="module", params=[False, True], ids=["private", "public"])
def page(request, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    app = create_app(
        base.model_copy(update={"web": True, "data": folder / "data", "public": request.param})
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Page(client, folder / "elsewhere", request.param)


def shapes(path: str) -> list:
    """What a client of Gradio may send a file as."""
    file = {"path": path, "meta": META}
    return [
        file,
        {"path": path},
        {"path": path, "is_stream": True, "meta": META, "url": "https://example.com/a.png"},
        [file],
        [[file, None], [file, "caption"]],
        [{"image": file, "caption": "x"}],
        {"video": file, "subtitles": file},
        {"text": "x", "files": [file]},
        {"a": [{"b": {"c": file}}]},
        {"value": file, "__type__": "update"},
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_no_endpoint_takes_a_file_that_was_not_sent_to_it(page, kind):
    every = shapes(page.paths[kind])
    for number, name, count in page.functions():
        for shape in every if kind == "secret" else every[:1]:
            places = range(max(1, count)) if shape is every[0] else [0]
            for at in places:
                data = [None] * at + [shape] + [None] * (count - at - 1)
                answer = page.join(number, data)
                assert (answer.status_code, answer.json()) == (403, REFUSED), (name, at, shape)
            if name:
                for route in ("call", "run"):
                    answer = page.post(
                        f"/gradio_api/{route}/{name}", {"data": [shape] * max(1, count)}
                    )
                    assert (answer.status_code, answer.json()) == (403, REFUSED), (route, name)
                answer = page.post(f"/gradio_api/call/v2/{name}", {"photo": shape, "files": shape})
                assert (answer.status_code, answer.json()) == (403, REFUSED), name


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_is_handed_out_that_is_not_the_visitors(page, kind):
    for name in (page.paths[kind], page.paths[kind].lstrip("/"), "%2F.." + page.paths[kind]):
        answer = page.client.get(f"/gradio_api/file={name}", headers=page.cookie)
        assert (answer.status_code, answer.json()) == (403, REFUSED)
    assert page.client.get(f"/gradio_api/file={page.mine}", headers=page.cookie).status_code == 200


def test_a_zip_that_was_sent_is_not_opened(page):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"a")
    files = [("files", ("a.zip", buffer.getvalue()))]
    sent = page.client.post("/gradio_api/upload", files=files, headers=page.cookie).json()[0]
    answer = page.client.get(f"/gradio_api/file={sent}?entry=a.png", headers=page.cookie)
    assert (answer.status_code, answer.json()) == (403, REFUSED)


def nested(leaf):
    """Values as deep as a few levels, with ``leaf`` somewhere in them."""
    key = st.sampled_from(["path", "image", "files", "value", "root", "data", "0", ""])
    plain = st.none() | st.booleans() | st.integers() | st.text(max_size=9)
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.lists(inner | plain, min_size=1, max_size=3).filter(lambda v: _within(v)),
            st.dictionaries(key, inner, min_size=1, max_size=3).filter(lambda v: _within(v)),
        ),
        max_leaves=4,
    )


def _within(value) -> bool:
    return '"meta"' in json.dumps(value)


def test_nothing_of_a_refused_path_is_looked_at(page, monkeypatch):
    """Whatever a payload looks like, the disk is asked nothing, and the answers are the same."""
    seen: list[str] = []
    watching = True

    def watch(event: str, arguments) -> None:
        if watching and event in ("open", "os.listdir", "os.scandir", "shutil.copyfile"):
            seen.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else "")

    sys.addaudithook(watch)  # stays for good, and then watches nothing
    for name in ("stat", "lstat", "access", "readlink"):
        real = getattr(os, name)

        def noted(path, *rest, real=real, **options):
            if watching and isinstance(path, (str, bytes, os.PathLike)):
                seen.append(os.fsdecode(path))
            return real(path, *rest, **options)

        monkeypatch.setattr(os, name, noted)

    paths = st.sampled_from(KINDS).map(lambda kind: page.paths[kind])
    files = st.fixed_dictionaries(
        {"path": paths, "meta": st.just(META)},
        optional={
            "url": st.sampled_from([None, "https://example.com/a.png", "file:///etc/hostname"]),
            "orig_name": st.sampled_from(["a.png", "../../x", "a\x00b"]),
            "is_stream": st.booleans(),
            "size": st.integers(),
        },
    )
    functions = list(page.functions())

    @LIMITS
    @given(shape=nested(files), which=st.sampled_from(functions), place=st.integers(0, 9))
    def walk(shape, which, place):
        number, _, count = which
        data = [None] * max(1, count)
        data[place % len(data)] = shape
        seen.clear()
        answer = page.join(number, data)
        assert (answer.status_code, answer.json()) == (403, REFUSED)
        bad = [path for path in seen if any(p in path for p in page.paths.values())]
        assert not bad

    try:
        walk()
    finally:
        watching = False


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


def guard_of(page):
    apps = (getattr(route, "app", None) for route in page.client.app.routes)
    return next(app for app in apps if isinstance(app, GuardMiddleware))


def test_payloads_of_any_shape_leave_only_plain_values_and_uploads(page):
    """What the door lets through is JSON again, and every file in it is the visitor's own."""
    door = guard_of(page)
    owner = f"visitor {'v' * 32}" if page.public else "everyone"
    mine = st.just({"path": page.mine, "meta": META, "is_stream": True, "url": "https://a.example"})
    payload = st.dictionaries(
        st.sampled_from(["data", "event_data", "session_hash", "fn_index", "batched", "x"]),
        st.recursive(mine | JSON, lambda inner: st.lists(inner, max_size=3), max_leaves=6),
    )

    @LIMITS
    @given(payload=payload)
    def screen(payload):
        from service.errors import ServiceError

        try:
            plain = json.loads(door._screened(json.dumps(payload).encode(), owner, False))
        except ServiceError as error:
            assert 400 <= error.status < 500
            return
        assert set(plain) <= {"data", "event_data", "session_hash", "fn_index"}
        for file in _files(plain):
            assert file == {"path": page.mine, "meta": META}

    screen()


def _files(value):
    if isinstance(value, dict):
        if "path" in value:
            yield value
        else:
            for entry in value.values():
                yield from _files(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _files(entry)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"data": [NaN]}', 400),
        (b'{"data": [1e999]}', 400),
        (b'{"data": [' + b"[" * 5000 + b"]" * 5000 + b"]}", 400),
        (b'{"data": ' + b"[" * 30 + b"]" * 30 + b"}", 400),
        (b'{"data": [' + b"1" * 5000 + b"]}", 400),
        (b'{"data": ["' + b"a" * 210_000 + b'"]}', 413),
        (b'{"data": [{"path": 1}]}', 403),
        (b'{"data": [{"path": null}]}', 403),
    ],
)
def test_bodies_that_are_none(page, body, status):
    for path in ("queue/join", "call/cut", "run/cut", "cancel"):
        headers = {"Content-Type": "application/json", **page.cookie}
        answer = page.client.post(f"/gradio_api/{path}", content=body, headers=headers)
        assert answer.status_code == status, (path, answer.text)


def test_what_comes_twice_counts_once(page):
    """A name that stands twice in a body cannot be read one way here and another way behind."""
    body = f'{{"data": [{{"path": "{page.mine}", "path": "/etc/hostname"}}]}}'
    answer = page.client.post("/gradio_api/call/cut", content=body, headers=page.cookie)
    assert (answer.status_code, answer.json()) == (403, REFUSED)


def test_an_event_names_no_more_files_than_a_batch_may_have(page):
    files = [{"path": page.mine, "meta": META}] * 500
    assert page.join(0, [files]).status_code == 413


SHUT = [
    ("GET", "/gradio_api/proxy=https://example.hf.space/a"),
    ("GET", "/gradio_api/custom_component/a/client/component/index.js"),
    ("POST", "/gradio_api/component_server"),
    ("GET", "/gradio_api/file/etc/hostname"),
    ("POST", "/gradio_api/stream/a"),
    ("GET", "/gradio_api/stream/a/b/1/playlist.m3u8"),
    ("GET", "/gradio_api/deep_link?session_hash=a"),
    ("GET", "/gradio_api/dev/reload"),
    ("POST", "/gradio_api/api/cut"),
    ("GET", "/gradio_api/token"),
    ("GET", "/gradio_api/user"),
    ("POST", "/login"),
    ("GET", "/logout"),
    ("GET", "/monitoring"),
    ("GET", "/gradio_api/runs"),
    ("POST", "/gradio_api/vibe-edit/"),
    ("POST", "/gradio_api/process_recording"),
    ("GET", "/pwa_icon/100000"),
    ("PUT", "/gradio_api/upload"),
    ("DELETE", "/"),
    ("GET", "/gradio_api/mcp"),
    ("GET", "/gradio_api/file=https://example.com/a.png"),
]


@pytest.mark.parametrize(("method", "path"), SHUT)
def test_what_the_page_does_not_need_is_shut(page, method, path):
    answer = page.client.request(method, path, follow_redirects=False)
    assert answer.status_code in (403, 404)
    assert set(answer.json()) == {"detail", "code"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/remove-background"), ("POST", "/healthz"), ("PUT", "/v1.0/removebg")],
)
def test_another_method_of_the_api_is_405_beside_the_page(page, method, path):
    answer = page.client.request(method, path)
    assert answer.status_code == 405 and answer.headers["allow"]


def test_a_route_that_a_later_gradio_adds_is_shut(page):
    door = guard_of(page)
    door.app.add_api_route("/gradio_api/new", lambda: "open", methods=["GET", "POST"])
    for method in ("GET", "POST"):
        assert page.client.request(method, "/gradio_api/new").status_code == 404


def test_every_component_that_a_function_takes_is_of_a_kind_that_opens_nothing(page):
    known = {"image", "file", "downloadbutton"}  # taken over: service.web.mount
    plain = {"checkbox", "dropdown", "radio", "colorpicker", "slider", "textbox", "json"}
    kinds = {entry["id"]: entry["type"] for entry in page.config["components"]}
    taken = {kinds[i] for entry in page.config["dependencies"] for i in entry["inputs"]}
    assert taken <= known | plain
    assert known <= taken


@pytest.mark.parametrize("name", ["../../x.png", "/etc/x.png", "a\\..\\b.png", "x" * 3000 + ".png"])
def test_an_upload_lands_in_a_folder_of_its_own(page, name):
    files = [("files", (name, b"x"))] * 2
    sent = page.client.post("/gradio_api/upload", files=files, headers=page.cookie).json()
    folder = str(page.client.app.state.wisp.settings.data / "page") + "/"
    assert len(set(sent)) == 2
    for path in sent:
        assert path.startswith(folder) and os.path.isfile(path) and ".." not in path
        assert os.stat(path).st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"nonsense"),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nhalf',
        ),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: " + b"a" * 9000 + b"\r\n\r\nx\r\n--x--\r\n",
        ),
    ],
)
def test_a_broken_upload_is_refused_and_leaves_nothing(page, kind, body):
    folder = page.client.app.state.wisp.settings.data / "page"
    before = set(folder.iterdir())
    headers = {"Content-Type": kind, **page.cookie}
    answer = page.client.post("/gradio_api/upload", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert set(folder.iterdir()) == before


def test_uploads_are_bounded_before_they_are_written(base, tmp_path):
    """By what is announced, and by what comes; a stranger is not kept out by it."""
    settings = base.model_copy(update={"web": True, "data": tmp_path / "data", "public": True})
    settings = settings.model_copy(update={"max_batch_bytes": 2_000_000, "page_bytes": 24_000_000})
    app = create_app(settings)
    folder = settings.data / "page"
    with TestClient(app, raise_server_exceptions=False) as client:

        def send(size, cookie, chunked=False):
            content = b"--x\r\nContent-Disposition: form-data; name=files; filename=a\r\n\r\n"
            content += bytes(size) + b"\r\n--x--\r\n"
            headers = {
                "Content-Type": "multipart/form-data; boundary=x",
                "Cookie": f"wisp={cookie * 32}",
            }
            body = iter([content[:1000], content[1000:]]) if chunked else content
            return client.post("/gradio_api/upload", content=body, headers=headers)

        answers = [send(1_900_000, str(i % 10), i % 2 == 1) for i in range(6)]
        assert [a.status_code for a in answers] == [200] * 3 + [429] * 3
        assert answers[-1].json()["code"] == "too_much_kept" and answers[-1].headers["retry-after"]
        assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= 6_000_000
        assert app.state.wisp.memory.used == 0


def test_a_batch_of_zips_holds_one_picture_at_a_time(base, tmp_path, photo):
    """What would unpack to more than a batch may be is refused before any of it is."""
    bomb, fine = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(9):
            archive.writestr(f"{i}.png", bytes(999_000))
    with zipfile.ZipFile(fine, "w") as archive:
        for i in range(3):
            archive.writestr(f"{i}.jpg", photo)
        archive.writestr("broken.jpg", photo[:500])
    settings = base.model_copy(update={"web": True, "data": tmp_path / "data"})
    settings = settings.model_copy(update={"max_batch_bytes": 20_000_000, "max_bytes": 2_000_000})
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:

        def batch(*contents):
            files = [("files", (f"{i}.zip", c.getvalue())) for i, c in enumerate(contents)]
            sent = client.post("/gradio_api/upload", files=files).json()
            options = [False, "", "transparent", "#ffffff", None, False, 5, "png", *MORE]
            data = [[{"path": path, "meta": META} for path in sent], *options]
            event = client.post("/gradio_api/call/batch", json={"data": data}).json()["event_id"]
            return client.get(f"/gradio_api/call/batch/{event}").text

        held = []
        count = app.state.wisp.memory._count

        def noted(who, size):
            held.append(size)
            count(who, size)

        app.state.wisp.memory._count = noted
        page_text = batch(*[bomb] * 3)
        assert "larger than the limit" in page_text and max(held) < 5000  # the event
        page_text = batch(fine, fine)
        assert "8 pictures: 6 done, 2 failed" in page_text
        # One at a time, and each given back before the next: a photo, and then its cutout.
        now, most = 0, 0
        for size in held:
            now += size
            most = max(most, now)
        assert now == 0 and most < 2_000_000
        assert app.state.wisp.memory.used == 0


@pytest.mark.parametrize("name", ["cut", "explain"])
def test_an_event_reads_an_upload_only_where_there_is_room(page, photo, monkeypatch, name):
    """However many events name one upload, they hold no more than their visitor may."""
    files = [("files", ("a.jpg", photo))]
    sent = page.client.post("/gradio_api/upload", files=files, headers=page.cookie).json()[0]
    count = next(count for _, known, count in page.functions() if known == name)
    data = [{"path": sent, "meta": META}, False, *("", "transparent", "#ffffff", None, False, 5)]
    data = [*data, "png", *MORE, ""] if name == "cut" else [data[0], ""]
    assert len(data) == count
    memory = page.client.app.state.wisp.memory

    def events() -> str:
        event = page.post(f"/gradio_api/call/{name}", {"data": data}).json()["event_id"]
        return page.client.get(f"/gradio_api/call/{name}/{event}", headers=page.cookie).text

    monkeypatch.setattr(memory, "each", len(photo) - 1)
    read: list[Any] = []
    monkeypatch.setattr("service.files.Files.opened", lambda *arguments: read.append(arguments))
    refusal = events()
    assert "event: error" in refusal and "too much of yours" in refusal
    assert not read and memory.used == 0
    monkeypatch.undo()
    if name == "cut":
        assert "event: complete" in events() and memory.used == 0


def test_answers_that_nobody_reads_do_not_pile_up(page, monkeypatch):
    monkeypatch.setattr("service.web.event_streams._GRACE", 0.0)
    number = next(number for number, name, _ in page.functions() if name == "history")
    door = guard_of(page)
    queue = door.unread._queue
    waiting = queue.pending_messages_per_session
    for i in range(24):
        body = {"data": [], "fn_index": number, "session_hash": f"never{i}"}
        assert page.post("/gradio_api/queue/join", body).status_code == 200
        in_time(waiting[f"never{i}"].qsize)
    assert sum(waiting[name].qsize() > 0 for name in list(waiting)) <= 17
    event = page.post("/gradio_api/call/history", {"data": []}).json()["event_id"]
    events = page.client.get(f"/gradio_api/call/history/{event}", headers=page.cookie).text
    assert "event: complete" in events


def test_an_upload_tells_how_far_it_is():
    arriving = UploadProgress()
    request = Request({"type": "http", "query_string": b"upload_id=a", "headers": []})

    async def follow() -> str:
        with arriving.follow("me", request) as tell:
            tell("x.png", 3)
            tell("x.png", 4)
            answer = await arriving.stream("me", request)
            parts = aiter(answer.body_iterator)
            text = str(await anext(parts))
        return text + "".join([str(part) async for part in parts])

    events = [json.loads(line[6:]) for line in asyncio.run(follow()).split("\n\n") if line]
    assert events[0] == {"msg": "update", "orig_name": "x.png", "chunk_size": 7}
    assert events[-1] == {"msg": "done"} and not arriving._uploads
