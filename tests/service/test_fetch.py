"""Fetching URLs: nothing inside can be reached."""

import asyncio

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import FetchFailed, ServiceError, TooLarge
from service.fetch import fetch, public

PUBLIC = "93.184.216.34"


def answer(status: int, body: bytes = b"", **headers: str) -> httpx.Response:
    """An answer whose body is yet to be streamed, as from a real site."""

    async def stream():
        yield body

    return httpx.Response(status, headers=headers, content=stream())


class Names:
    """A resolver that answers as told, and remembers what it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Site:
    """A transport that remembers where connections went."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def get(url, names=None, site=None, max_bytes=1000, seconds=60.0):
    site = site or Site(answer(200, b"picture"))
    transport = httpx.MockTransport(site)
    return asyncio.run(
        fetch(
            url,
            max_bytes=max_bytes,
            seconds=seconds,
            resolve=names or Names([PUBLIC]),
            transport=transport,
        )
    )


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.1",
        "198.18.0.1",
        "203.0.113.7",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.88.99.1",
        "192.31.196.1",
        "192.175.48.1",
        "fec0::1",
        "3fff::1",
        "5f00::1",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
        "2001:0:7f00:1::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "2001:db8::1",
        "nonsense",
    ],
)
def test_what_is_not_public(address):
    assert not public(address)
    with pytest.raises(FetchFailed, match="public"):
        get("http://example.com/", Names([address]))


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "2606:4700:4700::1111"])
def test_what_is(address):
    assert public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]:8000/",
        "http://[::ffff:169.254.169.254]/",
        "http://10.0.0.1:6379/",
        "https://192.168.0.1/a.png",
    ],
)
def test_addresses_in_the_url_itself(url):
    names = Names([PUBLIC])
    with pytest.raises(FetchFailed, match="public"):
        get(url, names)
    assert names.asked == []


@pytest.mark.parametrize("url", ["http://2130706433/", "http://0x7f.1/", "http://127.1/"])
def test_odd_spellings_of_loopback_are_names_to_resolve_and_are_refused(url):
    with pytest.raises(FetchFailed):
        get(url, Names(["127.0.0.1"]))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/a",
        "gopher://example.com/",
        "data:image/png;base64,AAAA",
        "http://",
        "//example.com",
        "http://user:pass@example.com/",
        "not a url",
        "http://example.com:99999/",
        "http://[::1",
        "",
    ],
)
def test_only_plain_http_urls(url):
    with pytest.raises(FetchFailed):
        get(url)


def test_one_private_address_among_public_ones_is_enough():
    with pytest.raises(FetchFailed):
        get("http://example.com/", Names([PUBLIC, "10.0.0.1"]))


def test_the_connection_goes_to_the_checked_address_and_the_name_is_asked_once():
    """DNS rebinding: a second answer, were it asked for, would be loopback."""
    names = Names([PUBLIC], ["127.0.0.1"])
    site = Site(answer(200, b"picture"))
    assert get("https://example.com:8443/a.png?x=1", names, site) == b"picture"
    assert names.asked == [("example.com", 8443)]
    (request,) = site.seen
    assert str(request.url) == f"https://{PUBLIC}:8443/a.png?x=1"
    assert request.headers["host"] == "example.com:8443"
    assert request.extensions["sni_hostname"] == "example.com"


def test_every_redirect_is_checked():
    names = Names([PUBLIC])
    site = Site(httpx.Response(302, headers={"location": "http://169.254.169.254/latest"}))
    with pytest.raises(FetchFailed, match="public"):
        get("http://example.com/", names, site)
    assert len(site.seen) == 1
    site = Site(httpx.Response(302, headers={"location": "file:///etc/passwd"}))
    with pytest.raises(FetchFailed, match="only http"):
        get("http://example.com/", names, site)
    rebound = Names([PUBLIC], ["127.0.0.1"])
    site = Site(httpx.Response(302, headers={"location": "/again"}))
    with pytest.raises(FetchFailed, match="public"):
        get("http://example.com/", rebound, site)


def test_redirects_are_followed_and_end():
    site = Site(httpx.Response(301, headers={"location": "/b"}), answer(200, b"picture"))
    assert get("http://example.com/a", site=site) == b"picture"
    assert site.seen[1].url.path == "/b"
    assert site.seen[1].headers["host"] == "example.com"
    loop = Site(httpx.Response(302, headers={"location": "/a"}))
    with pytest.raises(FetchFailed, match="too often"):
        get("http://example.com/a", site=loop)
    assert len(loop.seen) == 6


def test_size_said_and_unsaid():
    with pytest.raises(TooLarge):
        get("http://example.com/", site=Site(answer(200, b"x" * 1001)))

    async def endless():
        while True:
            yield b"x" * 100

    with pytest.raises(TooLarge):
        get("http://example.com/", site=Site(httpx.Response(200, content=endless())))


def test_compressed_bodies_are_not_unpacked():
    site = Site(answer(200, b"bomb", **{"content-encoding": "gzip"}))
    with pytest.raises(FetchFailed, match="compressed"):
        get("http://example.com/", site=site)


def test_time_is_bounded_in_all():
    async def slow():
        for _ in range(100):
            await asyncio.sleep(0.05)
            yield b"x"

    with pytest.raises(FetchFailed, match="within"):
        get("http://example.com/", site=Site(httpx.Response(200, content=slow())), seconds=0.2)


def test_other_answers_and_unknown_names():
    with pytest.raises(FetchFailed, match="404"):
        get("http://example.com/", site=Site(httpx.Response(404)))

    async def unknown(host, port):
        raise OSError("no such name")

    with pytest.raises(FetchFailed, match="not known"):
        get("http://example.invalid/", unknown)


@pytest.mark.parametrize(
    "url",
    [
        "http://xn--/",
        "http://xn--a/",
        "http://xn--zzzzzzz99/",
        "http://[::1",
        "http://\ud800/",
        "//",
    ],
)
def test_a_name_that_is_none_is_the_clients_mistake(url):
    with pytest.raises(FetchFailed):
        get(url)
    with pytest.raises(FetchFailed):
        get("http://a.example/", site=Site(answer(302, location=url.encode("utf-8", "replace"))))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.text(max_size=30)
    | st.builds(
        "http{}://{}{}{}".format,
        st.sampled_from(["", "s"]),
        st.text(alphabet="xn-a.0:[]@%1\u00df\u3002\ud800", max_size=16),
        st.sampled_from(["", ":", ":0", ":99999", ":x"]),
        st.text(max_size=6),
    )
)
def test_no_text_is_more_than_a_refusal(url):
    try:
        assert get(url) == b"picture"
    except ServiceError as error:
        assert 400 <= error.status < 500
