"""Which hosts a request may be addressed to, and whose pages may send it."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from pipeline.errors import SettingsError
from service.errors import NotAllowed
from service.origin import check_host, check_origin
from service.settings import ServiceSettings

LOCAL = ServiceSettings()
OPEN = LOCAL.model_copy(update={"host": "0.0.0.0"})
NAMED = LOCAL.model_copy(update={"hosts": ("cut.example", ".shop.example")})
FRIENDLY = LOCAL.model_copy(update={"cors": ("https://friend.example",)})


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.lower().encode(), value.encode("latin-1")) for name, value in pairs])


@pytest.mark.parametrize(
    ("host", "settings"),
    [
        ("localhost", LOCAL),
        ("LocalHost:8000", LOCAL),
        ("localhost.", LOCAL),
        ("wisp.localhost:8000", LOCAL),
        ("127.0.0.1:8000", LOCAL),
        ("127.8.8.8", LOCAL),
        ("[::1]:8000", LOCAL),
        ("192.168.1.7:8000", OPEN),
        ("[fe80::1]", OPEN),
        ("box", LOCAL.model_copy(update={"host": "box"})),
        ("cut.example", NAMED),
        ("CUT.example:443", NAMED),
        ("a.shop.example", NAMED),
        ("a.b.shop.example", NAMED),
        ("anything.example", LOCAL.model_copy(update={"hosts": ("*",)})),
    ],
)
def test_hosts_that_are_ours(host, settings):
    check_host(headers(("Host", host)), settings)


@pytest.mark.parametrize("settings", [LOCAL, OPEN, NAMED, OPEN.model_copy(update={"public": True})])
@pytest.mark.parametrize(
    "sent",
    [
        [("Host", "evil.example")],
        [("Host", "evil.example:8000")],
        [("Host", "127.0.0.1.evil.example")],
        [("Host", "localhost.evil.example")],
        [("Host", "evil-localhost")],
        [("Host", "xcut.example")],
        [("Host", "shop.example.evil")],
        [("Host", "shop.example")],
        [("Host", "")],
        [("Host", "localhost@evil.example")],
        [("Host", "localhost/evil")],
        [("Host", "2130706433")],
        [("Host", "127.1")],
        [("Host", "\xe9.example")],
        [],
        [("Host", "localhost"), ("Host", "evil.example")],
        [("Host", "localhost"), ("X-Forwarded-Host", "evil.example")],
    ],
)
def test_hosts_that_are_not(sent, settings):
    with pytest.raises(NotAllowed, match="WISP_HOSTS"):
        check_host(headers(*sent), settings)


def test_only_its_own_addresses_mean_a_service_that_listens_to_this_machine():
    with pytest.raises(NotAllowed):
        check_host(headers(("Host", "192.168.1.7:8000")), LOCAL)


@pytest.mark.parametrize(
    ("sent", "settings"),
    [
        ([("Host", "localhost:8000")], LOCAL),  # no browser
        ([("Host", "localhost:8000"), ("Origin", "http://localhost:8000")], LOCAL),
        ([("Host", "cut.example"), ("Origin", "https://cut.example")], NAMED),
        ([("Host", "cut.example:443"), ("Origin", "https://cut.example")], NAMED),
        ([("Host", "127.0.0.1:8000"), ("Origin", "https://cut.example")], NAMED),  # a proxy's Host
        (
            [
                ("Host", "127.0.0.1:8000"),
                ("X-Forwarded-Host", "a.shop.example"),
                ("Origin", "https://a.shop.example"),
            ],
            NAMED,
        ),
        ([("Host", "localhost"), ("Sec-Fetch-Site", "none")], LOCAL),
        (
            [
                ("Host", "localhost"),
                ("Origin", "http://localhost"),
                ("Sec-Fetch-Site", "same-origin"),
            ],
            LOCAL,
        ),
        (
            [
                ("Host", "localhost"),
                ("Origin", "https://friend.example"),
                ("Sec-Fetch-Site", "cross-site"),
            ],
            FRIENDLY,
        ),
    ],
)
def test_origins_that_may(sent, settings):
    check_origin(headers(*sent), settings)


@pytest.mark.parametrize("settings", [LOCAL, NAMED, FRIENDLY])
@pytest.mark.parametrize(
    "sent",
    [
        [("Origin", "https://evil.example")],
        [("Origin", "http://localhost")],  # another port of this machine
        [("Origin", "http://localhost:3000")],
        [("Origin", "null")],
        [("Origin", "http://localhost:8000.evil.example")],
        [("Origin", "https://x.shop.example")],
        [("Origin", "chrome-extension://localhost:8000")],
        [("Origin", "https://friend.example.evil")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
        [("Origin", "http://localhost:8000"), ("Sec-Fetch-Site", "same-site")],
    ],
)
def test_origins_that_may_not(sent, settings):
    with pytest.raises(NotAllowed, match="other sites"):
        check_origin(headers(("Host", "localhost:8000"), *sent), settings)


@pytest.mark.parametrize("host", ["Cut.example", "cut.example:8000", "https://cut.example", "a b"])
def test_a_host_that_cannot_match_is_refused_at_the_start(host):
    with pytest.raises(SettingsError, match="hosts"):
        ServiceSettings(hosts=(host,))


def test_a_rebound_name_gets_nothing(serve, photo):
    service = serve()
    evil = {"Host": "evil.example"}
    for path in ("/docs", "/openapi.json", "/api/models", "/metrics", "/nothing"):
        answer = service.get(path, headers=evil)
        assert answer.status_code == 403 and answer.json()["code"] == "unknown_host"
    answer = service.post("/api/matting", files={"image": photo}, headers=evil)
    assert answer.status_code == 403
    body = service.post("/v1.0/removebg", files={"image_file": photo}, headers=evil).json()
    assert body["errors"][0]["code"] == "unknown_host"
    assert service.get("/healthz", headers=evil).status_code == 200


@pytest.mark.parametrize(
    "sent", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}]
)
def test_what_spends_is_for_our_own_pages(serve, photo, sent):
    service = serve(rate="2/hour")
    for _ in range(5):
        answer = service.post("/api/matting", files={"image": photo}, headers=sent)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
        assert service.get("/api/remove?url=http://a.example/", headers=sent).status_code == 403
    # Nothing of it was counted against the visitor whose browser was used.
    own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    answer = service.post("/api/matting", files={"image": photo}, headers=own)
    assert answer.status_code == 200
    assert service.get("/docs", headers=sent).status_code == 200  # a link to it may be followed
