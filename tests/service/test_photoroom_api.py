"""PhotoRoom's face: requests as its OpenAPI document has them."""

import base64

import numpy as np
import pytest

from tests.service.conftest import encoded, opened

SEGMENT, EDIT = "/v1/segment", "/v2/edit"


def segment(client, file, headers=None, **fields):
    files = {"image_file": ("a.png", file)}
    return client.post(SEGMENT, files=files, data=fields, headers=headers or {})


def edit(client, file, **fields):
    return client.post(EDIT, files={"imageFile": ("a.png", file)}, data=fields)


def pixels(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(opened(answer.content))


def test_segment_as_the_documentation_has_it(service, scene):
    answer = segment(service, scene, {"x-api-key": "any"})
    assert answer.headers["content-type"] == "image/png"
    assert pixels(answer).shape == (200, 300, 4)
    assert 0 <= float(answer.headers["x-uncertainty-score"]) <= 1
    body = segment(service, scene, {"Accept": "application/json"}).json()
    assert base64.b64decode(body["base64img"]) == answer.content


def test_what_a_segment_looks_like(service, scene):
    assert pixels(segment(service, scene, channels="alpha")).ndim == 2
    assert pixels(segment(service, scene, crop="true")).shape[:2] != (200, 300)
    assert pixels(segment(service, scene, bg_color="#0000ff"))[4, 4].tolist() == [0, 0, 255]
    assert opened(segment(service, scene, format="jpg").content).format == "JPEG"
    large = encoded(np.full((900, 900, 3), 255, np.uint8), "PNG")
    assert pixels(segment(service, large, size="preview")).shape[:2] == (500, 500)
    assert pixels(segment(service, large)).shape[:2] == (900, 900)


def test_edit_crops_with_padding_and_puts_a_background(service, scene):
    bare = pixels(edit(service, scene, outputSize="croppedSubject"))
    height, width = bare.shape[:2]
    padded = edit(service, scene, outputSize="croppedSubject", padding="0.1", paddingTop="5px ")
    assert pixels(padded).shape[:2] == (
        height + 5 + round(height * 0.1),
        width + 2 * round(width * 0.1),
    )
    blue = edit(service, scene, **{"background.color": "0000FF", "export.format": "jpeg"})
    assert opened(blue.content).format == "JPEG"
    assert np.abs(pixels(blue)[4, 4].astype(int) - (0, 0, 255)).max() < 4


def test_edit_lays_the_subject_out_on_a_size(service, scene):
    answer = edit(service, scene, outputSize="400x300", padding="0.1", margin="0.05")
    alpha = pixels(answer)[..., 3]
    assert alpha.shape == (300, 400)
    rows, columns = np.nonzero(alpha > 128)
    assert columns.max() - columns.min() + 1 == pytest.approx(280, abs=4)  # 400 without 2 × 15 %
    assert (columns.max() + columns.min()) / 2 == pytest.approx(200, abs=2)
    assert (rows.max() + rows.min()) / 2 == pytest.approx(150, abs=2)
    places = {"marginBottom": "20px", "verticalAlignment": "bottom"}
    low = edit(service, scene, outputSize="400x300", **places)
    rows = np.flatnonzero((pixels(low)[..., 3] > 128).any(1))
    assert rows.max() == pytest.approx(279, abs=2)


def test_edit_aligns_and_casts_a_shadow(service, scene):
    alpha = pixels(edit(service, scene, horizontalAlignment="left", verticalAlignment="bottom"))[
        ..., 3
    ]
    rows, columns = np.nonzero(alpha > 128)
    assert columns.min() <= 2 and rows.max() >= 197
    foot = np.s_[142, 130:190, 3]
    soft, hard, dark = (
        pixels(edit(service, scene, **fields))[foot].astype(int).mean()
        for fields in (
            {"shadow.mode": "ai.soft"},
            {"shadow.mode": "ai.hard"},
            {"shadow.mode": "ai.auto-with-overrides", "shadow.intensityOverride": "1"},
        )
    )
    assert 20 < soft < hard < dark


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"removeBackground": "false"}, "removeBackground"),
        ({"background.prompt": "a beach"}, "background.prompt"),
        ({"outputSize": "large"}, "outputSize"),
        ({"outputSize": "20000x20000"}, "outputSize"),
        ({"shadow.mode": "soft"}, "given: use ai.soft, "),
        ({"outputSize": "9000x9000"}, "25000000 pixels"),
        ({"outputSize": "200x400", "padding": "10%", "margin": "5px"}, "both in pixels"),
        ({"outputSize": "200x400", "padding": "0.49", "margin": "0.1"}, "leaves no room"),
        ({"padding": "0.1"}, "outputSize=croppedSubject"),
        ({"marginTop": "5px"}, "outputSize=croppedSubject"),
        ({"padding": "wide", "outputSize": "croppedSubject"}, "padding"),
        ({"padding": "5px 5px", "outputSize": "croppedSubject"}, "one value"),
        ({"outputSize": "croppedSubject", "verticalAlignment": "top"}, "no room"),
        ({"imageUrl": "https://example.com/a.png"}, "imageFile"),
        ({"background.color": "red", "background.imageUrl": "https://a.b/c"}, "imageUrl"),
    ],
)
def test_an_edit_that_is_refused_in_its_error_format(client, photo, fields, message):
    answer = edit(client, photo, **fields)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"size": "4k"}, "invalid_size"),
        ({"channels": "alpha", "bg_color": "red"}, "invalid_channels"),
        ({"bg_color": "nope"}, "invalid_bg_color"),
        ({"croop": "true"}, "unsupported_parameter"),
    ],
)
def test_a_segment_that_is_refused_in_its_error_format(client, photo, fields, kind):
    body = segment(client, photo, **fields).json()
    assert body["detail"]
    assert (body["status_code"], body["type"]) == (400, kind)


def test_no_picture_and_no_subject(client, serve, nets, photo):
    assert client.post(SEGMENT, data={"size": "full"}).json()["type"] == "missing_image"
    assert "imageUrl" in client.get(EDIT).json()["error"]["message"]
    empty = serve(model=str(nets / "nothing.onnx"))
    assert segment(empty, photo).json()["type"] == "unknown_foreground"


def test_accounts_keys_and_rates(serve, photo):
    service = serve(api_keys=("secret",), rate="2/minute")
    assert segment(service, photo).status_code == 403
    right = {"x-api-key": "secret"}
    assert service.get("/v1/account", headers=right).json()["credits"]["available"] > 0
    assert service.get("/v2/account", headers=right).json()["images"]["available"] > 0
    assert segment(service, photo, right).status_code == 429
