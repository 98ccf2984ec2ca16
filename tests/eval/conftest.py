"""Small scenes, small folders, and commands that stand in for tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from eval.cli import bench
from eval.scenes import Scene, compose


def soft_disc(height: int = 48, width: int = 64, radius: float = 16.0) -> np.ndarray:
    """A disc with an edge of 6 px, (H, W) float32 of whole 255ths."""
    y, x = np.mgrid[:height, :width]
    away = np.hypot(y - height / 2, x - width / 2)
    soft = np.clip((radius - away) / 6 + 0.5, 0, 1)
    return (np.round(soft * 255) / 255).astype(np.float32)


@pytest.fixture
def scene() -> Scene:
    """A disc of one colour over another, with its trimap and its foreground."""
    rng = np.random.default_rng(1)
    alpha = soft_disc()
    foreground = np.full((*alpha.shape, 3), (200, 150, 100), np.uint8)
    background = rng.integers(0, 80, (*alpha.shape, 3)).astype(np.uint8)
    trimap = np.where(alpha == 0, 0, np.where(alpha == 1, 255, 128)).astype(np.uint8)
    return compose("disc", foreground, alpha, background, trimap)


def perfect(scene: Scene) -> np.ndarray:
    """The cutout that has nothing wrong, (H, W, 4) uint8."""
    assert scene.foreground is not None
    return np.dstack([scene.foreground, np.round(scene.alpha * 255).astype(np.uint8)])


def draw(path: Path, size: tuple[int, int] = (40, 30), mode: str = "RGB", seed: int = 0) -> Path:
    """Write a picture of noise; with a mode L the noise is a soft disc."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    if mode == "L":
        pixels = np.round(soft_disc(size[1], size[0], 10) * 255).astype(np.uint8)
    else:
        pixels = rng.integers(0, 256, (size[1], size[0], len(mode))).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder of three photos with alphas."""
    root = tmp_path / "set"
    for number, name in enumerate("abc"):
        draw(root / "images" / f"{name}.png", seed=number)
        draw(root / "alphas" / f"{name}.png", mode="L")
    return root


def invoke(*arguments: object) -> Result:
    """Run ``wisp bench`` in this process."""
    return CliRunner().invoke(bench, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A report on the built-in set, small, with finished results as the methods."""
    from eval.builtin import builtin

    root = tmp_path_factory.mktemp("report")
    for name in ("true", "half"):
        (root / name).mkdir()
    for sample in builtin((96, 128)).samples:
        scene = sample.load()
        rgba = perfect(scene)
        Image.fromarray(rgba).save(root / "true" / f"{sample.name}.png")
        rgba[..., 3] //= 2
        if sample.name != "fur-1":
            Image.fromarray(rgba).save(root / "half" / f"{sample.name}.png")
    result = invoke(
        "builtin", "--size", "128x96", "--methods", "", "--method-folder", f"true={root / 'true'}",
        "--method-folder", f"half<b>={root / 'half'}", "--no-lpips", "--repeats", 1, "--quiet",
        "--cache", root / "cache", "-o", root / "out",
    )  # fmt: skip
    return root / "out", result
