"""What `wisp cut` is told to cut: options, masks by name, a file for each subject."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pipeline import cli, models
from pipeline.errors import ModelMissing
from pipeline.models import store
from pipeline.settings import Settings
from tests import networks


@pytest.fixture(scope="module")
def nets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    networks.stage1(folder / "bright.onnx", gain=6.0)
    networks.stage2(folder / "same.onnx")
    return folder


@pytest.fixture
def run(nets, tmp_path, monkeypatch):
    """Call ``wisp cut`` in a folder with a photo of two bright squares, on grey."""
    monkeypatch.chdir(tmp_path)
    photo = np.zeros((200, 300, 3), np.uint8)
    photo[50:150, 30:130] = photo[80:120, 200:240] = 255
    Image.fromarray(photo).save("two.png")

    def call(*arguments: str) -> Result:
        models = ("--model", str(nets / "bright.onnx"), "--refiner", str(nets / "same.onnx"))
        result = CliRunner().invoke(cli.main, ["cut", *arguments, *models])
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result

    return call


def alpha(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGBA"))[..., 3]


def test_a_box_in_shares_and_in_pixels(run):
    assert run("two.png", "-o", "a.png", "--box", "0.5,0,1,1").exit_code == 0
    assert alpha("a.png")[100, 220] > 240 and alpha("a.png")[:, :150].max() == 0
    assert run("two.png", "-o", "b.png", "--box", "150,0,300,200").exit_code == 0
    assert np.array_equal(alpha("a.png"), alpha("b.png"))


def test_points(run):
    assert run("two.png", "-o", "a.png", "--point", "220,100").exit_code == 0
    assert alpha("a.png")[100, 220] > 240 > 20 > alpha("a.png")[100, 80]
    assert run("two.png", "-o", "b.png", "--not-point", "220,100").exit_code == 0
    assert alpha("b.png")[100, 80] > 240 > 20 > alpha("b.png")[100, 220]


def test_a_mask_of_ones_own(run):
    mask = np.zeros((200, 300), np.uint8)
    mask[20:60, 20:280] = 255
    Image.fromarray(mask).save("mine.png")
    assert run("two.png", "-o", "a.png", "--mask", "mine.png").exit_code == 0
    assert alpha("a.png")[40, 150] > 240 > 20 > alpha("a.png")[100, 80]


def test_where_a_mask_is_given_stage_1_is_neither_fetched_nor_opened(run, monkeypatch):
    def never(*arguments: object) -> None:
        raise ModelMissing("stage 1 is needed")

    monkeypatch.setattr(store, "ensure", never)
    monkeypatch.setattr(models, "open_coarse", never)
    Image.new("L", (30, 20), 255).save("mine.png")
    for model in (Settings.model, "u2net"):
        command = ["cut", "two.png", "-o", f"{model}.png", "--model", model]
        assert CliRunner().invoke(cli.main, [*command, "--mask", "mine.png"]).exit_code == 0
        without = CliRunner().invoke(cli.main, [*command, "--overwrite"])
        assert without.exit_code != 0 and "stage 1 is needed" in without.output


def test_masks_by_name_and_a_photo_without_one(run):
    for folder in ("photos", "masks"):
        Path(folder).mkdir()
    for name in ("a", "b"):
        Image.open("two.png").save(f"photos/{name}.jpg")
    Image.new("L", (30, 20), 255).save("masks/a.png")
    result = run("photos", "-o", "out", "--mask", "masks")
    assert result.exit_code == 1
    assert "no mask" in result.output and "b.jpg" in result.output
    assert alpha("out/a.png").min() > 250
    # With another mask the finished one is made anew; with the same it is not.
    assert "1 skipped" in run("photos", "-o", "out", "--mask", "masks").output
    Image.new("L", (60, 40), 255).save("masks/a.png")
    assert "0 skipped" in run("photos", "-o", "out", "--mask", "masks").output


def test_each_subject_in_a_file_of_its_own(run):
    result = run("two.png", "-o", "out.png", "--keep", "each", "--report", "report.json")
    assert result.exit_code == 0
    assert sorted(p.name for p in Path().glob("out*")) == ["out-1.png", "out-2.png"]
    assert alpha("out-1.png")[100, 80] > 240 and alpha("out-1.png")[100, 220] < 20
    assert alpha("out-2.png")[100, 220] > 240 and alpha("out-2.png")[100, 80] < 20
    assert "two.png → out-1.png, out-2.png  " in result.output
    (entry,) = json.loads(Path("report.json").read_text())["files"]
    assert 0 <= entry["confidence"] <= 1
    assert entry["output"] == "out-1.png" and entry["outputs"] == ["out-1.png", "out-2.png"]
    again = run("two.png", "-o", "out.png", "--keep", "each")
    assert "out-1.png, out-2.png are finished already" in again.output


def test_a_script_finds_every_subjects_file(run):
    Path("in").mkdir()
    Image.open("two.png").save("in/two.png")
    Path("in/wrong.png").write_bytes(b"no picture")
    command = ("in", "-o", "out", "--keep", "each", "--json", "-q")

    def outputs() -> dict[str, list[str]]:
        lines = [line for line in run(*command).stdout.splitlines() if line.startswith("{")]
        return {entry["status"]: entry["outputs"] for entry in map(json.loads, lines)}

    files = [str(Path("out") / f"two-{number}.png") for number in (1, 2)]
    assert outputs() == {"done": files, "failed": []}
    Image.new("RGBA", (300, 200)).save("out/two-3.png")  # another's
    assert outputs() == {"skipped": files, "failed": []}


def test_of_many_subjects_the_first_and_the_last_are_named(run):
    photo = np.zeros((200, 300, 3), np.uint8)
    for left in range(10, 290, 48):
        photo[60:140, left : left + 28] = 255
    Image.fromarray(photo).save("many.png")
    result = run("many.png", "-o", "out.png", "--keep", "each")
    assert "→ out-1.png to out-6.png (6 files)  " in result.output


def test_a_place_is_called_what_it_was_given_as(run):
    assert "at the point 0.5,0.05" in run("two.png", "--point", "0.5,0.05").output


def test_the_largest_alone_and_other_settings_are_another_cutout(run):
    assert run("two.png", "-o", "a.png").exit_code == 0
    assert alpha("a.png")[100, 220] > 240
    assert run("two.png", "-o", "a.png", "--keep", "largest").exit_code == 0
    assert alpha("a.png")[100, 220] < 20


@pytest.mark.parametrize(
    "arguments",
    [
        ("--box", "1,2,3"),
        ("--box", "a,b,c,d"),
        ("--box", "0.2,0.2,0.2,0.9"),
        ("--point", "5"),
        ("--box", "0.5,0.5,1.5,1.5"),
        ("--point", "1.2,0.5"),
        ("--box", "0.5,0,1,1", "--point", "0.2,0.5"),
        ("--point", "0.2,0.5", "--not-point", "0.2,0.5"),
        ("--smallest-hole", "5"),
        ("--mask", "nowhere.png"),
        ("--mask", "two.png", "--box", "0,0,1,1"),
        ("--keep", "each", "-o", "-"),
    ],
)
def test_wrong_usage(run, arguments):
    result = run("two.png", *arguments)
    assert result.exit_code == 2, result.output
    assert not list(Path().glob("*cutout*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--box", "100,100,400,200"), "300x200"),
        (("--box", "0,0,2,2"), "2x2 px"),
        (("--box", "0.5,0,1,1", "--point", "80,100"), "outside of the box"),
    ],
)
def test_what_does_not_fit_the_photo_fails_that_photo(run, arguments, said):
    result = run("two.png", *arguments)
    assert result.exit_code == 1
    assert said in result.output
