"""``wisp models``."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from pipeline import ModelError, ModelMissing
from pipeline.cli import main
from pipeline.cli.models import models
from pipeline.models import store
from pipeline.models.catalogue import PUBLIC
from tests import networks


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WISP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "rembg"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "home"


@pytest.fixture
def u2net(tmp_path, monkeypatch):
    """A tiny file that counts as the published u2net."""
    path = networks.stage1(tmp_path / "u2net.onnx")
    content = path.read_bytes()
    card = replace(
        PUBLIC["u2net"],
        length=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        md5=hashlib.md5(content).hexdigest(),
    )
    monkeypatch.setitem(PUBLIC, "u2net", card)
    return path


def wisp(*arguments: object) -> Result:
    return CliRunner().invoke(models, list(map(str, arguments)))


def rows() -> dict[tuple[str, int], dict]:
    return {(row["name"], row["stage"]): row for row in json.loads(wisp("--json").output)}


def test_the_list_has_all_and_their_state(home, u2net, tmp_path):
    before = rows()
    permissive = {"wisp-permissive", "wisp-permissive-fp32"}
    assert {name for name, _ in before} == {"wisp", "wisp-fp32", *permissive, *PUBLIC}
    assert all((name, 1) not in before for name in permissive)
    assert before["u2net", 1]["state"] == "available"
    assert before["birefnet-portrait", 1]["bytes"] == 972_666_916
    wisp("import", u2net)
    wisp("import", networks.stage2(tmp_path / "edges.onnx"), "--like", "refiner")
    wisp("import", u2net, "--like", "u2net", "--name", "mine", "--licence", "MIT")
    after = rows()
    assert after["u2net", 1]["state"] == "downloaded"
    assert after["edges", 2]["state"] == "imported"
    assert (after["mine", 1]["state"], after["mine", 1]["licence"]) == ("imported", "MIT")
    assert after["mine", 1]["path"] == str(home / "models" / "mine.onnx")


def test_the_list_for_people(tmp_path):
    lines = wisp().output.splitlines()
    assert lines[0].split() == ["name", "stage", "state", "size", "licence", "purpose"]
    assert any(line.startswith("silueta") and "44.2 MB" in line for line in lines)
    assert next(line for line in lines if "CC BY-NC" in line).startswith("bria-rmbg")
    assert lines[-1] == "(!) not for commercial use"


def test_what_rembg_has_is_listed_as_its_own(u2net, tmp_path):
    theirs = tmp_path / "rembg" / "u2net.onnx"
    theirs.parent.mkdir()
    theirs.write_bytes(u2net.read_bytes())
    assert rows()["u2net", 1]["state"] == "rembg's"
    assert wisp("path", "u2net").output.strip() == str(theirs)
    assert isinstance(wisp("remove", "u2net").exception, ModelMissing)
    assert theirs.exists()


def test_path_verify_remove(home, u2net):
    target = home / "models" / "u2net.onnx"
    assert wisp("path", "u2net").output.strip() == str(target)
    missing = wisp("verify", "u2net")
    assert (missing.exit_code, "missing" in missing.output) == (1, True)
    wisp("import", u2net)
    assert wisp("verify", "u2net").output.startswith("u2net: ok")
    assert wisp("verify", "u2net").exit_code == 0
    target.write_bytes(target.read_bytes()[:-1])
    broken = wisp("verify", "u2net")
    assert broken.exit_code == 1
    assert "bytes instead of" in broken.output
    assert str(target) in wisp("remove", "u2net").output
    assert not target.exists()
    assert isinstance(wisp("verify", "nonesuch").exception, ModelMissing)


def test_download(home, u2net, monkeypatch):
    monkeypatch.setenv("WISP_MODELS_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("pipeline.models.download.PATIENCE", 1)
    assert isinstance(wisp("download", "u2net").exception, ModelError)
    assert isinstance(wisp("download", "wisp").exception, ModelMissing)
    wisp("import", u2net)
    assert wisp("download", "u2net").output.strip() == str(home / "models" / "u2net.onnx")


def test_show(u2net, tmp_path):
    before = wisp("show", "u2net").output
    assert PUBLIC["u2net"].url in before
    assert PUBLIC["u2net"].sha256 in before
    assert "not here yet" in before
    edges = networks.stage2(tmp_path / "edges.onnx")
    (tmp_path / "MODEL_CARD_edges.md").write_text("# Trained on my own cats")
    shown = wisp("show", edges).output
    assert "2, edges" in shown
    assert "input:     patches ['n', 4, 128, 128]" in shown
    assert store.checksum(edges) in shown
    assert "# Trained on my own cats" in shown
    assert "1, coarse mask" in wisp("show", networks.stage1(tmp_path / "a.onnx")).output


def test_what_is_neither_stage_is_told_so(tmp_path):
    from onnx import helper

    path = networks.save(
        tmp_path / "other.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [networks.value("x", [1])],
        [networks.value("y", [1])],
    )
    with pytest.raises(ModelError, match="stage 1 needs one input"):
        raise wisp("show", path).exception  # type: ignore[misc]


# Within the command wisp.


def test_help_names_the_commands_without_loading_them():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from pipeline.cli import main\n"
        "print(CliRunner().invoke(main, ['--help']).output)\n"
        "assert not {'pipeline.cli.models', 'pipeline.explain'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "models   List models" in done.stdout
    assert "explain  Show what happens inside" in done.stdout


def test_errors_end_the_command_with_one_line(u2net, monkeypatch):
    monkeypatch.setenv("WISP_MODELS_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("pipeline.models.download.PATIENCE", 1)
    offline = CliRunner().invoke(main, ["models", "download", "u2net"])
    assert offline.exit_code == 1
    assert offline.stderr.splitlines()[-1].startswith("Error: u2net cannot be had: http://127.0")
    unknown = CliRunner().invoke(main, ["models", "path", "nonesuch"])
    assert unknown.exit_code == 2
    assert "no model 'nonesuch'" in unknown.stderr


def test_cut_fetches_on_first_use_and_says_so_unless_quiet(u2net, tmp_path, monkeypatch):
    from PIL import Image

    fetched = []

    def fetch(name: str, quiet: bool = False):
        fetched.append((name, quiet))
        return u2net

    monkeypatch.setattr(store, "fetch", fetch)
    Image.new("RGB", (40, 30), "white").save(tmp_path / "a.png")
    arguments = ["cut", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png"), "--no-refine"]
    result = CliRunner().invoke(main, [*arguments, "--model", "u2net", "--quiet"])
    assert result.exit_code == 0, result.stderr
    assert fetched[0] == ("u2net", True)
    assert (tmp_path / "b.png").exists()


def test_a_device_that_is_not_there_is_an_error(u2net, tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    arguments = ["cut", str(tmp_path / "a.png"), "--model", str(u2net), "--no-refine"]
    result = CliRunner().invoke(main, [*arguments, "--device", "coreml"])
    assert result.exit_code == 2
    assert "no CoreMLExecutionProvider here: install onnxruntime, on a Mac" in result.stderr
    assert not (tmp_path / "a-cutout.png").exists()
