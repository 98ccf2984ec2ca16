"""Models that are not bundled, and how they come here.

They are the published ones of the U²-Net family, as rembg hands them out; the checksums are those
in its source (2.0.86). Nothing is ever fetched unless someone asks for it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.errors import FetchFailed

_BASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"
_LARGEST = 400_000_000


@dataclass(frozen=True)
class Published:
    """A model that can be had."""

    url: str
    md5: str
    licence: str


MODELS = {
    "u2netp": Published(
        _BASE + "u2netp.onnx", "8e83ca70e441ab06c318d82300c84806", "Apache-2.0 (U-2-Net)"
    ),
    "u2net": Published(
        _BASE + "u2net.onnx", "60024c5c889badc19c04ad937298a77b", "Apache-2.0 (U-2-Net)"
    ),
    "u2net_human_seg": Published(
        _BASE + "u2net_human_seg.onnx", "c09ddc2e0104f800e3e1bb4652583d1f", "Apache-2.0 (U-2-Net)"
    ),
}


async def download(
    name: str,
    folder: Path,
    report: Callable[[float], None],
    transport: httpx.AsyncBaseTransport | None = None,
) -> Path:
    """Fetch a model into a folder, whole or not at all.

    ``report`` is told the share that is there. Raises :class:`FetchFailed`.
    """
    model = MODELS.get(name)
    if model is None:
        raise FetchFailed(f"no such model: one of {', '.join(MODELS)}")
    target = folder / f"{name}.onnx"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}-{os.urandom(6).hex()}.part"
    digest, done = hashlib.md5(usedforsecurity=False), 0
    timeout = httpx.Timeout(30)
    try:
        async with (
            httpx.AsyncClient(
                follow_redirects=True, timeout=timeout, transport=transport
            ) as client,
            client.stream("GET", model.url) as response,
        ):
            if response.status_code != 200:
                raise FetchFailed(f"{model.url} answered {response.status_code}")
            total = int(response.headers.get("content-length") or 0)
            with open(partial, "xb") as stream:
                async for chunk in response.aiter_bytes(1 << 20):
                    stream.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    if done > _LARGEST:
                        raise FetchFailed("the file is far larger than the model is")
                    report(done / total if total else 0.5)
        if digest.hexdigest() != model.md5:
            raise FetchFailed(f"{name}: not the file it should be (checksum differs)")
        os.replace(partial, target)
    except httpx.HTTPError as error:
        raise FetchFailed(f"{model.url} cannot be fetched ({type(error).__name__})") from error
    finally:
        partial.unlink(missing_ok=True)
    return target
