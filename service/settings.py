"""The settings of the service, each default with its reason; all come from ``WISP_*`` variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path

from limits import parse as parse_rate
from platformdirs import user_data_path

from pipeline.errors import SettingsError
from pipeline.settings import Settings

_BOOLS = {"1": True, "true": True, "yes": True, "on": True, "": False} | {
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _home() -> Path:
    return user_data_path("wisp", appauthor=False)


@dataclass(frozen=True)
class ServiceSettings:
    """How the service runs. Raises :class:`SettingsError` when a value is out of range.

    Every field can be set by an environment variable: ``max_bytes`` by ``WISP_MAX_BYTES``.
    """

    #: Where to listen: this machine only, unless someone decides otherwise.
    host: str = "127.0.0.1"
    port: int = 8000

    #: Strangers use it: no fetching of URLs, and everyone sees only their own history.
    public: bool = False

    #: Models of both stages, as :class:`pipeline.Settings` has them.
    model: str = Settings.model
    refiner: str = Settings.refiner

    #: Threads a network may use; 0 means one a queue.
    threads: int = 0

    #: Pictures cut out at a time. One already keeps every core busy; more only cost memory.
    concurrency: int = 1

    #: Requests that may wait; beyond it the answer is 503 at once, because a client that is told
    #: to come back is better off than one that hangs.
    queue: int = 16

    #: Seconds a request may take, waiting included.
    timeout: float = 60.0

    #: Seconds a request's body may take to arrive: a slow sender holds memory.
    upload_timeout: float = 60.0

    #: Connections that may be open at a time, and those of one address: a browser opens six, an
    #: office behind one address some dozens. An idle one gives way to a new one.
    connections: int = 1000
    client_connections: int = 100

    #: Seconds a client may take to send a request's head, and not to read any of an answer.
    header_timeout: float = 10.0
    send_timeout: float = 30.0

    #: Largest upload in bytes: a 25-megapixel JPEG of the best quality.
    max_bytes: int = 30_000_000

    #: Bytes that uploads, jobs and answers may hold in memory at a time; half of it for one
    #: visitor. 0: seven of the largest uploads, so that one visitor may send one as base64.
    held_bytes: int = 0

    #: Bytes of memory for the mattes of photos that visitors of the page are at work on, so that a
    #: stroke or another background need not run the networks again: 12 megapixels take 190 MB.
    #: Where strangers share the page, half of it for one of them; 0 keeps none.
    matte_bytes: int = 400_000_000

    #: Largest upload of a batch (several files, or a zip) in bytes, packed and unpacked.
    max_batch_bytes: int = 200_000_000

    #: Most pictures in a batch.
    max_batch_files: int = 200

    #: Bytes of the disk that the page's uploads and results may take, a quarter of it for one
    #: client. 0: ten of the largest batches.
    page_bytes: int = 0

    #: Largest picture in pixels: 25 megapixels need about 1.2 GB. On a machine of one gigabyte
    #: set it to 12000000.
    max_pixels: int = 25_000_000

    #: Seconds of a processor that decoding a picture may take: one of 25 megapixels needs a fifth.
    decode_seconds: float = Settings.decode_seconds

    #: Folder of results, history and cache.
    data: Path = field(default_factory=_home)

    #: Where answers are cached: "disk", "off", or a redis:// URL.
    cache: str = "disk"

    #: Size of the cache on disk, in bytes.
    cache_bytes: int = 256_000_000

    #: Hours after which a result that was handed out as a URL is gone.
    result_hours: float = 24.0

    #: Days, and bytes, of history (with the results that are handed out).
    history_days: float = 30.0
    history_bytes: int = 1_000_000_000

    #: Bytes of it for one visitor; 0: all of them, or a tenth where strangers share it.
    history_each: int = 0

    #: Whether clients may name URLs to be fetched; empty means: unless public.
    fetch: bool | None = None

    #: Seconds a fetch may take in all.
    fetch_timeout: float = 15.0

    #: Keys that clients must show; none means that everyone may. Separated by commas.
    api_keys: tuple[str, ...] = ()

    #: Requests allowed to a key (or to an address, where there are no keys), as "60/minute".
    rate: str = ""

    #: Addresses or networks of the proxies in front, separated by commas: only what these say of
    #: the client (X-Forwarded-For, X-Forwarded-Proto) is believed.
    proxies: tuple[str, ...] = ()

    #: Names that the service is known by, separated by commas; ".example.org" means all names
    #: under it, "*" any. Loopback names always are, and addresses where it listens to others.
    hosts: tuple[str, ...] = ()

    #: Origins whose pages may call the API. None: browsers keep other sites' pages out.
    cors: tuple[str, ...] = ()

    #: Origins whose pages may show this one in a frame. None: a page around it could lay its own
    #: buttons over ours.
    frames: tuple[str, ...] = ()

    #: Whether to serve the web page (Gradio, about 75 MB of memory).
    web: bool = True

    #: Seconds that requests in work are given when the service is told to stop.
    drain: float = 30.0

    def __post_init__(self) -> None:
        for name, low in (
            ("concurrency", 1),
            ("queue", 0),
            ("timeout", 0.1),
            ("upload_timeout", 0.1),
            ("connections", 1),
            ("client_connections", 1),
            ("header_timeout", 0.1),
            ("send_timeout", 0.1),
            ("max_bytes", 1),
            ("held_bytes", 0),
            ("matte_bytes", 0),
            ("max_batch_bytes", 1),
            ("page_bytes", 0),
            ("max_batch_files", 1),
            ("max_pixels", 1),
            ("decode_seconds", 0.1),
            ("cache_bytes", 0),
            ("result_hours", 0),
            ("history_days", 0),
            ("history_bytes", 0),
            ("history_each", 0),
            ("fetch_timeout", 0.1),
            ("drain", 0),
        ):
            if getattr(self, name) < low:
                raise SettingsError(f"{name} must be at least {low}, not {getattr(self, name)}")
        if 0 < self.held_bytes < (least := 6 * self.max_bytes):
            raise SettingsError(f"held_bytes must be at least {least} for uploads of max_bytes")
        if 0 < self.page_bytes < (least := 4 * self.max_batch_bytes + 16_000_000):
            raise SettingsError(f"page_bytes must be at least {least} for such batches")
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port must lie within 0..65535, not {self.port}")
        if self.cache not in ("disk", "off") and not self.cache.startswith(_REDIS):
            raise SettingsError(f"cache must be disk, off or a redis:// URL, not {self.cache!r}")
        if self.rate:
            try:
                parse_rate(self.rate)
            except ValueError as error:
                raise SettingsError(f"rate must look like 60/minute, not {self.rate!r}") from error
        for proxy in self.proxies:
            try:
                ip_network(proxy)
            except ValueError as error:
                raise SettingsError(
                    f"proxies must be addresses or networks such as 10.0.0.0/8: {error}"
                ) from error
        for host in self.hosts:
            if not re.fullmatch(r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]", host):
                raise SettingsError(f"hosts must be names in small letters, without port: {host!r}")
        for origin in self.frames:
            if not re.fullmatch(r"\*|https?://(\*\.)?[A-Za-z0-9.-]+(:\d+)?", origin):
                raise SettingsError(f"frames must be origins such as https://a.org: {origin!r}")
        if "*" in self.cors and self.api_keys:
            raise SettingsError("cors: name the origins; * together with API keys is too open")

    @property
    def held(self) -> int:
        """Bytes that requests may hold in memory, all together."""
        return self.held_bytes or max(7 * self.max_bytes, 8_000_000)

    @property
    def paged(self) -> int:
        """Bytes of the disk that the page's files may take."""
        return self.page_bytes or 10 * self.max_batch_bytes + 16_000_000

    @property
    def fetches(self) -> bool:
        """Whether URLs that a client names are fetched."""
        return not self.public if self.fetch is None else self.fetch


_REDIS = ("redis://", "rediss://", "unix://")


def from_environment(environment: Mapping[str, str] | None = None) -> ServiceSettings:
    """Read the settings from ``WISP_*`` variables.

    Raises :class:`SettingsError` for a value that is not of its kind. Unknown variables are left
    alone: other parts of Wisp may have their own.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, object] = {}
    for entry in fields(ServiceSettings):
        text = environment.get(f"WISP_{entry.name.upper()}")
        if text is None:
            continue
        try:
            values[entry.name] = _parse(str(entry.type), text.strip())
        except (ValueError, KeyError) as error:
            raise SettingsError(
                f"WISP_{entry.name.upper()} must be {_KINDS.get(str(entry.type), entry.type)}, "
                f"not {text!r}"
            ) from error
    return ServiceSettings(**values)  # type: ignore[arg-type]  # the kinds were checked above


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "bool | None": "true or false",
}


def _parse(kind: str, text: str) -> object:
    if kind == "int":
        return int(text.replace("_", ""))
    if kind == "float":
        return float(text)
    if kind == "bool":
        return _BOOLS[text.lower()]
    if kind == "bool | None":
        return _BOOLS[text.lower()] if text else None
    if kind == "Path":
        return Path(text).expanduser()
    if kind == "tuple[str, ...]":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text
