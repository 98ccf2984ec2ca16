"""Hostile uploads, keys and rates: one clear answer each, and the service lives on."""

import base64
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from skimage import data

from service.settings import ServiceSettings, SettingsError, strangers
from tests.service.conftest import encoded
from tests.service.test_wisp_api import post

FACES = [
    ("/api/remove-background", "file"),
    ("/api/matting", "image"),
    ("/api/remove", "file"),
    ("/v1.0/removebg", "image_file"),
]


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels, and whose data is next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "html": b"<html><body>not found</body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "pdf": b"%PDF-1.7",
    "picture bomb": png_of(60_000, 60_000),
    "no pixels": png_of(0, 0),
    "zip": b"PK\x03\x04" + bytes(100),
    "truncated": encoded(data.coffee())[:3000],
    "header only": encoded(data.coffee(), "PNG")[:33],
    "nul": bytes(1000),
}


@pytest.mark.parametrize(("path", "field"), FACES)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_get_one_clear_4xx(client, path, field, name):
    answer = client.post(path, files={field: ("../../evil\x00.jpg", HOSTILE[name])})
    assert 400 <= answer.status_code < 500
    body = answer.json()
    assert body.get("detail") or body["errors"][0]["title"]
    assert "Traceback" not in answer.text
    assert client.get("/healthz").status_code == 200


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damaged_pictures_never_are_a_fault(client, draw):
    whole = bytearray(SMALL[draw.draw(st.sampled_from(sorted(SMALL)))])
    for _ in range(draw.draw(st.integers(1, 6))):
        whole[draw.draw(st.integers(0, len(whole) - 1))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(1, len(whole)))
    answer = client.post("/api/matting", files={"image": bytes(whole[:cut])})
    assert answer.status_code in (200, 400, 413)


_tiny = np.asarray(data.astronaut()[::8, ::8])
SMALL = {kind: encoded(_tiny, kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")}


@pytest.mark.parametrize(("path", "field"), FACES)
def test_a_body_beyond_the_limit_is_refused_before_it_is_read(serve, path, field):
    service = serve(max_bytes=1000)
    status = 400 if path.startswith("/v1.0/") else 413  # remove.bg's own
    large = bytes(2_600_000)
    assert service.post(path, files={field: large}).status_code == status
    assert service.post(path, files={field: bytes(1500)}).status_code == status

    def chunks():  # without a length
        head = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n'
        yield head % field.encode()
        for _ in range(30):
            yield bytes(100_000)

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = service.post(path, content=chunks(), headers=kind)
    assert answer.status_code == status, answer.text


def test_base64_beyond_the_limit(serve):
    service = serve(max_bytes=1000)
    text = base64.b64encode(bytes(1500)).decode()
    answer = service.post("/v1.0/removebg", data={"image_file_b64": text})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "file_too_large"


def test_too_many_pixels(serve, photo):
    answer = post(serve(max_pixels=1000), photo)
    assert answer.status_code == 413
    assert answer.json()["code"] == "image_too_large"


@pytest.mark.parametrize(
    "body",
    [b"", b"--", b"--b\r\n", b"\xff" * 100, b'--b\r\nContent-Disposition: form-data; name="file"'],
)
def test_broken_forms(client, body):
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    for path, _ in FACES:
        assert 400 <= client.post(path, content=body, headers=kind).status_code < 500


def test_thousands_of_fields_are_refused(client):
    for path, _ in FACES:
        answer = client.post(path, data={f"field{i}": "x" for i in range(3000)})
        assert 400 <= answer.status_code < 500


# -- keys, rates, other sites ----------------------------------------------------------------------


def test_keys(serve, photo):
    service = serve(api_keys=("one", "two"))
    assert service.get("/healthz").status_code == 200
    assert service.get("/readyz").status_code == 200
    for path in ("/api/models", "/metrics", "/docs", "/openapi.json"):
        answer = service.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
    assert post(service, photo).status_code == 401
    basic = base64.b64encode(b"anyone:two").decode()
    for headers in (
        {"X-Api-Key": "one"},
        {"Authorization": "Bearer two"},
        {"Authorization": f"Basic {basic}"},
    ):
        assert service.get("/api/models", headers=headers).status_code == 200
    for headers in (
        {"X-Api-Key": "three"},
        {"X-Api-Key": ""},
        {"Authorization": "Basic ???"},
        {"Authorization": "Bearer"},
    ):
        assert service.get("/api/models", headers=headers).status_code in (401, 403)


def test_a_result_url_needs_no_key(serve, photo):
    service = serve(api_keys=("one",))
    files = {"file": photo}
    body = service.post(FACES[0][0], files=files, headers={"X-Api-Key": "one"}).json()
    assert service.get(body["result_url"]).status_code == 200


def test_rates_are_per_key(serve, photo):
    service = serve(api_keys=("one", "two"), rate="2/minute")

    def call(key):
        files = {"file": photo}
        return service.post("/api/remove", files=files, headers={"X-Api-Key": key})

    assert [call("one").status_code for _ in range(3)] == [200, 200, 429]
    assert call("two").status_code == 200
    late = call("one")
    assert int(late.headers["retry-after"]) >= 1
    assert late.json()["code"] == "rate_limit_exceeded"


def test_other_sites_pages_are_kept_out(serve, photo):
    service = serve()
    answer = service.get("/api/models", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    forged = service.post(
        "/api/remove", files={"file": photo}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert forged.status_code == 403
    friendly = serve(cors=("https://friend.example",))
    answer = friendly.get("/api/models", headers={"Origin": "https://friend.example"})
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"
    sent = {"Origin": "https://friend.example", "Sec-Fetch-Site": "cross-site"}
    assert friendly.post("/api/remove", files={"file": photo}, headers=sent).status_code == 200
    sent["Origin"] = "https://evil.example"
    assert friendly.post("/api/remove", files={"file": photo}, headers=sent).status_code == 403


# -- settings --------------------------------------------------------------------------------------


def test_settings_from_the_environment(monkeypatch, tmp_path):
    for name, text in {
        "WISP_PORT": " 9000",
        "WISP_MAX_BYTES": "10_000_000",
        "WISP_PUBLIC": "Yes ",
        "WISP_WEB": "no",
        "WISP_API_KEYS": "a, b,",
        "WISP_FETCH": "on",
        "WISP_DATA": str(tmp_path),
        "WISP_TIMEOUT": "2.5",
        "WISP_OTHER": "ignored",
    }.items():
        monkeypatch.setenv(name, text)
    settings = ServiceSettings()
    assert (settings.port, settings.max_bytes, settings.timeout) == (9000, 10_000_000, 2.5)
    assert settings.public and not settings.web and settings.fetches
    assert settings.api_keys == ("a", "b")
    assert settings.data == tmp_path
    assert ServiceSettings(port=1).port == 1
    monkeypatch.setenv("WISP_FETCH", "")
    monkeypatch.setenv("WISP_DATA", "")
    assert ServiceSettings().data == ServiceSettings.model_fields["data"].get_default(
        call_default_factory=True
    )
    assert not ServiceSettings().fetches and ServiceSettings(public=False).fetches


def test_settings_without_an_environment():
    assert ServiceSettings().fetches


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PORT": "many"}, "WISP_PORT must be a whole number, not 'many'"),
        ({"PORT": "70000"}, "WISP_PORT must lie within 0..65535, not 70000"),
        ({"PUBLIC": "perhaps"}, "WISP_PUBLIC must be true or false, not 'perhaps'"),
        ({"TIMEOUT": "soon"}, "WISP_TIMEOUT must be a number, not 'soon'"),
        ({"CONCURRENCY": "0"}, "WISP_CONCURRENCY must be at least 1, not 0"),
        ({"CACHE": "memcached://x"}, "WISP_CACHE must be disk, off or a redis"),
        ({"RATE": "often"}, "WISP_RATE must look like 60/minute"),
        ({"RESULT_HOURS": "-1"}, "WISP_RESULT_HOURS must be at least 0, not -1"),
        ({"CORS": "foo"}, "WISP_CORS must be origins such as https://a.org: 'foo'"),
        ({"CORS": "*", "API_KEYS": "a"}, "WISP_CORS must name the origins"),
    ],
)
def test_settings_that_cannot_be(monkeypatch, environment, message):
    for name, text in environment.items():
        monkeypatch.setenv(f"WISP_{name}", text)
    with pytest.raises(SettingsError, match=message):
        ServiceSettings()


def test_a_misspelt_variable_is_found_with_the_one_that_was_meant():
    names = ["WISP_PUBILC", "WISP_XYZ", "WISP_HOME", "WISP_MODELS_URL", "wisp_port", "PATH"]
    names += ["WISP_SERVICE_HOST", "WISP_PORT_8000_TCP_ADDR", "WISP_PORT_8000_TCP"]
    assert strangers(names) == {"WISP_PUBILC": "WISP_PUBLIC", "WISP_XYZ": ""}


def test_the_address_that_kubernetes_sets_is_no_port(monkeypatch):
    for address in ("tcp://10.0.0.1:8080", "udp://[fd00::1]:80"):
        monkeypatch.setenv("WISP_PORT", address)
        assert ServiceSettings().port == 8000
    assert ServiceSettings(port=9000).port == 9000


def test_an_option_is_not_told_as_a_variable():
    with pytest.raises(SettingsError, match="^port must lie"):
        ServiceSettings(port=70000)
