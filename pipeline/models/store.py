"""Where models lie on this machine: found, fetched, verified, taken in and thrown out.

A model ``NAME`` is the file ``NAME.onnx`` in ``models/`` below the home of Wisp: the folder in
``WISP_HOME``, else the user's data folder. It may be shared: whoever fetches a model locks it, and
it gets its name only when it is whole. What rembg has downloaded already is used where it lies.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import files
from pipeline.errors import (
    ModelError,
    ModelInvalid,
    ModelMissing,
    OutputError,
    SettingsError,
    quoted,
)
from pipeline.models.catalogue import COARSE, DECODERS, PUBLIC, REFINERS, CoarseModel, RefinerModel
from pipeline.models.telling import fetching, megabytes, tell

if TYPE_CHECKING:
    from pipeline.models.download import Progress


def home() -> Path:
    """Return the folder in which Wisp keeps its models.

    Raises :class:`SettingsError` where this user has no home folder, as in many a container.
    """
    try:
        if os.environ.get("WISP_HOME"):
            return Path(os.environ["WISP_HOME"]).expanduser()
        from platformdirs import user_data_path

        return user_data_path("wisp", appauthor=False)
    except RuntimeError as error:
        raise SettingsError(
            "this user has no home folder: name a folder for the models in WISP_HOME"
        ) from error


def model_path(name: str) -> Path:
    """Return where the file of a downloaded or imported model belongs.

    Raises :class:`SettingsError` for what can be no name: it would lead out of the folder.
    """
    if not name or not name.isprintable() or any(c in name for c in "/\\:"):
        raise SettingsError(f"{quoted(name)} is no name for a model")
    return home() / "models" / f"{name}.onnx"


def download_url(name: str) -> str:
    """Return where a public model is fetched from.

    That is its publisher, or ``NAME.onnx`` below ``WISP_MODELS_URL``, so that a copy of the models
    folder behind any web server is a mirror.
    """
    mirror = os.environ.get("WISP_MODELS_URL", "")
    if not mirror:
        return PUBLIC[name].url
    if not mirror.startswith(("http://", "https://")):
        raise SettingsError(f"WISP_MODELS_URL must begin with http(s)://, not {quoted(mirror)}")
    return f"{mirror.rstrip('/')}/{name}.onnx"


def rembg_places(name: str) -> list[Path]:
    """Return where rembg (2.0, and older) keeps its file of a model."""
    env = os.environ.get
    base = Path(env("XDG_DATA_HOME") or "~")
    old = Path(env("U2NET_HOME") or base / ".u2net")
    new = Path(
        env("U2NET_HOME")
        or env("REMBG_HOME")
        or (base / "rembg" if env("XDG_DATA_HOME") else Path("~/.rembg"))
    )
    file = f"{name}.onnx"
    try:
        return [(new / "models" / name / file).expanduser(), (old / file).expanduser()]
    except RuntimeError:  # no home folder: nothing of rembg's either
        return []


def find(name: str) -> Path | None:
    """Return the file of a public model on this machine, Wisp's own or rembg's, unverified.

    rembg's counts only where it has the published length.
    """
    if model_path(name).is_file():
        return model_path(name)
    for path in rembg_places(name):
        if path.is_file() and path.stat().st_size == PUBLIC[name].length:
            return path
    return None


def verified(name: str) -> Path | None:
    """Return the file of a public model on this machine; None where it is not the published one."""
    path = find(name)
    if path and not _trusted(path):
        if mismatch(path, PUBLIC[name]):
            return None
        mark_verified(path)
    return path


def usable(name: str) -> Path | None:
    """Return the file of a public model that is here as it was published, with all that it needs;
    None of others, and of what is only half a model."""
    card = PUBLIC[name]
    if name in DECODERS or (card.decoder and not verified(card.decoder)):
        return None
    return verified(name)


def ensure(name: str, quiet: bool = False) -> Path:
    """Return the verified file of a public model; fetch it where it is not here.

    What happens is said on standard error. ``quiet`` hushes that, but not a licence that forbids
    commercial use, which is said before the first use.

    Raises :class:`ModelError` where it cannot be fetched, and :class:`ModelInvalid` where the file
    that is here is not the published one.
    """
    path = find(name)
    if path and _trusted(path):
        return path
    card = PUBLIC[name]
    if card.noncommercial:
        tell(f"{name} is licensed {card.licence}: not for commercial use. {card.source}")
    if path:
        wrong = mismatch(path, card)
        if not wrong:
            mark_verified(path)
            return path
        if path == model_path(name):
            raise ModelInvalid(
                f"{path} is not the published {name} ({wrong}): `wisp models remove {name}`, "
                "and it is fetched anew"
            )
        tell(f"{path} is not the published {name} ({wrong}): left alone", quiet)
    return fetch(name, quiet)


def fetch(name: str, quiet: bool = False, progress: Progress | None = None) -> Path:
    """Download a public model, unless another process has just done so; return its file.

    ``progress`` is told the bytes that are there and all that there will be; without it they are
    shown on standard error.

    Raises
    ------
    pipeline.errors.ModelError
        When it cannot be had. The message says what to fetch by hand, and where to put it.
    pipeline.errors.OutputError
        When the folder cannot be written, or the disk is too small.
    """
    from pipeline.models import download  # the HTTP client: 20 ms that are not for every start

    card, target, url = PUBLIC[name], model_path(name), download_url(name)
    with locked(name, quiet):
        if target.is_file() and not mismatch(target, card):
            mark_verified(target)
            return target
        there = download.size(target.with_name(target.name + ".part"))
        free = shutil.disk_usage(target.parent).free
        if free < card.length - there:
            raise OutputError(
                f"{name} needs {megabytes(card.length - there)} in {target.parent}, where "
                f"{megabytes(free)} are free: make room, or choose another folder with WISP_HOME"
            )
        tell(f"fetching {name} ({megabytes(card.length)}, {card.licence}) from {url}", quiet)
        try:
            shown = nullcontext(progress) if progress else fetching(name, there, card.length, quiet)
            with shown as report:
                download.fetch(url, target, card.length, lambda p: mismatch(p, card), report)
        except ModelError as error:
            raise type(error)(
                f"{name} cannot be had: {error}. By hand: fetch {card.url} "
                f"({card.length:,} bytes, SHA-256 {card.sha256}) and put it at {target}; "
                "or name a mirror in WISP_MODELS_URL"
            ) from error
        mark_verified(target)
    return target


def mismatch(path: Path, card: CoarseModel | RefinerModel) -> str:
    """Say in what a file differs from the one on record; an empty string where it does not."""
    if isinstance(card, CoarseModel):
        size = path.stat().st_size
        if card.length and size != card.length:
            return f"{size:,} bytes instead of {card.length:,}"
        if card.md5 and checksum(path, "md5") != card.md5:
            return "its MD5 is another"
    if card.sha256 and checksum(path) != card.sha256:
        return "its SHA-256 is another"
    return ""


def recognise(path: Path) -> str | None:
    """Return the name of the public model that a file is, if it is one."""
    size = path.stat().st_size
    for name, card in PUBLIC.items():
        if card.length == size and not mismatch(path, card):
            return name
    return None


def remove(name: str) -> list[Path]:
    """Delete what Wisp keeps of a downloaded or imported model, with its decoder; return what was
    deleted.

    What rembg downloaded is rembg's, and stays. Raises :class:`ModelMissing` where there is
    nothing to delete.
    """
    if name in COARSE or name in REFINERS:
        raise ModelMissing(f"{name} is part of Wisp and stays")
    target = model_path(name)
    gone = _deleted(name)
    if name in PUBLIC and PUBLIC[name].decoder:
        gone += _deleted(PUBLIC[name].decoder)
    if not gone:
        raise ModelMissing(f"no model {quoted(name)} is downloaded or imported in {target.parent}")
    return gone


def _deleted(name: str) -> list[Path]:
    target, gone = model_path(name), []
    with locked(name):
        for path in (target, target.with_name(target.name + ".part"), target.with_suffix(".json")):
            if path.is_file():
                path.unlink()
                gone.append(path)
        _stamp(target).unlink(missing_ok=True)
    return gone


def checksum(path: Path, algorithm: str = "sha256") -> str:
    """Return the checksum of a file, in hexadecimal."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _stamp(path: Path) -> Path:
    """Where it is noted that a file was verified: a gigabyte is not hashed at each start."""
    key = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    return home() / "verified" / f"{path.stem}-{key}"


def _state(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}\n"


def _trusted(path: Path) -> bool:
    try:
        return _stamp(path).read_text() == _state(path)
    except OSError:
        return False


def mark_verified(path: Path) -> None:
    """Note that a file was verified, so that it is not hashed again until it changes."""
    with suppress(OutputError):  # a folder that cannot be written: it is verified each time, then
        files.write(_stamp(path), _state(path), parents=True)


@contextmanager
def locked(name: str, quiet: bool = False) -> Iterator[None]:
    """Hold a model's lock; who comes second waits, and is told so."""
    from filelock import FileLock, Timeout

    path = home() / "models" / f".{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            tell(f"another process is busy with {name}: waiting for it", quiet)
            lock.acquire()
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
