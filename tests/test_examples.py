"""The examples' own code: what an ablation keeps and prints, what a sheet of subjects shows."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.errors import SettingsError
from tests.conftest import example

pytest.importorskip("pytorch_optimizer", reason="training needs the extra 'train'")

FIGURES = {"psnr": 17.25, "coarse psnr": 16.2, "sad ratio": 0.655, "colour ratio": 0.6}
FIGURES["worse"] = 0.125


@pytest.fixture(scope="module")
def ablate() -> ModuleType:
    return example("ablate")


def test_what_has_been_run_is_not_run_again(ablate: ModuleType, tmp_path: Path) -> None:
    data, other, out = tmp_path / "data", tmp_path / "other", tmp_path / "out"
    for folder, names in ((data, ("valid-000", "train-000")), (other, ("valid-000", "train-007"))):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.npy").write_text(folder.name)
    for row in ("as it is", "masks of one network"):
        (out / row).mkdir(parents=True)
        (out / row / "figures.json").write_text(json.dumps(FIGURES))
    arguments = ["--shards", data, "--out", out, "--more", f"masks of one network={other}"]
    arguments += ["--only", "as it is", "--only", "masks of one network"]
    done = CliRunner().invoke(ablate.main, [str(a) for a in arguments], catch_exceptions=False)
    assert "| as it is | 17.25 | 65.5% | 60.0% | 12.5% |" in done.output
    assert "| masks of one network | 17.25 |" in done.output
    linked = out / "data of masks of one network"
    assert {p.name for p in linked.iterdir()} == {"valid-000.npy", "train-007.npy"}
    assert (linked / "valid-000.npy").read_text() == "data"  # all are measured on the same


def test_a_training_that_fails_leaves_no_figures(ablate: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no train-"):
        ablate.train(tmp_path, tmp_path / "run", 1, [])
    assert not (tmp_path / "run" / "figures.json").exists()


def test_the_sheet_of_subjects_shows_held_out_photos_only(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20):
        picture = np.full((200, 200, 3), 255, np.uint8)
        picture[60:140, 60:140] = (200, 40, 20)
        Image.fromarray(picture).save(photos / f"things_{number:02}.png")
    subjects = example("subjects")
    chosen = subjects.chosen(tmp_path, "^things", 60)
    assert 0 < len(chosen) < 20 and subjects.chosen(tmp_path, "^nothing", 60) == []
    sheet = tmp_path / "sheet.png"
    done = CliRunner().invoke(
        subjects.main, [str(tmp_path), "--count", "1", "-o", str(sheet)], catch_exceptions=False
    )
    assert done.output.strip() == str(sheet)
    with Image.open(sheet) as page:
        green = (np.asarray(page.convert("RGB")) == (0, 177, 64)).all(-1)
    assert green.mean() > 0.1


def test_the_plot_of_growth_is_a_picture_of_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="plots need the eval extra")
    growth = example("growth")
    monkeypatch.setattr(growth, "DISCS", (0,))
    (few,) = growth.tiles(rounds=1)
    assert 0 < few[0] < 20 and few[1] > 0
    line = [(1.0, 2.0), (10.0, 4.0)]
    growth.plot(line, line, [few, (few[0] + 1, 1.0)], line, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.format == "PNG" and picture.width > 900
