"""Stage 1 without its hints, for tools that feed a photo alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

from eval import plain
from pipeline import models
from tests import networks

pytest.importorskip("onnx", reason="the extra 'models'")


@pytest.mark.parametrize("name", ["wisp", "wisp-fp32"])
def test_it_answers_as_the_network_does_when_nothing_is_said(name: str, tmp_path: Path) -> None:
    source = models.COARSE[name].path
    target = tmp_path / "report" / "plain.onnx"
    done = CliRunner().invoke(plain.main, [str(source), str(target)])
    assert done.exit_code == 0, done.output
    photo = np.random.default_rng(0).standard_normal((1, 3, 96, 64)).astype(np.float32)
    whole, alone = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (source, target)
    )
    assert [entry.name for entry in alone.get_inputs()] == ["input"]
    silent = np.zeros((1, 2, 96, 64), np.float32)
    expected = whole.run(None, {"input": photo, "hints": silent})[0]
    np.testing.assert_allclose(alone.run(None, {"input": photo})[0], expected, atol=1e-6)


def test_a_network_without_hints_is_copied(tmp_path: Path) -> None:
    source = networks.stage1(tmp_path / "stage1.onnx")
    target = plain.without_hints(source, tmp_path / "copy.onnx")
    assert target.read_bytes() == source.read_bytes()
