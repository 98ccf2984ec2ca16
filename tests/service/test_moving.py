"""docs/moving.md: each row of its tables is tried, and nothing that is taken is missing in them."""

from __future__ import annotations

import base64
import inspect
import re
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from skimage import data

from pipeline.cli import main
from service.api import photoroom, removebg
from service.app import create_app
from tests.service.conftest import encoded, streamed
from wisp import rembg

PAGE = (Path(__file__).parents[2] / "docs" / "moving.md").read_text(encoding="utf-8")
SMALL = encoded(data.astronaut()[::4, ::4], "PNG")
VALUES = {
    "base64": base64.b64encode(SMALL).decode(),
    "a URL": "https://example.com/a.png",
}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = re.split(r"^#+ ", PAGE.partition(f"# {heading}\n")[2], flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def requests(heading: str) -> list[tuple[str, str, bool]]:
    """Each parameter with each of its values, and whether it is taken."""
    cells = []
    for parameter, values, answer, *_ in rows(heading):
        assert answer in ("taken", "refused")
        cells += [
            (names(parameter)[0], value, answer == "taken") for value in names(values) or [values]
        ]
    return cells


@pytest.fixture(scope="module")
def client(base, tmp_path_factory):
    async def resolve(host, port):
        return ["93.184.216.34"]

    site = httpx.MockTransport(lambda request: streamed(SMALL))
    changes = {"data": tmp_path_factory.mktemp("data"), "cache": "disk"}
    settings = base.model_copy(update=changes)
    with TestClient(create_app(settings, resolve=resolve, transport=site)) as client:
        yield client


def form(name: str, value: str, file: str) -> dict:
    """A request with one parameter, and a picture where that is none itself."""
    sent: dict = {"files": {file: SMALL}, "data": {}}
    if value == "a file":
        sent["files"][name] = SMALL
    else:
        sent["data"][name] = VALUES.get(value, value)
    return sent


@pytest.mark.parametrize(("name", "value", "taken"), requests("Parameters"))
def test_remove_bg(client, name, value, taken):
    sent = form(name, value, "image_file")
    if name in ("image_file_b64", "image_url"):
        del sent["files"]
    answer = client.post("/v1.0/removebg", **sent)
    assert answer.status_code == (200 if taken else 400), answer.text


@pytest.mark.parametrize(("name", "value", "taken"), requests("The API"))
def test_rembgs_api(client, name, value, taken):
    if name == "url":
        answer = client.get("/api/remove", params={"url": VALUES[value]})
    elif name in ("bgc", "extras"):
        answer = client.post("/api/remove", files={"file": SMALL}, params={name: value})
    else:
        answer = client.post("/api/remove", **form(name, value, "file"))
    assert answer.status_code == (200 if taken else 422), answer.text


@pytest.mark.parametrize(("name", "value", "taken"), requests("Of v1/segment"))
def test_photorooms_segment(client, name, value, taken):
    answer = client.post("/v1/segment", **form(name, value, "image_file"))
    assert answer.status_code == (200 if taken else 400), answer.text


@pytest.mark.parametrize(("name", "value", "taken"), requests("Of v2/edit"))
def test_photorooms_edit(client, name, value, taken):
    if name == "imageUrl":
        answer = client.get("/v2/edit", params={name: VALUES[value]})
    else:
        answer = client.post("/v2/edit", **form(name, value, "imageFile"))
    assert answer.status_code == (200 if taken else 400), answer.text


def test_no_parameter_is_missing(client):
    document = client.get("/openapi.json").json()
    assert {name for name, *_ in requests("Parameters")} - {"test"} == set(removebg._PROPERTIES)
    assert {name for name, *_ in requests("Of v1/segment")} == set(photoroom.SEGMENT)
    edited = {name for name, _, taken in requests("Of v2/edit") if taken}
    assert edited == set(photoroom.EDIT)
    query = document["paths"]["/api/remove"]["get"]["parameters"]
    expected = {"file", *(parameter["name"] for parameter in query)}
    assert {name for name, *_ in requests("The API")} == expected


def test_rembgs_python():
    taken = {names(cell)[0]: answer for cell, answer, *_ in rows("Python")}
    known = set(inspect.signature(rembg.remove).parameters) - {"others"}
    assert {name for name, answer in taken.items() if answer != "refused"} == known
    for name in taken.keys() - known:
        with pytest.raises(rembg.Refused, match=name):
            rembg.remove(b"", **dict.fromkeys([name]))  # type: ignore[arg-type]


def test_the_options_that_stand_for_rembgs_are_there():
    shown = {
        command: CliRunner().invoke(main, [command, "--help"]).output
        for command in ("cut", "serve")
    }
    for _, cell in rows("The command"):
        command = "serve" if "wisp serve" in cell else "cut"
        for option in re.findall(r"--[a-z-]+", cell):
            assert f"{option} " in shown[command] or f"{option}\n" in shown[command]
