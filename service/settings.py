"""The settings of the service, each default with its reason; all come from ``WISP_*`` variables."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any

from limits import parse as parse_rate
from platformdirs import user_data_path
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeline.errors import SettingsError, quoted
from pipeline.settings import Settings

_REDIS = ("redis://", "rediss://", "unix://")
_PREFIX = "WISP_"
#: What Kubernetes sets for a service that is called "wisp".
_KUBERNETES = re.compile(r"SERVICE_(HOST|PORT)|PORT(_\d+_(TCP|UDP))?$|PORT_\d+_(TCP|UDP)_")
_PORT = 8000
#: Variables of the rest of Wisp: where models lie, and where they come from.
_OTHERS = ("HOME", "MODELS_URL")


def _flag(value: Any) -> Any:
    return value.strip() or False if isinstance(value, str) else value


def _choice(value: Any) -> Any:
    return value.strip() or None if isinstance(value, str) else value


def _port(value: Any) -> Any:
    """Take the address that Kubernetes sets in WISP_PORT for such a service for no port at all."""
    kubernetes = isinstance(value, str) and re.match("(tcp|udp|sctp)://", value)
    return _PORT if kubernetes else value


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]
Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0.1)]
Span = Annotated[float, Field(ge=0)]


class _Wrong(Exception):
    """A setting's name, and what is wrong with its value."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason


class ServiceSettings(BaseSettings):
    """How the service runs; what is not given comes from ``WISP_*`` variables.

    ``max_bytes`` is ``WISP_MAX_BYTES``; an empty variable counts as not set. Unknown variables are
    left alone: other parts of Wisp may have their own (:func:`strangers` finds those that none
    has). Raises :class:`SettingsError` for a value that is out of range or not of its kind.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, str_strip_whitespace=True
    )

    #: Where to listen: this machine only, unless someone decides otherwise.
    host: str = "127.0.0.1"
    port: Annotated[int, BeforeValidator(_port)] = _PORT

    #: Strangers use it: no fetching of URLs, and everyone sees only their own history.
    public: Flag = False

    #: Models of both stages, as :class:`pipeline.Settings` has them.
    model: str = Settings.model
    refiner: str = Settings.refiner

    #: Threads a network may use; 0 means one a core.
    threads: int = 0

    #: Pictures cut out at a time. One already keeps every core busy; more only cost memory.
    concurrency: Count = 1

    #: Requests that may wait; beyond it the answer is 503 at once, because a client that is told
    #: to come back is better off than one that hangs.
    queue: Size = 16

    #: Seconds a request may take, waiting included.
    timeout: Seconds = 60.0

    #: Seconds a request's body may take to arrive: a slow sender holds memory.
    upload_timeout: Seconds = 60.0

    #: Connections that may be open at a time, and those of one address: a browser opens six, an
    #: office behind one address some dozens. An idle one gives way to a new one.
    connections: Count = 1000
    client_connections: Count = 100

    #: Seconds a client may take to send a request's head, and not to read any of an answer.
    header_timeout: Seconds = 10.0
    send_timeout: Seconds = 30.0

    #: Largest upload in bytes: a 25-megapixel JPEG of the best quality.
    max_bytes: Count = 30_000_000

    #: Bytes that uploads, jobs and answers may hold in memory at a time; half of it for one
    #: visitor. 0: seven of the largest uploads, so that one visitor may send one as base64.
    held_bytes: Size = 0

    #: Bytes of memory for the mattes of photos that visitors of the page are at work on, so that a
    #: stroke or another background need not run the networks again: 12 megapixels take 190 MB.
    #: Where strangers share the page, half of it for one of them; 0 keeps none.
    matte_bytes: Size = 400_000_000

    #: Largest upload of a batch (several files, or a zip) in bytes, packed and unpacked.
    max_batch_bytes: Count = 200_000_000

    #: Most pictures in a batch.
    max_batch_files: Count = 200

    #: Bytes of the disk that the page's uploads and results may take, a quarter of it for one
    #: client. 0: ten of the largest batches.
    page_bytes: Size = 0

    #: Clips that may wait or be in work, half of them of one visitor; 0 takes none. One is in work
    #: at a time, and takes up to a gigabyte of memory then.
    clips: Size = 4

    #: Largest clip: in bytes, in pixels of a frame (1080p, which codecs pad to whole blocks), in
    #: seconds. And the seconds that it may be in work: one and a half a frame of the longest.
    clip_bytes: Count = 100_000_000
    clip_pixels: Count = 1920 * 1088
    clip_seconds: Seconds = 30.0
    clip_timeout: Seconds = 1800.0

    #: Largest picture in pixels: 25 megapixels need about 1.2 GB. On a machine of one gigabyte
    #: set it to 12000000.
    max_pixels: Count = 25_000_000

    #: Seconds of a processor that decoding a picture may take: one of 25 megapixels needs a fifth.
    decode_seconds: Seconds = Settings.decode_seconds

    #: Folder of results, history and cache.
    data: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        default_factory=lambda: user_data_path("wisp", appauthor=False)
    )

    #: Where answers are cached: "disk", "off", or a redis:// URL.
    cache: str = "disk"

    #: Size of the cache on disk, in bytes.
    cache_bytes: Size = 256_000_000

    #: Hours after which a result that was handed out as a URL is gone.
    result_hours: Span = 24.0

    #: Days, and bytes, of history (with the results that are handed out).
    history_days: Span = 30.0
    history_bytes: Size = 1_000_000_000

    #: Bytes of it for one visitor; 0: all of them, or a tenth where strangers share it.
    history_each: Size = 0

    #: Whether clients may name URLs to be fetched; empty means: unless public.
    fetch: Annotated[bool | None, BeforeValidator(_choice)] = None

    #: Seconds a fetch may take in all.
    fetch_timeout: Seconds = 15.0

    #: Keys that clients must show; none means that everyone may. Separated by commas.
    api_keys: Listed = ()

    #: Requests allowed to a key (or to an address, where there are no keys), as "60/minute".
    rate: str = ""

    #: Addresses or networks of the proxies in front, separated by commas: only what these say of
    #: the client (X-Forwarded-For, X-Forwarded-Proto) is believed.
    proxies: Listed = ()

    #: Names that the service is known by, separated by commas; ".example.org" means all names
    #: under it, "*" any. Loopback names always are, and addresses where it listens to others.
    hosts: Listed = ()

    #: Origins whose pages may call the API. None: browsers keep other sites' pages out.
    cors: Listed = ()

    #: Origins whose pages may show this one in a frame. None: a page around it could lay its own
    #: buttons over ours.
    frames: Listed = ()

    #: Whether to serve the web page (Gradio, about 75 MB of memory).
    web: Flag = True

    #: Seconds that requests in work are given when the service is told to stop.
    drain: Span = 30.0

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except (ValidationError, _Wrong) as error:
            wrong = error if isinstance(error, _Wrong) else _first(error)
            name = wrong.name if wrong.name in values else _PREFIX + wrong.name.upper()
            raise SettingsError(f"{name} {wrong.reason}") from error

    @model_validator(mode="after")
    def _check(self) -> ServiceSettings:
        if 0 < self.held_bytes < (least := 6 * self.max_bytes):
            raise _Wrong("held_bytes", f"must be at least {least} for uploads of max_bytes")
        if 0 < self.page_bytes < (least := 4 * self.max_batch_bytes + 16_000_000):
            raise _Wrong("page_bytes", f"must be at least {least} for such batches")
        if not 0 <= self.port <= 65535:
            raise _Wrong("port", f"must lie within 0..65535, not {self.port}")
        if self.cache not in ("disk", "off") and not self.cache.startswith(_REDIS):
            raise _Wrong("cache", f"must be disk, off or a redis:// URL, not {quoted(self.cache)}")
        if self.rate:
            try:
                parse_rate(self.rate)
            except ValueError as error:
                raise _Wrong(
                    "rate", f"must look like 60/minute, not {quoted(self.rate)}"
                ) from error
        for proxy in self.proxies:
            try:
                ip_network(proxy)
            except ValueError as error:
                reason = f"must be addresses or networks such as 10.0.0.0/8: {error}"
                raise _Wrong("proxies", reason) from error
        for host in self.hosts:
            if not re.fullmatch(r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]", host):
                raise _Wrong(
                    "hosts", f"must be names in small letters, without port: {quoted(host)}"
                )
        for origin in self.frames:
            if not re.fullmatch(r"\*|https?://(\*\.)?[A-Za-z0-9.-]+(:\d+)?", origin):
                raise _Wrong("frames", f"must be origins such as https://a.org: {quoted(origin)}")
        for origin in self.cors:  # also those of apps: capacitor://localhost
            if not re.fullmatch(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/]+", origin):
                raise _Wrong("cors", f"must be origins such as https://a.org: {quoted(origin)}")
        if "*" in self.cors and self.api_keys:
            raise _Wrong("cors", "must name the origins: * together with API keys is too open")
        return self

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


def strangers(names: Iterable[str]) -> dict[str, str]:
    """Return the variables that no part of Wisp has, with the known one that is nearest, or ""."""
    known = [*map(str.upper, ServiceSettings.model_fields), *_OTHERS]
    found = {}
    for name in names:
        plain = name.upper()  # any case will do for those that are known
        own = plain.removeprefix(_PREFIX)
        if plain.startswith(_PREFIX) and own not in known and not _KUBERNETES.match(own):
            close = difflib.get_close_matches(own, known, 1)
            found[name] = _PREFIX + close[0] if close else ""
    return found


def _first(error: ValidationError) -> _Wrong:
    """Say what is wrong with the first value that is."""
    wrong = error.errors(include_url=False)[0]
    name, kind, value = str(wrong["loc"][0]), wrong["type"], wrong["input"]
    if kind == "greater_than_equal":
        return _Wrong(name, f"must be at least {wrong['ctx']['ge']:g}, not {value}")
    if kind == "extra_forbidden":
        return _Wrong(name, "is no setting")
    return _Wrong(name, f"must be {_KINDS.get(kind, wrong['msg'])}, not {quoted(value)}")


_KINDS = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
}
