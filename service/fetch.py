"""Fetching a picture that a client names by URL, without server-side request forgery (SSRF).

The name is resolved once, every address it has must be a public one, and the connection goes to
the very address that was checked: a name that resolves differently a moment later (DNS rebinding)
gains nothing. Each redirect is a new URL and is checked like the first.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable

import httpx

from service.errors import FetchFailed, TooLarge

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]

_REDIRECTS = 5
_MOVED = (301, 302, 303, 307, 308)
#: Not public, whatever the version of Python says of them: site-local addresses (RFC 3879),
#: documentation (RFC 9637), segment routing (RFC 9602), the relays of 6to4 (RFC 7526), and what
#: IANA's registries of special addresses keep for AS112 and AMT.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("fec0::/10", "3fff::/20", "5f00::/16", "100:0:0:1::/64", "2620:4f:8000::/48"),
        *("192.88.99.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24"),
    )
)
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name."""
    loop = asyncio.get_running_loop()
    entries = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in entries]


def public(text: str) -> bool:
    """Whether an address is a public unicast one, and so is any that is wrapped in it."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(
        one.is_global
        and not (one.is_multicast or one.is_reserved or one.is_loopback or one.is_link_local)
        and not (one.is_private or one.is_unspecified)
        and not any(one in network for network in _NOT_PUBLIC if network.version == one.version)
        for one in (address, *_wrapped(address))
    )


def _wrapped(address: Address) -> list[Address]:
    """Return the IPv4 addresses that traffic to an IPv6 address may end at."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inside: list[Address] = []
    if address.ipv4_mapped:
        inside.append(address.ipv4_mapped)
    if address.sixtofour:
        inside.append(address.sixtofour)
    if address.teredo:
        inside.extend(address.teredo)
    if any(address in network for network in _NAT64):
        inside.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if int(address) >> 32 == 0:  # ::a.b.c.d, long deprecated
        inside.append(ipaddress.IPv4Address(int(address)))
    return inside


async def fetch(
    url: str,
    *,
    max_bytes: int,
    seconds: float,
    resolve: Resolve = resolve,
    transport: httpx.AsyncBaseTransport | None = None,
) -> bytes:
    """Fetch a URL.

    Parameters
    ----------
    url
        http or https, to a public address.
    max_bytes, seconds
        The most that is read, and the longest that it may take, redirects included.
    resolve, transport
        For tests: where names and answers come from.

    Raises
    ------
    FetchFailed
        Not allowed, not there, or not in time.
    TooLarge
        More than ``max_bytes``.
    """
    try:
        return await asyncio.wait_for(_fetch(url, max_bytes, resolve, transport), seconds)
    except asyncio.TimeoutError:
        raise FetchFailed(f"the URL did not answer within {seconds:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # a redirect to no URL too
        raise FetchFailed(f"the URL cannot be fetched ({type(error).__name__})") from error


async def _fetch(
    url: str, max_bytes: int, resolve: Resolve, transport: httpx.AsyncBaseTransport | None
) -> bytes:
    # No proxies from the environment: through one, the address checked is not the one reached.
    async with httpx.AsyncClient(
        transport=transport, trust_env=False, follow_redirects=False, timeout=None
    ) as client:
        for _ in range(_REDIRECTS + 1):
            target, headers, extensions = await _pinned(url, resolve)
            async with client.stream(
                "GET", target, headers=headers, extensions=extensions
            ) as response:
                if response.status_code in _MOVED:
                    url = str(httpx.URL(url).join(response.headers.get("location", "")))
                    continue
                if response.status_code != 200:
                    raise FetchFailed(f"the URL answered {response.status_code}")
                return await _body(response, max_bytes)
    raise FetchFailed("the URL redirects too often")


async def _pinned(text: str, resolve: Resolve) -> tuple[httpx.URL, dict[str, str], dict[str, str]]:
    """Check a URL, and return it with its host replaced by the address that was checked."""
    try:
        url = httpx.URL(text)
        port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
        known = bool(url.host)  # which decodes it: a name may be no name (xn--)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise FetchFailed("this is no URL", code="invalid_image_url") from error
    if url.scheme not in ("http", "https") or not known or port > 65535:
        raise FetchFailed("only http and https URLs are fetched", code="invalid_image_url")
    if url.userinfo:
        raise FetchFailed("URLs with a user name are not fetched", code="invalid_image_url")
    host = url.raw_host.decode("ascii").strip("[]")
    try:
        addresses = [str(ipaddress.ip_address(host))]
    except ValueError:
        try:
            addresses = await resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise FetchFailed("the URL's host is not known") from error
    # All of them: which one a client would take is not for the name's owner to choose.
    if not addresses or not all(public(address) for address in addresses):
        raise FetchFailed("the URL's host is not a public address", code="invalid_image_url")
    headers = {
        "Host": url.netloc.decode("ascii"),
        # Not compressed: what arrives is what is counted.
        "Accept-Encoding": "identity",
        "Accept": "image/*",
        "User-Agent": "Wisp",
    }
    return url.copy_with(host=addresses[0]), headers, {"sni_hostname": host}


async def _body(response: httpx.Response, max_bytes: int) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise FetchFailed("the URL answered with a compressed body, which was not asked for")
    length = response.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise TooLarge(f"the picture behind the URL is larger than {max_bytes / 1e6:.0f} MB")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"the picture behind the URL is larger than {max_bytes / 1e6:.0f} MB")
    return bytes(body)
