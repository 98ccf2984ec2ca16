"""What the trainers share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the train extra")

from pipeline.errors import ModelInvalid, SettingsError  # noqa: E402
from training import checkpoint, folders, recipe, split  # noqa: E402
from training.ema import averaged  # noqa: E402
from training.prefetch import prefetch  # noqa: E402
from training.schedule import set_rate, warmup_cosine  # noqa: E402


@dataclass(frozen=True)
class Inner:
    l1: float = 1.0


@dataclass(frozen=True)
class Settings:
    steps: int = 10
    lr: float = 1e-3
    phase: str = "whole"
    folded: bool = False
    cells: tuple[float, ...] = (1.0, 2.0)
    weights: Inner = field(default_factory=Inner)


def test_settings_are_changed_by_name() -> None:
    texts = ["steps=7", "lr=1e-4", "phase=blocks", "folded=true", "weights.l1=0", "cells=[3.0]"]
    s = recipe.changed(Settings(), texts)
    assert s == Settings(7, 1e-4, "blocks", True, (3.0,), Inner(0.0))


@pytest.mark.parametrize("text", ["speed=1", "steps=many", "steps", "steps=1.5", "weights.l9=1"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=text.split("=")[0].split(".")[-1]):
        recipe.changed(Settings(), [text])


def test_a_recipe_is_read_phase_by_phase(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[data]\nseed = 3\n[settings]\nlr = 1\n[[phases]]\nname = "a"\n'
        '[[phases]]\nname = "b"\nsteps = 5\nweights = {l1 = 2.0}\n'
    )
    read = recipe.load("u2net", str(path), Settings(), ["folded=true"])
    assert read.data == {"seed": 3}
    assert read.phases == {
        "a": Settings(lr=1.0, folded=True),
        "b": Settings(5, 1.0, folded=True, weights=Inner(2.0)),
    }
    assert list(recipe.choose(read.phases, ["b"])) == ["b"]
    with pytest.raises(SettingsError, match="No phase c"):
        recipe.choose(read.phases, ["c"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("lr = [", "not TOML"), ("[settings]\n", "phases"), ("[[phases]]\nspeed = 1\n", "speed")],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        recipe.load("u2net", str(path), Settings())


def test_an_unknown_recipe_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match="bundled"):
        recipe.load("u2net", "unheard-of", Settings())


def test_the_average_follows_at_its_pace_and_counts_the_first_weights() -> None:
    model: Any = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.BatchNorm1d(1))
    torch.nn.init.zeros_(model[0].weight)
    for step, keep in ((0, 0.1), (10, 11 / 20), (10_000, 0.9)):
        ema: Any = averaged(model, 0.9, step)
        torch.nn.init.ones_(model[0].weight)
        model[1].num_batches_tracked += 1
        ema.update_parameters(model)
        assert ema.module[0].weight.item() == pytest.approx(1 - keep)
        assert ema.module[1].num_batches_tracked == model[1].num_batches_tracked
        torch.nn.init.zeros_(model[0].weight)


def test_the_rate_rises_and_falls() -> None:
    rates = [warmup_cosine(step, 100, 10, 0.02) for step in range(100)]
    assert rates[0] < 0.2 and max(rates) > 0.9 and rates[-1] < 0.05
    assert rates[10:] == sorted(rates[10:], reverse=True)
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "scale": 3.0}], 1.0)
    set_rate(optimizer, 0.5)
    assert optimizer.param_groups[0]["lr"] == 1.5


def test_prefetching_keeps_the_order_uses_one_thread_and_hands_errors_on() -> None:
    threads = set()

    def items():
        for number in range(5):
            threads.add(threading.get_ident())
            yield number
        raise ValueError("broken")

    received = []
    with pytest.raises(ValueError, match="broken"):
        for item in prefetch(items(), ahead=2):
            received.append(item)
    assert received == list(range(5))
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_a_checkpoint_comes_back_and_other_settings_are_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "last.pt", torch.nn.Linear(2, 2)
    with pytest.raises(SettingsError, match="Nothing to resume"):
        checkpoint.resume(path, Settings(), {"model": model})
    checkpoint.save(path, 4, Settings(), {"model": model})
    other = torch.nn.Linear(2, 2)
    assert checkpoint.resume(path, Settings(), {"model": other}) == 4
    assert torch.equal(other.weight, model.weight)
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(SettingsError, match=r"other settings \(lr\)"):
        checkpoint.resume(path, Settings(lr=1.0), {"model": model})
    torch.save({"weights": 1}, path)
    with pytest.raises(ModelInvalid, match="no checkpoint"):
        checkpoint.read(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One folder of each kind, three pictures each."""
    for name in ("soft/images", "hard/images", "net/images", "cut", "backgrounds", "plain/deep"):
        (tmp_path / name).mkdir(parents=True)
        for k in range(3):
            mode = "RGBA" if name == "cut" else "RGB"
            Image.new(mode, (8, 8)).save(tmp_path / name / f"{k}.png")
    for folder in ("soft/alphas", "hard/masks", "net/guesses"):
        (tmp_path / folder).mkdir()
        for k in range(2):
            Image.new("L", (8, 8)).save(tmp_path / folder / f"{k}.png")
    return tmp_path


def test_folders_are_told_apart_by_what_lies_in_them(root: Path) -> None:
    sources = {s.name: s for s in folders.find(root)}
    assert {name: s.kind for name, s in sources.items()} == {
        "soft": "alphas", "hard": "masks", "net": "guesses", "cut": "cutouts",
        "backgrounds": "backgrounds", "plain/deep": "photos",
    }  # fmt: skip
    for name, s in sources.items():
        assert len(s.pictures) == (2 if s.truths else 3), name
        assert [p.stem for p in s.truths] == [p.stem for p in s.pictures][: len(s.truths)]


def test_folders_without_pictures_or_without_namesakes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No pictures"):
        folders.find(tmp_path)
    for name, file in (("images", "a.png"), ("masks", "b.png")):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / file)
    with pytest.raises(SettingsError, match="namesake"):
        folders.find(tmp_path)


def test_a_picture_is_read_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert folders.read_rgb(tmp_path / "a.jpg").shape == (6, 4, 3)


def test_the_split_is_that_of_the_bundled_weights() -> None:
    """Written down: what one release holds out, the next must not train on."""
    pictures = [("people", f"{k:04d}") for k in range(40)] + [("film", s) for s in "abcdefgh" * 3]
    held = split.held_out_scenes(pictures)
    assert held == split.held_out_scenes(reversed(pictures))
    assert sorted(s for f, s in held if f == "people") == ["0010", "0019", "0025", "0036"]
    assert sorted(s for f, s in held if f == "film") == ["b", "f"]
    assert [k for k in range(60) if split.is_held_out(f"{k:04d}.png")] == [2, 4, 25, 29, 32, 33, 37]
