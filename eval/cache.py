"""Finished work on disk, by what went into it: a run that stopped goes on where it was.

The key of a cutout is the method (kind, options, checksums of its models, versions of its
packages, the code of Wisp and of the harness) and the bytes of the photo.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from platformdirs import user_cache_path

import eval as harness
import pipeline
from eval.methods import KINDS, Spec
from eval.methods.external import result_file
from pipeline import Settings, models
from pipeline.files import write

ALWAYS = ("numpy", "onnxruntime", "opencv-python-headless", "pillow")


def default_root() -> Path:
    """Return where the cache lies unless told otherwise: the user's cache folder."""
    return user_cache_path("wisp", appauthor=False) / "bench"


def versions(spec: Spec) -> dict[str, str]:
    """Return the numbers of the packages that a method's result depends on."""
    numbers = {}
    for name in (*ALWAYS, *KINDS[spec.kind].packages):
        try:
            numbers[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            numbers[name] = "missing"
    return numbers


def model_files(spec: Spec) -> dict[str, Path]:
    """Return the weight files that a method uses, by option. Raises ``ModelError``."""
    options, files = KINDS[spec.kind].options, {}
    default = Settings()
    if "model" in options:
        files["model"] = models.coarse_model(spec.option("model", default.model)).path
    if "refiner" in options and spec.option("refine", "on") in ("on", "yes", "1"):
        files["refiner"] = models.refiner_model(spec.option("refiner", default.refiner)).path
    return files


def checksums(spec: Spec) -> dict[str, str]:
    """Return the SHA-256 of each weight file that a method uses; a missing one is ``missing``."""
    return {
        option: _checksum(path, path.stat().st_mtime_ns) if path.is_file() else "missing"
        for option, path in model_files(spec).items()
    }


def key(spec: Spec, name: str, data: bytes) -> str:
    """Return the key of a method's cutout of a photo, 64 hexadecimal digits."""
    parts: dict[str, Any] = {
        "kind": spec.kind,
        "options": [pair for pair in spec.options if pair[0] not in ("model", "refiner")],
        "models": checksums(spec),
        "versions": versions(spec),
        "code": _code("pipeline", "methods") if KINDS[spec.kind].ours else _code("methods"),
        "photo": hashlib.sha256(data).hexdigest(),
    }
    if spec.kind == "folder":
        file = result_file(Path(spec.option("path")), name)
        parts["result"] = _checksum(file, file.stat().st_mtime_ns) if file else None
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def score_key(cutout: str, truth: str, coarse: str | None, lpips: bool) -> str:
    """Return the key of a cutout's figures: it, the truth, the ROI's mask, and the metrics."""
    parts = [cutout, truth, coarse, lpips, _code("metrics"), versions(Spec("folder"))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Cache:
    """A folder of cutouts (PNG) and what is known about them (JSON)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def picture(self, key: str) -> Path:
        """Return where a cutout lies, or would lie."""
        return self.root / key[:2] / f"{key}.png"

    def note(self, key: str) -> dict[str, Any] | None:
        """Return what was noted under a key, None where it is not (or not wholly) there."""
        try:
            return json.loads(self._note(key).read_text())
        except (OSError, ValueError):
            return None

    def keep(self, key: str, note: dict[str, Any], cutout: NDArray[np.uint8] | None = None) -> None:
        """Keep a note and its cutout, whole or not at all: the note is written last."""
        self.picture(key).parent.mkdir(parents=True, exist_ok=True)
        if cutout is not None:
            buffer = io.BytesIO()
            Image.fromarray(cutout).save(buffer, "PNG", compress_level=1)
            write(self.picture(key), buffer.getvalue())
        write(self._note(key), json.dumps(note))

    def _note(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.json"


@lru_cache(maxsize=256)
def _checksum(path: Path, _modified: int) -> str:
    return models.checksum(path)


@lru_cache(maxsize=8)
def _code(*parts: str) -> str:
    """Return a checksum of source code: ``pipeline``, or a folder or module of the harness."""
    home = {"pipeline": Path(pipeline.__file__).parent}
    total = hashlib.sha256()
    for part in parts:
        root = home.get(part, Path(harness.__file__).parent / part)
        for path in sorted(root.rglob("*.py")):
            total.update(path.name.encode() + path.read_bytes())
    if "metrics" in parts:
        for name in ("regions.py", "measure.py"):
            total.update((Path(harness.__file__).parent / name).read_bytes())
    return total.hexdigest()
