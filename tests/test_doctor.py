"""What ``wisp doctor`` finds, and whether it notices what is wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline import cli, doctor, models
from tests import networks


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Models in the catalogue that take dark for subject, as the ball of the test picture is."""

    def install(gain: float = -8.0, sha256: str | None = None) -> None:
        for catalogue, path in (
            (models.COARSE, networks.stage1(tmp_path / "coarse.onnx", gain)),
            (models.REFINERS, networks.stage2(tmp_path / "refiner.onnx")),
        ):
            known = models.checksum(path) if sha256 is None else sha256
            card = replace(catalogue["wisp"], path=path, sha256=known)
            monkeypatch.setitem(catalogue, "wisp", card)
            for other in [name for name in catalogue if name != "wisp"]:
                monkeypatch.delitem(catalogue, other)

    return install


def test_all_is_well(installed):
    installed()
    result = CliRunner().invoke(cli.main, ["doctor"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[-1] == "All is well."
    assert sum(line.startswith("ok") for line in lines) == 3
    assert sum("checksum matches" in line for line in lines) == 2
    assert f"numpy {np.__version__}" in result.output
    assert "CPUExecutionProvider" in result.output


def test_json(installed):
    installed()
    result = CliRunner().invoke(cli.main, ["doctor", "--json"])
    findings = json.loads(result.output)
    assert findings["well"] is True
    assert {"versions", "cpu", "providers", "formats", "models", "cutout"} <= findings.keys()
    assert findings["cpu"]["cores"] >= findings["cpu"]["usable"] >= 1
    assert [model["stage"] for model in findings["models"]] == [1, 2]


def test_a_model_that_was_changed(installed):
    installed(sha256="0" * 64)
    result = CliRunner().invoke(cli.main, ["doctor"])
    assert result.exit_code == 1
    assert result.output.count("not the file it was") == 2


def test_a_model_that_is_missing(installed, tmp_path):
    installed()
    (tmp_path / "coarse.onnx").unlink()
    result = CliRunner().invoke(cli.main, ["doctor"])
    assert result.exit_code == 1
    assert "coarse.onnx: missing" in result.output
    assert "BAD  test cutout" in result.output and "Traceback" not in result.output


def test_a_model_that_finds_the_wrong_thing(installed):
    installed(gain=8.0)
    findings = doctor.examine()
    assert not findings["cutout"]["well"] and not findings["well"]
    assert all(model["well"] for model in findings["models"])


def test_the_test_picture():
    image, ball = doctor.picture()
    assert image.shape == (480, 640, 3) and image.dtype == np.uint8
    assert 0.1 < ball.mean() < 0.3
    assert np.abs(image[ball].mean(0) - image[~ball].mean(0)).max() > 50
