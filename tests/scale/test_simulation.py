"""The simulated run: small, but with every kind of trouble."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
from click.testing import CliRunner

EXAMPLE = Path(__file__).parents[2] / "examples" / "simulate.py"


def test_a_simulated_run_has_each_photo_once():
    spec = importlib.util.spec_from_file_location("simulate", EXAMPLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulate"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    wish = ["--photos", "3000", "--machines", "4", "--failing", "0.3", "--lost", "20"]
    done = CliRunner().invoke(module.main, wish)
    assert done.exit_code == 0, done.output  # the command itself counts rows and photos
    assert "3000 photos, 4 shards, 4 machines" in done.output
    numbers = re.search(r"machines lost (\d+); calls (\d+), of which repeated (\d+)", done.output)
    assert numbers
    lost, calls, repeated = map(int, numbers.groups())
    assert lost and calls > 6000 and 0.25 < repeated / calls < 0.35
