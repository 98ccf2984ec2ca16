"""rembg's face: requests as a client written for ``rembg s`` makes them."""

import base64

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.conftest import opened, streamed


def test_post_as_rembgs_readme_has_it(client, photo):
    answer = client.post("/api/remove", files={"file": photo})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert opened(answer.content).mode == "RGBA"


def test_json_for_pages_that_were_written_around_it(client, photo):
    plain = client.post("/api/remove", files={"file": photo})
    answer = client.post(
        "/api/remove", files={"file": photo}, headers={"Accept": "application/json"}
    )
    assert set(answer.json()) == {"image"}
    assert base64.b64decode(answer.json()["image"]) == plain.content
    assert answer.headers["x-wisp-model"] == plain.headers["x-wisp-model"]


@pytest.mark.parametrize("model", ["u2net", "isnet-general-use", "bria-rmbg"])
def test_rembgs_model_names_are_answered_and_said(client, photo, model):
    fields = {"model": model, "a": "true", "af": "240", "ab": "10", "ae": "10"}
    answer = client.post("/api/remove", files={"file": photo}, data=fields)
    assert answer.status_code == 200
    assert answer.headers["x-wisp-model"] == "tiny"


def test_mask_and_post_processed_mask(client, photo):
    mask = opened(client.post("/api/remove", files={"file": photo}, data={"om": "true"}).content)
    assert mask.mode == "L"
    hard = client.post("/api/remove", files={"file": photo}, data={"om": "true", "ppm": "true"})
    levels = np.unique(np.asarray(opened(hard.content)))
    assert set(levels) <= {0, 255}


def test_post_processed_mask_equals_rembgs(client, photo):
    bg = pytest.importorskip("rembg.bg", reason="rembg is not installed")
    mask = np.asarray(
        opened(client.post("/api/remove", files={"file": photo}, data={"om": "true"}).content)
    )
    hard = client.post("/api/remove", files={"file": photo}, data={"om": "true", "ppm": "true"})
    same = np.asarray(opened(hard.content)) == bg.post_process(mask)
    assert same.mean() > 0.9999


def test_background_colour_in_the_query_as_rembg_has_it(client, photo):
    plain = opened(client.post("/api/remove", files={"file": photo}).content)
    answer = client.post("/api/remove?bgc=0,0,255,128", files={"file": photo})
    expected = Image.alpha_composite(Image.new("RGBA", plain.size, (0, 0, 255, 128)), plain)
    assert np.array_equal(np.asarray(opened(answer.content)), np.asarray(expected))


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("", {"model": "no-such-model"}),
        ("", {"af": "256"}),
        ("", {"ae": "-1"}),
        ("?bgc=1,2,3", {}),
        ("?bgc=red", {}),
        ("?bgc=1,2,3,999", {}),
    ],
)
def test_wrong_parameters_are_422_with_a_detail(client, photo, query, fields):
    answer = client.post(f"/api/remove{query}", files={"file": photo}, data=fields)
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_a_broken_picture_is_400_with_a_detail(client):
    answer = client.post("/api/remove", files={"file": b"no picture"})
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


def test_get_by_url(serve, photo):
    seen = []

    def site(request):
        seen.append(request)
        return streamed(photo)

    async def resolve(host, port):
        return ["93.184.216.34"]

    service = serve({"resolve": resolve, "transport": httpx.MockTransport(site)})
    answer = service.get("/api/remove", params={"url": "https://example.com/a.jpg", "om": "true"})
    assert answer.status_code == 200
    assert opened(answer.content).mode == "L"
    assert seen[0].url.host == "93.184.216.34"
    refused = service.get("/api/remove", params={"url": "http://127.0.0.1:22/"})
    assert refused.status_code == 400
    assert "public address" in refused.json()["detail"]
    assert service.get("/api/remove").status_code == 422


def test_urls_are_off_for_strangers(serve):
    answer = serve(public=True).get("/api/remove", params={"url": "https://example.com/a.jpg"})
    assert answer.status_code == 400
    assert "no URLs" in answer.json()["detail"]
