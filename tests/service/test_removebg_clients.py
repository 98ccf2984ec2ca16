"""remove.bg's clients and the samples of its documentation, with nothing but the host changed.

Needs ``pip install removebg``, for Node a ``node_modules`` folder with ``remove.bg`` in it, named
by ``WISP_TEST_NODE_MODULES``, the gem ``remove_bg``, and Debian's ``php-guzzlehttp-guzzle`` and
``libhttpclient5-java``; what is not there is skipped.
"""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.service.conftest import opened
from tests.service.live import live

HOST = "https://api.remove.bg"


@pytest.fixture(scope="module")
def server(nets, tmp_path_factory):
    with live(nets, tmp_path_factory.mktemp("clients") / "data", "--no-web") as server:
        yield server


@pytest.fixture
def folder(tmp_path, photo) -> Path:
    (tmp_path / "astronaut.jpg").write_bytes(photo)
    (tmp_path / "broken.jpg").write_bytes(photo[:1000])
    return tmp_path


def test_the_python_client(server, folder, photo, monkeypatch):
    module = pytest.importorskip("removebg.removebg", reason="needs pip install removebg")
    monkeypatch.setattr(module, "API_ENDPOINT", module.API_ENDPOINT.replace(HOST, server.url))
    client = module.RemoveBg("any key", str(folder / "errors.log"))
    source, target = folder / "astronaut.jpg", folder / "astronaut.jpg_no_bg.png"
    client.remove_background_from_img_file(str(source), size="regular")
    picture = opened(target.read_bytes())
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (500, 500))
    client.remove_background_from_img_file(str(source), bg_color="ff0000")
    assert opened(target.read_bytes()).mode == "RGB"
    text = base64.b64encode(photo).decode()
    client.remove_background_from_base64_img(text, "full", str(folder / "b64.png"))
    assert opened((folder / "b64.png").read_bytes()).size == (512, 512)
    with pytest.raises(Exception, match="400"):
        client.remove_background_from_img_file(str(folder / "broken.jpg"))
    with pytest.raises(Exception, match="400"):
        client.remove_background_from_img_url("http://127.0.0.1/a.jpg", new_file_name="no.png")


SCRIPT = """
const client = require("./client.js");
const { readFileSync } = require("fs");
const sent = (promise) => promise.catch((errors) => ({ errors }));
(async () => {
  const apiKey = "any key";
  const wishes = { crop: true, crop_margin: "10px", bg_color: "ff0000", add_shadow: false };
  const base64img = readFileSync("astronaut.jpg").toString("base64");
  console.log(JSON.stringify({
    file: await sent(client.removeBackgroundFromImageFile(
      { path: "astronaut.jpg", apiKey, size: "regular", type: "auto", outputFile: "file.png" })),
    wishes: await sent(client.removeBackgroundFromImageFile(
      { path: "astronaut.jpg", apiKey, size: "regular", ...wishes })),
    base64: await sent(client.removeBackgroundFromImageBase64(
      { base64img, apiKey, size: "full", ...wishes })),
    url: await sent(client.removeBackgroundFromImageUrl({ url: "http://127.0.0.1/a.jpg", apiKey })),
    broken: await sent(client.removeBackgroundFromImageFile({ path: "broken.jpg", apiKey })),
  }));
})();
"""


def test_the_node_client(server, folder):
    node, modules = shutil.which("node"), Path(os.environ.get("WISP_TEST_NODE_MODULES", ""))
    source = modules / "remove.bg" / "dist" / "index.js"
    if not node:
        pytest.skip("node is not installed")
    if not source.is_file():
        pytest.skip("set WISP_TEST_NODE_MODULES to a node_modules folder with remove.bg")
    (folder / "node_modules").symlink_to(modules)
    (folder / "client.js").write_text(source.read_text().replace(HOST, server.url))
    (folder / "call.js").write_text(SCRIPT)
    done = subprocess.run(
        [node, "call.js"], capture_output=True, text=True, timeout=120, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    picture = opened((folder / "file.png").read_bytes())
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (500, 500))
    expected = {"creditsCharged": "0", "detectedType": "other", "resultWidth": "500"}
    assert expected.items() <= answers["file"].items()
    for way in ("wishes", "base64"):
        picture = opened(base64.b64decode(answers[way]["base64img"]))
        assert picture.format == "JPEG"
        assert str(picture.width) == answers[way]["resultWidth"]
    assert answers["url"]["errors"][0]["code"] == "invalid_image_url"
    assert answers["broken"]["errors"][0]["code"] == "failed_to_read_image"


JARS = [
    Path("/usr/share/java") / f"{name}.jar"
    for name in ("httpclient5-fluent", "httpclient5", "httpcore5", "httpcore5-h2", "slf4j-api")
]
#: What is needed, a command that succeeds where it is there, and the sample.
SAMPLES = {
    "sample.mjs": (
        "Node with fetch",
        ["node", "-e", "process.exit(require('fs').openAsBlob ? 0 : 1)"],
        ["node"],
        """
import fs from "node:fs";
const body = new FormData();
body.append("size", "auto");
body.append("image_file", await fs.openAsBlob("astronaut.jpg"));
const headers = { "X-Api-Key": "any key" };
const answer = await fetch("HOST/v1.0/removebg", { method: "POST", headers, body });
fs.writeFileSync("no-bg.png", Buffer.from(await answer.arrayBuffer()));
""",
    ),
    "sample.rb": (
        "the gem remove_bg",
        ["ruby", "-e", 'require "remove_bg"'],
        ["ruby"],
        """
require "remove_bg"
RemoveBg::Api.const_set(:URL, "HOST")
options = { api_key: "any key" }
RemoveBg.from_file("astronaut.jpg", size: "auto", **options).save("no-bg.png")
composed = RemoveBg.from_file("astronaut.jpg", size: "auto", format: "zip", **options)
raise "no zip" unless composed.is_a?(RemoveBg::CompositeResult)
raise "no account" unless RemoveBg.account_info(options).api.free_calls == 1_000_000
begin
  RemoveBg.from_file("broken.jpg", options)
  raise "not refused"
rescue RemoveBg::ClientHttpError
end
""",
    ),
    "sample.php": (
        "PHP with Guzzle in its include path",
        ["php", "-r", 'exit((int) !@include "GuzzleHttp/autoload.php");'],
        ["php"],
        """<?php
require "GuzzleHttp/autoload.php";
$client = new GuzzleHttp\\Client();
$answer = $client->post("HOST/v1.0/removebg", [
    "multipart" => [
        ["name" => "image_file", "contents" => fopen("astronaut.jpg", "r")],
        ["name" => "size", "contents" => "auto"],
    ],
    "headers" => ["X-Api-Key" => "any key"],
]);
file_put_contents("no-bg.png", $answer->getBody());
""",
    ),
    "Sample.java": (
        "a JDK and Apache HttpComponents 5 in /usr/share/java",
        ["ls", *map(str, JARS)],
        ["java", "-cp", ":".join(map(str, JARS))],
        """
import java.io.File;
import org.apache.hc.client5.http.entity.mime.MultipartEntityBuilder;
import org.apache.hc.client5.http.fluent.Request;
public class Sample {
  public static void main(String[] arguments) throws Exception {
    Request.post("HOST/v1.0/removebg")
        .addHeader("X-Api-Key", "any key")
        .body(MultipartEntityBuilder.create()
            .addBinaryBody("image_file", new File("astronaut.jpg"))
            .addTextBody("size", "auto")
            .build())
        .execute()
        .saveContent(new File("no-bg.png"));
  }
}
""",
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_of_other_languages(server, folder, name):
    what, probe, command, text = SAMPLES[name]
    there = shutil.which(command[0]) and not subprocess.run(probe, capture_output=True).returncode
    if not there:
        pytest.skip(f"needs {what}")
    (folder / name).write_text(text.replace("HOST", server.url))
    done = subprocess.run([*command, name], capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr
    picture = opened((folder / "no-bg.png").read_bytes())
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (512, 512))
