"""The page's endpoints, as Gradio's Python and JavaScript clients call them."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from pipeline.explain.figure import WIDTH
from tests.service.conftest import MORE, encoded, opened
from tests.service.live import get, import_model, live, post
from tests.tiny_u2net import tiny_u2net

pytest.importorskip("gradio", reason="the page needs pip install 'wispcut[serve]'")
WISHES = ["tiny", "transparent", "#ffffff", None, False, 5, "png"]


@pytest.fixture(scope="module")
def server(nets, tmp_path_factory):
    data = tmp_path_factory.mktemp("page") / "data"
    import_model(data, tiny_u2net(tmp_path_factory.mktemp("net") / "inner.onnx"), "inner")
    with live(nets, data) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "astronaut.jpg").write_bytes(photo)
    (folder / "coffee.png").write_bytes(encoded(data.coffee(), "PNG"))
    (folder / "broken.jpg").write_bytes(photo[:2000])
    with zipfile.ZipFile(folder / "some.zip", "w") as archive:
        archive.writestr("in/rocket.jpg", encoded(data.rocket()))
        archive.writestr("in/notes.txt", "no picture")
    return folder


@pytest.fixture(scope="module")
def client(server):
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(server.url, verbose=False)


def file(path: Path):
    from gradio_client import handle_file

    return handle_file(str(path))


def test_every_function_has_a_named_endpoint(client):
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert {"/cut", "/batch", "/history", "/history_file", "/history_delete"} <= set(named)
    assert {"/clip", "/explain", "/system", "/diagnose", "/get_model"} <= set(named)


def test_cut_file_in_file_out(client, folder, server, photo):
    path, view, line = client.predict(
        file(folder / "astronaut.jpg"), True, *WISHES, api_name="/cut"
    )
    rest = post(server.url + "/api/matting", files={"image": photo}, timeout=60)
    assert Path(path).read_bytes() == rest.content
    assert "512 × 512" in line
    for pane in ("compare", "cutout", "edge", "alpha", "roi", "beside"):
        assert f"pane-{pane}" in view


def test_cut_with_wishes(client, folder):
    options = ["tiny", "colour", "rgba(255.4, 0, 0, 1)", None, True, 0, "jpg"]
    path, _, _ = client.predict(file(folder / "coffee.png"), False, *options, api_name="/cut")
    assert Image.open(path).format == "JPEG"
    options = ["tiny", "picture", "#fff", file(folder / "astronaut.jpg"), False, 0, "webp"]
    path, _, _ = client.predict(file(folder / "coffee.png"), True, *options, api_name="/cut")
    assert np.asarray(Image.open(path)).shape == (400, 600, 3)


def test_edits_are_drawn_into_the_file_and_the_quick_answer(client, folder):
    stroke = {"points": [[0.5, 0.5], [0.6, 0.5]], "width": 0.2, "restore": False}
    photo, edits = file(folder / "coffee.png"), json.dumps({"strokes": [stroke]})
    path, view, _ = client.predict(photo, True, *WISHES, edits=edits, api_name="/cut")
    assert np.asarray(Image.open(path))[200, 330, 3] == 0
    assert 'data-strokes="1"' in view
    line, layer = client.predict(photo, True, *WISHES, edits=edits, api_name="/retouch")
    assert "600 × 400" in line and 'data-strokes="1"' in layer
    shown = opened(base64.b64decode(layer.partition("base64,")[2].partition('"')[0]))
    assert (shown.format, shown.size) == ("WEBP", (600, 400))
    assert np.asarray(shown)[200, 330, 3] == 0
    for wrong in ("x", '{"box": [2, 2, 1, 1]}', '{"strokes": [{}]}'):
        with pytest.raises(Exception, match="edits are none|no area"):
            client.predict(photo, True, *WISHES, edits=wrong, api_name="/retouch")


@pytest.mark.parametrize("name", ["broken.jpg", "some.zip"])
def test_errors_are_told_and_name_no_path(client, folder, name):
    with pytest.raises(Exception) as caught:  # gradio_client.exceptions.AppError
        client.predict(file(folder / name), True, *WISHES, api_name="/cut")
    message = str(caught.value)
    assert "broken" in message or "not an image" in message
    assert "/" not in message


def test_urls_and_paths_of_the_server_are_refused(client, server):
    for payload in (
        {"path": "http://127.0.0.1:1/x.png", "meta": {"_type": "gradio.FileData"}},
        {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}},
    ):
        body = {"data": [payload, True, *WISHES, *MORE, ""]}
        joined = post(f"{server.url}/gradio_api/call/cut", json=body)
        if joined.status_code == 200:
            event = joined.json()["event_id"]
            events = get(f"{server.url}/gradio_api/call/cut/{event}", timeout=60).text
            assert "event: error" in events
            assert "event: complete" not in events
    for path in ("/etc/passwd", "../results.sqlite", str(server.log)):
        assert get(f"{server.url}/gradio_api/file={path}").status_code in (403, 404)


def test_batch_of_files_and_a_zip_with_one_broken(client, folder):
    files = [file(folder / name) for name in ("astronaut.jpg", "broken.jpg", "some.zip")]
    path, table, summary = client.predict(files, False, *WISHES, api_name="/batch")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["astronaut.png", "rocket.png"]
        assert opened(archive.read("rocket.png")).mode == "RGBA"
    assert table.count('class="done"') == 2 and table.count('class="failed"') == 1
    assert "3 pictures: 2 done, 1 failed" in summary


def test_each_result_of_a_batch_has_a_thumbnail_and_comes_alone(client, folder, server):
    files = [file(folder / name) for name in ("astronaut.jpg", "broken.jpg", "some.zip")]
    path, table, _ = client.predict(files, False, *WISHES, api_name="/batch")
    thumbs = re.findall(r'<img class="checker" src="([^"]+)"', table)
    links = re.findall(r'<a href="([^"]+)" download', table)
    assert len(thumbs) == len(links) == 2
    for thumb in thumbs:
        picture = opened(get(f"{server.url}/{thumb}").content)
        assert picture.format == "WEBP" and max(picture.size) <= 112
    answer = get(f"{server.url}/{links[1]}")
    with zipfile.ZipFile(path) as archive:
        assert answer.content == archive.read("rocket.png")
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''rocket.png"
    assert int(answer.headers["content-length"]) == len(answer.content)
    for wrong in (links[1].replace("rocket", "no-such"), f"{thumbs[0]}?entry=rocket.png"):
        assert get(f"{server.url}/{wrong}").status_code == 403


def test_a_look_inside_file_in_figure_out(client, folder):
    path, view, line = client.predict(file(folder / "astronaut.jpg"), "inner", api_name="/explain")
    assert Path(path).name == "astronaut-inside.png"
    figure = Image.open(path)
    assert (figure.format, figure.width) == ("PNG", WIDTH)
    assert "data:image/webp" in view
    patches = int(line.partition(" edge patches")[0].rpartition(">")[2])
    assert patches > 10
    _, entries, *_ = client.predict(api_name="/history")
    assert "astronaut-inside" not in str(entries)  # no cutout: not part of the history


def test_a_look_inside_tells_errors_and_names_no_path(client, folder, server):
    for name, model, message in (
        ("broken.jpg", "inner", "broken"),
        ("coffee.png", "tiny", "needs a U²-Net, and tiny is none"),
        ("coffee.png", "nope", "no model 'nope'"),
    ):
        with pytest.raises(Exception, match=message) as caught:
            client.predict(file(folder / name), model, api_name="/explain")
        assert "/" not in str(caught.value)
    with pytest.raises(Exception, match="Choose a picture first"):
        client.predict(None, "inner", api_name="/explain")


def test_a_clip_file_in_clip_out(client, folder, server):
    pytest.importorskip("av", reason="clips need pip install 'wispcut[video]'")
    from tests.video.conftest import ffmpeg, write_clip

    write_clip(folder / "walk.mp4", 6)
    wishes = ["transparent", "#ffffff", None, "webm", True, False, "tiny"]
    path, view, line = client.predict(file(folder / "walk.mp4"), *wishes, api_name="/clip")
    assert Path(path).name == "walk-cutout.webm"
    assert np.unique(ffmpeg(Path(path), "-c:v", "libvpx-vp9")[..., 3]).size > 1
    assert "6 / 6 frames" in line
    source = view.partition('src="')[2].partition('"')[0]
    shown = get(f"{server.url}/{source}")
    assert shown.headers["content-type"] == "video/webm"
    assert shown.content == Path(path).read_bytes()
    wishes[0], wishes[2], wishes[3] = "behind", file(folder / "coffee.png"), "mov"
    path, view, _ = client.predict(file(folder / "walk.mp4"), *wishes, api_name="/clip")
    assert Path(path).name == "walk-cutout.mov" and "download it" in view
    with pytest.raises(Exception, match="holds no transparency"):
        wishes[0], wishes[3] = "transparent", "mp4"
        client.predict(file(folder / "walk.mp4"), *wishes, api_name="/clip")


def test_a_clip_that_fails_says_why_and_names_no_path(server):
    pytest.importorskip("av", reason="clips need pip install 'wispcut[video]'")
    sent = post(f"{server.url}/gradio_api/upload", files=[("files", b"no clip")]).json()[0]
    given = {"path": sent, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [given, "blur", "", None, "mp4", True, False, ""]}
    event = post(f"{server.url}/gradio_api/call/clip", json=body).json()["event_id"]
    events = get(f"{server.url}/gradio_api/call/clip/{event}", timeout=120).text
    told = events.partition("event: error")[2]
    assert "cannot be read as a clip" in told and "/" not in told


def test_history_lists_fetches_and_deletes(client, folder):
    made, _, _ = client.predict(file(folder / "coffee.png"), True, *WISHES, api_name="/cut")
    gallery, entries, *_ = client.predict(api_name="/history")
    assert len(gallery) == len(entries) >= 1
    newest = entries[0]
    client.predict(file(folder / "coffee.png"), False, *WISHES, api_name="/cut")
    _, more, *_ = client.predict(api_name="/history")
    assert len(more) == len(entries) and not more[0]["refined"]  # one entry a photo
    made, newest = client.predict(more[0]["name"], api_name="/history_file"), more[0]
    assert newest["title"] == "coffee.png" and newest["width"] == 600
    again = client.predict(newest["name"], api_name="/history_file")
    assert Path(again).read_bytes() == Path(made).read_bytes()
    _, left, *_ = client.predict(newest["name"], api_name="/history_delete")
    assert newest["name"] not in [entry["name"] for entry in left]
    with pytest.raises(Exception, match="no longer"):
        client.predict(newest["name"], api_name="/history_file")


def test_system_and_language(server, client):
    facts = client.predict(api_name="/system")
    assert "tiny" in facts and "SHA-256" in facts and "MB" in facts
    from gradio_client import Client

    chinese = Client(server.url, verbose=False, headers={"Accept-Language": "zh-CN,en;q=0.5"})
    assert "内存" in chinese.predict(api_name="/system")


def test_strangers_see_only_their_own_history(nets, tmp_path, folder):
    from gradio_client import Client

    with live(nets, tmp_path / "data", public="1") as server:
        page = get(server.url)
        cookie = page.headers["set-cookie"].split(";")[0]
        assert "HttpOnly" in page.headers["set-cookie"]
        mine = Client(server.url, verbose=False, headers={"Cookie": cookie})
        mine.predict(file(folder / "coffee.png"), False, *WISHES, api_name="/cut")
        _, entries, *_ = mine.predict(api_name="/history")
        assert len(entries) == 1
        for headers in ({}, {"Cookie": "wisp=" + "x" * 32}):
            other = Client(server.url, verbose=False, headers=headers)
            assert other.predict(api_name="/history")[1] == []
            with pytest.raises(Exception, match="no longer"):
                other.predict(entries[0]["name"], api_name="/history_file")
            with pytest.raises(Exception, match="no longer"):
                other.predict(entries[0]["name"], api_name="/history_delete")
        with pytest.raises(Exception, match="owner"):
            mine.predict(api_name="/diagnose")


SCRIPT = """
import { Client, handle_file } from "@gradio/client";
import { readFileSync } from "node:fs";
const [url, photo] = process.argv.slice(2);
const app = await Client.connect(url);
const blob = new Blob([readFileSync(photo)], { type: "image/jpeg" });
const options = ["tiny", "transparent", "#ffffff", null, false, 5, "png"];
const { data } = await app.predict("/cut", [blob, true, ...options]);
const file = Buffer.from(await (await fetch(data[0].url)).arrayBuffer());
const head = file.subarray(1, 4).toString();
console.log(JSON.stringify({ size: file.length, line: data[2], head }));
process.exit(0);
"""


def test_the_javascript_client(server, folder, tmp_path, photo):
    node, modules = shutil.which("node"), os.environ.get("WISP_TEST_NODE_MODULES", "")
    if not node:
        pytest.skip("node is not installed")
    if not (Path(modules) / "@gradio" / "client").is_dir():
        pytest.skip("set WISP_TEST_NODE_MODULES to a node_modules folder with @gradio/client")
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "call.mjs").write_text(SCRIPT)
    done = subprocess.run(
        [node, str(tmp_path / "call.mjs"), server.url, str(folder / "astronaut.jpg")],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    rest = post(server.url + "/api/matting", files={"image": photo}, timeout=60)
    assert result["size"] == len(rest.content) and result["head"] == "PNG"
    assert "512 × 512" in result["line"]
    assert io.BytesIO(rest.content).read(4) == b"\x89PNG"
