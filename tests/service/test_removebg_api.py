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
    data = answer.json()["data"]
    alpha = np.asarray(opened(base64.b64decode(data["result_b64"])))[..., 3]
    rows, columns = np.nonzero(alpha >= 13)
    assert abs(data["foreground_left"] - columns.min()) <= 1
    assert abs(data["foreground_top"] - rows.min()) <= 1
    assert abs(data["foreground_width"] - np.ptp(columns) - 1) <= 2


AXIOS = "application/json, text/plain, */*"
N8N = "application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (AXIOS, "image/png"),
        (f"{N8N}, image/*;q=0.8, */*;q=0.7", "image/png"),
        (f"{N8N}, */*;q=0.1", "application/json"),
        ("application/json,text/*;q=0.99", "application/json"),
        ("application/json, image/*;q=0", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("image/*, application/json", "image/png"),
        ("*/*", "image/png"),
        ("application/json;q=nonsense, */*;q=", "image/png"),
        (",;,", "image/png"),
    ],
)
def test_json_is_for_those_that_cannot_take_a_picture(service, scene, accept, kind):
    answer = post(service, scene, {"Accept": accept}, size="preview")
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


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
        data = answer.json()["data"]
        return [data[f"foreground_{side}"] for side in ("left", "top", "width", "height")]

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
        ({"size": "huge"}, "invalid_size"),
        ({"format": "gif"}, "invalid_format"),
        ({"channels": "cmyk"}, "invalid_channels"),
        ({"channels": "alpha", "bg_color": "red"}, "invalid_channels"),
        ({"channels": "alpha", "add_shadow": "true"}, "invalid_channels"),
        ({"scale": "5%"}, "invalid_scale"),
        ({"scale": "half"}, "invalid_scale"),
        ({"position": "middle"}, "invalid_position"),
        ({"crop_margin": "x"}, "invalid_crop_margin"),
        ({"crop_margin": "1px 2px 3px"}, "invalid_crop_margin"),
        ({"roi": "0 0 0 0"}, "roi_region_empty"),
        ({"roi": "0 0 513px 100%"}, "roi_exceeds_bounds"),
        ({"roi": "1 2 3"}, "invalid_roi"),
        ({"bg_color": "nope"}, "invalid_bg_color"),
        ({"bg_color": "red", "bg_image_url": "https://a.b/c"}, "multiple_bg_sources"),
        ({"bg_image_url": "file:///etc/passwd"}, "invalid_bg_image_url"),
        ({"semitransparency": "maybe"}, "invalid_semitransparency"),
        ({"type": "ghost"}, "invalid_type"),
        ({"type_level": "3"}, "invalid_type_level"),
        ({"shadow_type": "long"}, "invalid_shadow_type"),
        ({"shadow_opacity": "101"}, "invalid_shadow_opacity"),
        ({"shadow_opacity": "nan"}, "invalid_shadow_opacity"),
        ({"shadow_opacity": "dark"}, "invalid_shadow_opacity"),
        ({"croop": "true"}, "unsupported_parameter"),
        ({"image_file_b64": "aaaa"}, "multiple_sources"),
    ],
)
def test_wrong_parameters_in_its_error_format(client, photo, fields, expected):
    answer = post(client, photo, **fields)
    assert answer.status_code == 400
    assert code(answer) == expected


def test_no_wish_is_passed_over(client, photo):
    twice = client.post(URL, files=[("image_file", photo), ("image_file", photo)])
    assert twice.status_code == 400 and "given 2 times" in twice.json()["errors"][0]["title"]
    for body in ({"files": {"image_file": photo}}, {"json": {"image_url": "https://a.b/c"}}):
        assert "in the query" not in client.post(f"{URL}?utm_source=mail", **body).text
        queried = client.post(f"{URL}?size=full", **body)
        assert queried.status_code == 400 and "in the query" in queried.json()["errors"][0]["title"]


def test_shadow(service, scene):
    def alpha(**fields):
        answer = post(service, scene, format="png", size="full", **fields)
        return np.asarray(opened(answer.content))[..., 3].astype(int)

    plain, dark = alpha(shadow_type="none"), alpha(add_shadow="true")
    faint = alpha(add_shadow="true", shadow_opacity="40")
    foot = np.s_[141:144, 130:190]
    assert plain[foot].max() < 3
    assert 30 < faint[foot].mean() < dark[foot].mean() < 255
    for kind in ("auto", "car", "3D", "drop"):
        assert np.array_equal(alpha(shadow_type=kind), dark)
    assert np.array_equal(alpha(shadow_opacity="40"), plain)


def test_shadow_in_the_zip_of_the_official_clients(service, scene):
    answer = post(service, scene, format="zip", size="full", add_shadow="true")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert np.asarray(opened(archive.read("alpha.png")))[142, 160] > 50


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "other"),
        ({"type": "auto", "type_level": "2"}, "other"),
        ({"type": "car", "type_level": "latest"}, "car"),
        ({"type": "car", "type_level": "none"}, None),
    ],
)
def test_the_type_is_the_clients_own(service, scene, fields, expected):
    assert post(service, scene, **fields).headers.get("x-type") == expected


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream"])
def test_the_picture_as_the_whole_body(service, scene, kind):
    def raw(body, **query):
        return service.post(URL, content=body, params=query, headers={"Content-Type": kind})

    answer = raw(scene, size="full", bg_color="red", format="png")
    expected = post(service, scene, size="full", bg_color="red", format="png")
    assert answer.content == expected.content
    assert code(raw(scene, croop="true")) == "unsupported_parameter"
    assert code(raw(b"")) == "failed_to_read_image"


def test_sources_missing_broken_and_empty(client, serve, nets, photo):
    assert code(client.post(URL, data={"size": "auto"})) == "missing_source"
    assert code(client.post(URL, data={"image_file_b64": "***"})) == "failed_to_read_image"
    assert code(client.post(URL, json=[1])) == "invalid_json"
    assert code(post(client, b"no picture")) == "failed_to_read_image"
    assert code(client.post(URL, data={"image_file": "a.jpg"})) == "failed_to_read_image"
    empty = serve(model=str(nets / "nothing.onnx"))
    assert code(post(empty, photo)) == "unknown_foreground"


def test_what_is_too_large_is_400_as_there(serve, photo):
    long = post(serve(max_bytes=1000), photo)
    wide = post(serve(max_pixels=1000), photo)
    assert long.status_code == wide.status_code == 400
    assert (code(long), code(wide)) == ("file_too_large", "resolution_too_high")


def test_account(client):
    account = client.get("/v1.0/account").json()["data"]["attributes"]
    # What remove-bg/ruby builds its AccountInfo from: exactly these keys.
    assert set(account["credits"]) == {"total", "subscription", "payg", "enterprise"}
    assert set(account["api"]) == {"free_calls", "sizes"}


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
