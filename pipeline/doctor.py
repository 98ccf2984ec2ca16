"""What to look at when something is wrong: versions, providers, CPU, models, and a cutout."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import models
from pipeline.cutout import Cutout
from pipeline.errors import WispError
from pipeline.settings import Settings

_PACKAGES = ("wispcut", "numpy", "opencv-python-headless", "pillow", "onnxruntime", "click", "tqdm")
_EXTRAS = ("pillow-heif", "onnxruntime-gpu", "opencv-python")


def versions() -> dict[str, str]:
    """Return the numbers that a report of a fault needs, by name; extras only where installed."""
    numbers = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES + _EXTRAS:
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:
            if package in _PACKAGES:
                numbers[package] = "not installed as a package"
    return numbers


def examine() -> dict[str, Any]:
    """Look at everything.

    Returns
    -------
    A dict that JSON can hold: ``versions``, ``cpu``, ``providers``, ``formats``, ``models``,
    ``cutout``, and ``well``, which is whether every model and the cutout are.
    """
    findings: dict[str, Any] = {
        "versions": versions(),
        "cpu": _cpu(),
        "providers": _providers(),
        "formats": _formats(),
        "models": [
            {"stage": stage, "name": name, **_model(card)}
            for stage, catalogue in ((1, models.COARSE), (2, models.REFINERS))
            for name, card in catalogue.items()
        ],
        "cutout": _cutout(),
    }
    parts = [findings["cutout"], *findings["models"]]
    findings["well"] = all(part["well"] for part in parts)
    return findings


def describe(findings: dict[str, Any]) -> str:
    """Lay out what :func:`examine` found, for people."""
    cpu = findings["cpu"]
    lines = [f"     {name} {number}" for name, number in findings["versions"].items()]
    lines.append(f"     CPU: {cpu['model']}, {cpu['usable']} of {cpu['cores']} cores usable")
    lines.append(f"     CPU features: {' '.join(cpu['features'])}")
    lines.append(f"     providers: {', '.join(findings['providers']) or 'none'}")
    for name, there in findings["formats"].items():
        lines.append(f"     {name}: {'read' if there else 'not read'}")
    for model in findings["models"]:
        what = f"stage {model['stage']} model {model['name']}, {model['path']}: {model['state']}"
        lines.append(f"{_mark(model['well'])} {what}")
    lines.append(f"{_mark(findings['cutout']['well'])} test cutout: {findings['cutout']['state']}")
    lines.append("All is well." if findings["well"] else "Something is wrong: see above.")
    return "\n".join(lines)


def _mark(well: bool) -> str:
    return "ok  " if well else "BAD "


def _cpu() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    # A mark after a feature says only which code was compiled for it.
    features = [name.strip("*?") for name in cv2.getCPUFeaturesLine().split() if name[-1] != "?"]
    return {"model": model, "cores": cores, "usable": usable, "features": features}


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def _formats() -> dict[str, bool]:
    from importlib.util import find_spec

    from PIL import features

    return {"AVIF": bool(features.check("avif")), "HEIC": find_spec("pillow_heif") is not None}


def _model(card: models.CoarseModel | models.RefinerModel) -> dict[str, Any]:
    facts: dict[str, Any] = {"path": str(card.path), "licence": card.licence, "sha256": None}
    if not card.path.is_file():
        return {**facts, "well": False, "state": "missing: reinstall wispcut"}
    facts["sha256"] = models.checksum(card.path)
    size = f"{card.path.stat().st_size / 1e6:.1f} MB"
    if not card.sha256:
        return {**facts, "well": True, "state": f"{size}, no checksum on record"}
    if facts["sha256"] != card.sha256:
        return {**facts, "well": False, "state": f"{size}, not the file it was: reinstall wispcut"}
    return {**facts, "well": True, "state": f"{size}, checksum matches"}


def picture() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw the picture of the test cutout: a shaded ball before a soft background.

    Returns the image, (480, 640, 3) uint8, and where the ball is, (480, 640) bool.
    """
    y, x = np.mgrid[:480, :640].astype(np.float32)
    ball = np.hypot(x - 320, y - 250) < 130
    light = 1 - 0.75 * np.hypot(x - 270, y - 190) / 260
    image = np.stack([150 + y / 12, 165 + y / 14, 180 + x / 16], -1)
    image[ball] = (light[..., None] * np.array([235, 90, 40]))[ball]
    return np.clip(image, 0, 255).astype(np.uint8), ball


def _cutout() -> dict[str, Any]:
    """Cut the ball out. Of a good cutout, most lies inside it, and little outside."""
    image, ball = picture()
    try:
        cutout = Cutout(Settings())
        start = time.perf_counter()
        alpha = cutout(image).alpha
    except (WispError, ImportError) as error:
        return {"well": False, "state": str(error)}
    seconds = time.perf_counter() - start
    inside, outside = float(alpha[ball].mean()), float(alpha[~ball].mean())
    state = f"{seconds:.2f} s, alpha {inside:.2f} on the subject, {outside:.2f} beside it"
    return {"well": inside > 0.5 > outside, "state": state, "seconds": round(seconds, 3)}
