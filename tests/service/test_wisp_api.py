"""Our own face."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from skimage import data

from pipeline import Cutout, Output, Settings
from tests.service.conftest import encoded, opened

URL = "/api/remove-background"


def post(client, photo, accept="image/*", files=None, **fields):
    return client.post(
        URL,
        files={"file": ("photo.jpg", photo), **(files or {})},
        data=fields,
        headers={"Accept": accept},
    )


def test_the_picture_itself_by_accept(client, photo, nets):
    answer = post(client, photo)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    got = np.asarray(opened(answer.content))
    settings = Settings(
        model=str(nets / "tiny.onnx"), refiner=str(nets / "identity.onnx"), threads=1
    )
    assert np.array_equal(got, np.asarray(Cutout(settings)(photo).image))


def test_json_with_a_url_that_holds_the_picture(client, photo):
    answer = post(client, photo, accept="*/*")
    body = answer.json()
    assert (body["status"], body["width"], body["height"]) == ("success", 512, 512)
    assert body["model"] == "tiny"
    assert body["refined"] and not body["empty"]
    assert body["seconds"]["total"] > 0
    again = client.get(body["result_url"])
    assert again.status_code == 200
    assert again.headers["content-type"] == "image/png"
    assert again.content == post(client, photo).content
    assert len(body["result_url"].split("/")[-1]) >= 32


@pytest.mark.parametrize(
    ("format", "kind", "mode"),
    [
        ("png", "PNG", "RGBA"),
        ("webp", "WEBP", "RGBA"),
        ("tiff", "TIFF", "RGBA"),
        ("jpg", "JPEG", "RGB"),
    ],
)
def test_formats(client, photo, format, kind, mode):
    picture = opened(post(client, photo, format=format).content)
    assert (picture.format, picture.mode, picture.size) == (kind, mode, (512, 512))


def test_zip_of_colour_and_alpha(client, photo):
    answer = post(client, photo, accept="application/zip", format="zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["color.jpg", "alpha.png"]
        assert opened(archive.read("color.jpg")).mode == "RGB"
        alpha = np.asarray(opened(archive.read("alpha.png")))
    rgba = np.asarray(opened(post(client, photo).content))
    assert np.array_equal(alpha, rgba[..., 3])


def test_backgrounds(client, photo):
    rgba = np.asarray(opened(post(client, photo).content)).astype(float)
    alpha = rgba[..., 3:] / 255
    red = np.asarray(opened(post(client, photo, background="#ff0000").content)).astype(float)
    expected = rgba[..., :3] * alpha + (1 - alpha) * np.array([255, 0, 0])
    assert np.abs(red - expected).max() <= 1.01
    half = np.asarray(opened(post(client, photo, background="ff000080").content))
    assert half.shape[2] == 4
    assert half[..., 3].min() >= 127
    blur = opened(post(client, photo, background="blur").content)
    assert blur.mode == "RGB"
    picture = encoded(np.full((40, 90, 3), (0, 0, 255), np.uint8), "PNG")
    files = {"background_file": ("bg.png", picture)}
    blue = np.asarray(opened(post(client, photo, files=files).content)).astype(float)
    expected = rgba[..., :3] * alpha + (1 - alpha) * np.array([0, 0, 255])
    assert np.abs(blue - expected).max() <= 1.01


def test_mask_crop_and_no_refinement(client, serve, nets):
    scene = np.zeros((200, 300, 3), np.uint8)
    scene[60:140, 100:220] = 255
    file = encoded(scene, "PNG")
    service = serve(model=str(_sharp(nets)))
    mask = opened(post(service, file, only_mask="true").content)
    assert mask.mode == "L"
    tight = opened(post(service, file, crop="true").content)
    roomy = opened(post(service, file, crop="true", margin="10px").content)
    assert tight.size[0] < 160 and tight.size[1] < 120
    assert (roomy.size[0] - tight.size[0], roomy.size[1] - tight.size[1]) == (20, 20)
    plain = post(service, file, accept="application/json", enable_gan="false").json()
    assert plain["refined"] is False


def _sharp(nets):
    from tests import networks

    return networks.stage1(nets / "sharp.onnx", gain=20.0, offset=0.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"background": "no-colour"},
        {"background": "red", "only_mask": "true"},
        {"crop": "true", "margin": "wide"},
        {"margin": "5%"},
        {"model": "../../etc/passwd"},
        {"model": "unknown"},
    ],
)
def test_what_cannot_be_is_400_with_a_reason(client, photo, fields):
    answer = post(client, photo, **fields)
    assert answer.status_code == 400
    assert answer.json()["detail"]
    assert answer.json()["code"]


@pytest.mark.parametrize("fields", [{"format": "bmp"}, {"quality": "0"}, {"crop": "perhaps"}])
def test_what_is_not_of_its_kind_is_422_and_repeats_no_input(client, photo, fields):
    answer = post(client, photo, **fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")
    ((name, value),) = fields.items()
    told = answer.json()["detail"]
    assert told.startswith(f"{name}: input should be") and value not in told.split()


def test_a_file_that_is_missing_or_none_is_told_by_its_field(client):
    answer = client.post(URL, data={"file": "hello"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "file must be a file")
    answer = client.post("/api/matting")
    assert (answer.status_code, answer.json()["detail"]) == (422, "image is missing")


def test_matting_gives_the_cutout(client, photo):
    answer = client.post("/api/matting", files={"image": ("photo.jpg", photo)})
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == post(client, photo).content


def test_models(client):
    listed = client.get("/api/models").json()
    assert {"name": "tiny", "default": True, "loaded": True} in listed
    assert [model["name"] for model in listed if model["default"]] == ["tiny"]


def test_results_are_unguessable_and_expire(serve, photo):
    service = serve(result_hours=0)
    body = post(service, photo, accept="*/*").json()
    assert service.get(body["result_url"]).status_code == 404
    assert service.get("/results/" + "a" * 32).status_code == 404
    for name in ("..%2f..%2fetc%2fpasswd", "short", "a" * 32 + ".png%00"):
        answer = service.get(f"/results/{name}")
        assert answer.status_code == 404 and isinstance(answer.json()["detail"], str)


def test_metadata_and_every_answer_has_an_id(client):
    file = encoded(data.coffee(), dpi=(300, 300))
    answer = post(client, file)
    assert round(opened(answer.content).info["dpi"][0]) == 300
    assert len(answer.headers["x-request-id"]) == 32
    named = client.get("/healthz", headers={"X-Request-ID": "mine-1"})
    assert named.headers["x-request-id"] == "mine-1"
    odd = client.get("/healthz", headers={"X-Request-ID": "no spaces, please"})
    assert odd.headers["x-request-id"] != "no spaces, please"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_room_for_results_is_507_and_costs_no_picture(serve, photo):
    service = serve(history_bytes=10)
    answer = post(service, photo, accept="*/*")
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert post(service, photo).status_code == 200


def test_an_empty_scene_says_so(serve, nets, photo):
    service = serve(model=str(nets / "nothing.onnx"))
    body = post(service, photo, accept="*/*").json()
    assert body["empty"] is True and body["notes"] == ["no subject found"]
    nothing = {"mask": encoded(np.zeros((64, 64), np.uint8), "PNG")}  # of a mask one is sure
    for files in ({}, nothing):
        answer = post(service, photo, accept="*/*", files=files)
        assert answer.json()["confidence"] == 0 and answer.json()["empty"]
        assert answer.headers["x-wisp-confidence"] == "0.000"


def test_health_and_metrics(client, photo):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["status"] == "ok"
    post(client, photo)
    text = client.get("/metrics").text
    assert 'wisp_requests_total{method="POST",route="/api/remove-background",status="200"}' in text
    assert "wisp_stage_seconds_bucket" in text
    assert "wisp_resident_bytes" in text


def test_every_field_of_an_output_is_a_parameter(client):
    schema = client.get("/openapi.json").json()["components"]["schemas"]
    (form,) = (s for name, s in schema.items() if "remove_background" in name)
    fields = {field.name for field in dataclasses.fields(Output)}
    assert fields <= set(form["properties"])


def test_a_size_lays_the_subject_out(client, photo):
    picture = opened(post(client, photo, size="300x200", background="white", format="jpg").content)
    assert picture.size == (300, 200)
    for wrong in ("large", "0x0", "9000x9000"):  # the last: more than a photo may have
        answer = post(client, photo, size=wrong)
        assert answer.status_code == 400 and "size" in answer.json()["detail"]


def test_a_background_is_never_taken_for_a_path(client, photo, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(photo)
    for name in (str(tmp_path / "secret.jpg"), "/dev/null", "README.md"):
        answer = post(client, photo, background=name)
        assert answer.status_code == 400 and "no colour" in answer.text


def test_what_to_cut_may_be_said(client, photo):
    box = np.asarray(opened(post(client, photo, box="0.5,0,1,1").content))
    assert box[..., 3].max() > 0 and box[:, :256, 3].max() == 0
    mask = encoded(np.full((64, 64), 255, np.uint8), "PNG")
    masked = post(client, photo, files={"mask": ("mask.png", mask)})
    assert masked.headers["x-wisp-confidence"] == "1.000"
    assert np.asarray(opened(masked.content))[..., 3].min() == 255


@pytest.mark.parametrize(
    "fields",
    [
        {"box": "1,2,3"},
        {"points": "a,b"},
        {"keep": "some"},
        {"keep": "each"},
        {"box": "0,0,9999,1"},
        {"box": "0.5,0.5,1.5,1.5"},
        {"box": "0,0,2,2"},
        {"points": "1.2,0.5"},
        {"box": "0.5,0,1,1", "points": "0.2,0.5"},
        {"box": "0.5,0,1,1", "points": "9,9"},
        {"points": "0.2,0.5", "not_points": "0.2,0.5"},
    ],
)
def test_what_to_cut_must_make_sense(client, photo, fields):
    answer = post(client, photo, **fields)
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_parameter"


def test_a_coarse_mask_is_not_asked_for_with_one(client, photo):
    mask = {"file": photo, "mask": encoded(np.full((64, 64), 255, np.uint8), "PNG")}
    assert client.post("/api/coarse", files=mask).status_code == 400


@pytest.mark.parametrize("path", [URL, "/api/coarse"])
@pytest.mark.parametrize("field", ["points", "not_points"])
def test_points_are_as_many_as_the_page_has_and_no_more(client, photo, path, field):
    for count, status in ((20, 200), (21, 400)):
        answer = client.post(path, files={"file": photo}, data={field: "0.5,0.5 " * count})
        assert answer.status_code == status, answer.text
    assert "at most 20 points" in answer.json()["detail"]


def test_a_brush_changes_its_surroundings_and_runs_no_network_again(client, photo, monkeypatch):
    engine = client.app.state.wisp.engine
    plain = post(client, photo)
    assert engine.mattes.used == 0  # who draws nothing takes no room
    assert post(client, photo, strokes="[]").content == plain.content
    monkeypatch.setattr(engine, "_seen", None)  # whoever asks for it fails
    stroke = {"points": [[0.5, 0.1], [0.6, 0.1]], "width": 0.1, "restore": True, "exact": True}
    drawn = post(client, photo, strokes=json.dumps([stroke]))
    before, after = (np.asarray(opened(answer.content)) for answer in (plain, drawn))
    height, width = after.shape[:2]
    assert after[round(0.1 * height), round(0.55 * width), 3] == 255
    assert np.array_equal(before[height // 2 :], after[height // 2 :])
    assert not np.array_equal(before, after)
    wrong = post(client, photo, strokes='[{"points": []}]')
    assert wrong.status_code == 400 and "strokes is a JSON list" in wrong.json()["detail"]


def test_a_mask_of_another_photo_is_refused(client, photo):
    mask = encoded(np.full((40, 90), 255, np.uint8), "PNG")
    answer = post(client, photo, files={"mask": ("mask.png", mask)})
    assert answer.status_code == 400 and "proportions" in answer.json()["detail"]


def test_the_coarse_mask_alone(client, photo, nets):
    answer = client.post("/api/coarse", files={"file": ("photo.jpg", photo)})
    assert answer.status_code == 200
    settings = Settings(model=str(nets / "tiny.onnx"), refine=False, threads=1)
    result = Cutout(settings)(photo)
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(answer.content))), np.rint(result.coarse * 255)
    )
    assert float(answer.headers["x-wisp-confidence"]) == pytest.approx(result.confidence, abs=1e-3)


@pytest.mark.parametrize(
    ("path", "field"), [(URL, "file"), ("/api/coarse", "file"), ("/api/matting", "image")]
)
def test_no_wish_is_passed_over(client, photo, path, field):
    misspelt = client.post(path, files={field: photo}, data={"modle": "x", "bok": "1"})
    assert misspelt.status_code == 400 and "Unknown parameter 'bok'" in misspelt.json()["detail"]
    queried = client.post(f"{path}?{field}=a.jpg&utm_source=b", files={field: photo})
    assert queried.status_code == 400 and f"'{field}' is in the query" in queried.json()["detail"]
    assert client.post(f"{path}?utm_source=b", files={field: photo}).status_code == 200
    twice = client.post(path, files=[(field, photo), (field, photo)])
    assert twice.status_code == 400 and f"'{field}' is given 2 times" in twice.json()["detail"]


@pytest.mark.parametrize("field", ["background", "margin", "model", "size", "xy" * 3000])
def test_a_very_long_value_is_not_repeated_whole(client, photo, field):
    answer = post(client, photo, crop="true", **{field: "xy" * 3000})
    assert answer.status_code == 400 and len(answer.json()["detail"]) < 500


def test_a_misspelt_field_is_told_its_name(client, photo):
    answer = post(client, photo, modle="wisp").json()
    assert answer["detail"] == "Unknown parameter 'modle': did you mean 'model'?"
    assert answer["code"] == "unsupported_parameter"
