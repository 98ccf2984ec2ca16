"""remove.bg's face: requests as its documentation and its official clients make them."""

import base64
import io
import zipfile

import httpx
import numpy as np
import pytest

from tests import networks
from tests.service.conftest import encoded, opened, streamed

URL = "/v1.0/removebg"


@pytest.fixture(scope="module")
def scene() -> bytes:
    """A white box on black: left 100, top 60, 120×80, in 300×200."""
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[60:140, 100:220] = 255
    return encoded(pixels, "PNG")


@pytest.fixture
def service(serve, nets):
    return serve(model=str(networks.stage1(nets / "box.onnx", gain=40.0, offset=-5.0)))


def post(client, file, headers=None, **fields):
    return client.post(
        URL, files={"image_file": ("a.png", file)}, data=fields, headers=headers or {}
    )


def code(answer) -> str:
    assert answer.headers["content-type"] == "application/json"
    (error,) = answer.json()["errors"]
    assert error["title"]
    return error["code"]


def test_as_the_documentation_has_it(service, scene):
    answer = post(service, scene, {"X-Api-Key": "any"}, size="auto")
    assert answer.status_code == 200
    assert opened(answer.content).size == (300, 200)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-type"] == "other"
    assert (answer.headers["x-width"], answer.headers["x-height"]) == ("300", "200")
    assert float(answer.headers["x-credits-charged"]) == 0


def test_json(service, scene):
    answer = post(service, scene, {"Accept": "application/json"}, size="full")
    told = answer.json()["data"]
    alpha = np.asarray(opened(base64.b64decode(told["result_b64"])))[..., 3]
    rows, columns = np.nonzero(alpha >= 13)
    assert abs(told["foreground_left"] - columns.min()) <= 1
    assert abs(told["foreground_top"] - rows.min()) <= 1
    assert abs(told["foreground_width"] - np.ptp(columns) - 1) <= 2


def test_base64_in_a_form_and_in_json(service, scene):
    text = base64.b64encode(scene).decode()
    form = service.post(URL, data={"image_file_b64": text, "format": "png"})
    body = service.post(URL, json={"image_file_b64": text, "format": "png", "crop": False})
    assert form.status_code == body.status_code == 200
    assert form.content == body.content == post(service, scene, format="png").content


def test_image_url(serve, nets, scene):
    async def resolve(host, port):
        return ["93.184.216.34"]

    site = httpx.MockTransport(lambda request: streamed(scene))
    service = serve({"resolve": resolve, "transport": site})
    answer = service.post(URL, data={"image_url": "https://example.com/a.png", "size": "auto"})
    assert answer.status_code == 200
    inside = service.post(URL, data={"image_url": "http://169.254.169.254/latest/meta-data"})
    assert inside.status_code == 400
    assert code(inside) == "invalid_image_url"


def test_zip_for_the_composite_of_the_official_clients(service, scene):
    answer = post(service, scene, format="zip", size="full")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert set(archive.namelist()) == {"color.jpg", "alpha.png"}


@pytest.mark.parametrize(
    ("size", "pixels"), [("preview", 250_000), ("small", 250_000), ("medium", 1_500_000)]
)
def test_sizes(service, size, pixels):
    large = encoded(np.kron(np.eye(2, dtype=np.uint8), np.full((700, 1000), 255, np.uint8)), "PNG")
    picture = opened(post(service, large, size=size).content)
    assert pixels * 0.99 < picture.size[0] * picture.size[1] <= pixels
    assert opened(post(service, large, size="full").content).size == (2000, 1400)


def test_format_auto_is_png_with_transparency_and_jpg_without(service, scene):
    assert opened(post(service, scene).content).format == "PNG"
    assert opened(post(service, scene, bg_color="81d4fa").content).format == "JPEG"
    assert opened(post(service, scene, bg_color="81d4fa77").content).format == "PNG"


def test_channels_alpha(service, scene):
    assert opened(post(service, scene, channels="alpha", format="png").content).mode == "L"


def test_background_image_file(service, scene):
    blue = encoded(np.full((10, 10, 3), (0, 0, 255), np.uint8), "PNG")
    answer = service.post(
        URL,
        files={"image_file": ("a.png", scene), "bg_image_file": ("b.png", blue)},
        data={"format": "png"},
    )
    assert np.asarray(opened(answer.content))[5, 5].tolist() == [0, 0, 255]


def test_crop_with_one_two_and_four_margins(service, scene):
    def size(**fields):
        return opened(post(service, scene, crop="true", size="full", **fields).content).size

    width, height = size()
    assert size(crop_margin="10px") == (width + 20, height + 20)
    assert size(crop_margin="10px 5px") == (width + 10, height + 20)
    assert size(crop_margin="1px 2px 3px 4px") == (width + 6, height + 4)
    assert size(crop_margin="10%")[0] == width + 2 * round(width * 0.1)


def test_scale_and_position(service, scene):
    def box(**fields):
        answer = post(service, scene, {"Accept": "application/json"}, size="full", **fields)
        told = answer.json()["data"]
        return [told[f"foreground_{side}"] for side in ("left", "top", "width", "height")]

    left, top, width, height = box(scale="50%")
    assert max(width / 300, height / 200) == pytest.approx(0.5, abs=0.03)
    assert left + width / 2 == pytest.approx(150, abs=3)
    assert top + height / 2 == pytest.approx(100, abs=3)
    assert box(position="0% 100%")[0] <= 2
    corner = box(scale="30%", position="100% 0%")
    assert corner[0] + corner[2] >= 298 and corner[1] <= 2


def test_roi_keeps_the_rest_out(service, scene):
    answer = post(service, scene, size="full", format="png", roi="0px 0px 50% 100%")
    alpha = np.asarray(opened(answer.content))[..., 3]
    assert alpha[:, 150:].max() == 0
    assert alpha[100, 120] > 200


def test_roi_in_pixels_is_of_the_photo_as_it_was_sent(service):
    pixels = np.zeros((900, 1200, 3), np.uint8)
    pixels[300:600, 200:1000] = 255
    answer = post(service, encoded(pixels, "PNG"), format="png", roi="600px 0px 1200px 900px")
    alpha = np.asarray(opened(answer.content))[..., 3]
    rows, columns = alpha.shape
    assert rows * columns <= 250_000  # the preview
    assert alpha[:, : columns // 2 - 1].max() == 0
    assert alpha[rows // 2, int(columns * 0.6)] > 200


def test_semitransparency_off_makes_the_inside_opaque(serve, nets):
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[40:160, 60:240] = 255
    pixels[80:120, 120:180] = 110
    file = encoded(pixels, "PNG")
    service = serve(model=str(networks.stage1(nets / "soft.onnx", gain=3.0, offset=0.0)))
    soft = np.asarray(opened(post(service, file, size="full", format="png").content))
    hard = post(service, file, size="full", format="png", semitransparency="false")
    hard = np.asarray(opened(hard.content))
    assert 0 < soft[100, 150, 3] < 255
    assert hard[100, 150].tolist() == [110, 110, 110, 255]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"size": "huge"}, "invalid_parameter"),
        ({"format": "gif"}, "invalid_parameter"),
        ({"channels": "cmyk"}, "invalid_parameter"),
        ({"scale": "5%"}, "invalid_parameter"),
        ({"scale": "half"}, "invalid_parameter"),
        ({"position": "middle"}, "invalid_parameter"),
        ({"crop_margin": "x"}, "invalid_parameter"),
        ({"roi": "0 0 0 0"}, "roi_region_empty"),
        ({"roi": "0 0 513px 100%"}, "roi_exceeds_bounds"),
        ({"roi": "1 2 3"}, "invalid_roi"),
        ({"bg_color": "nope"}, "invalid_parameter"),
        ({"type": "ghost"}, "invalid_parameter"),
        ({"add_shadow": "true"}, "unsupported_parameter"),
        ({"shadow_type": "drop"}, "unsupported_parameter"),
        ({"croop": "true"}, "unsupported_parameter"),
        ({"image_file_b64": "aaaa"}, "multiple_sources"),
    ],
)
def test_wrong_and_not_offered_in_its_error_format(client, photo, fields, expected):
    answer = post(client, photo, **fields)
    assert answer.status_code == 400
    assert code(answer) == expected


def test_sources_missing_broken_and_empty(client, serve, nets, photo):
    assert code(client.post(URL, data={"size": "auto"})) == "missing_source"
    assert code(client.post(URL, data={"image_file_b64": "***"})) == "invalid_file"
    assert code(client.post(URL, json=[1])) == "invalid_json"
    assert code(post(client, b"no picture")) == "invalid_image"
    empty = serve(model=str(nets / "nothing.onnx"))
    assert code(post(empty, photo)) == "unknown_foreground"


def test_account(client):
    told = client.get("/v1.0/account").json()["data"]["attributes"]
    # What remove-bg/ruby builds its AccountInfo from: exactly these keys.
    assert set(told["credits"]) == {"total", "subscription", "payg", "enterprise"}
    assert set(told["api"]) == {"free_calls", "sizes"}


def test_keys_and_rates_in_its_words(serve, photo):
    service = serve(api_keys=("secret",), rate="2/minute")
    assert code(service.get("/v1.0/account")) == "auth_failed"
    wrong = post(service, photo, {"X-Api-Key": "wrong"})
    assert wrong.status_code == 403
    right = {"X-Api-Key": "secret"}
    first = service.get("/v1.0/account", headers=right)
    assert first.status_code == 200
    assert first.headers["x-ratelimit-limit"] == "2"
    assert first.headers["x-ratelimit-remaining"] == "1"
    assert post(service, photo, right).status_code == 200
    third = post(service, photo, right)
    assert third.status_code == 429
    assert code(third) == "rate_limit_exceeded"
    assert int(third.headers["retry-after"]) > 0
    assert int(third.headers["x-ratelimit-reset"]) > 1e9
