"""What several tests share: a small photo, and a cutout that needs no network."""

from __future__ import annotations

import importlib.util
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from pipeline import Result, image_io

_TRAINS = importlib.util.find_spec("torch") is not None

#: Without torch the trainers' tests are left out, and so is what they import.
collect_ignore = [] if _TRAINS else ["training", "refiner", "u2net"]


def pytest_report_header() -> str | None:
    return None if _TRAINS else "without the trainers' tests: `make test-all` installs PyTorch"


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """The astronaut's head, (64, 96, 3) uint8: upright and mirrored it is not the same."""
    return np.asarray(Image.fromarray(data.astronaut()[:256, 64:448]).resize((96, 64)))


def encoded(image: Image.Image | np.ndarray, format: str, **options: Any) -> bytes:
    """The bytes of a file that Pillow writes."""
    buffer = io.BytesIO()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(buffer, format, **options)
    return buffer.getvalue()


def example(name: str) -> ModuleType:
    """Load examples/NAME.py, which is no part of any package."""
    path = Path(__file__).parents[1] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"examples.{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def in_time(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so: at once where the machine is idle, patiently where it is not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)


def ellipse(height: int, width: int) -> np.ndarray:
    """A soft matte that fills the middle of the picture, (H, W) float32 in 0..1."""
    y, x = np.ogrid[:height, :width]
    distance = np.hypot((y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5)
    return np.clip((0.35 - distance) * 20 + 0.5, 0, 1).astype(np.float32)


def fake_cutout(source: Any, max_pixels: int = 100_000_000, **_: Any) -> Result:
    """Stand in for a Cutout: reads like one, and takes the middle of any picture for subject."""
    photo = image_io.read(source, max_pixels)
    alpha = ellipse(*photo.image.shape[:2])
    roi = (alpha > 0) & (alpha < 1)
    tiles = np.zeros((0, 2), np.intp)
    return Result(photo, alpha, photo.image, alpha, roi, tiles, {"read": 0.0})
