"""The simulated run: small, but with every kind of trouble."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("pyarrow")
from click.testing import CliRunner

from tests.conftest import example


def test_a_simulated_run_has_each_photo_once():
    wish = ["--photos", "3000", "--machines", "4", "--failing", "0.3", "--lost", "20"]
    done = CliRunner().invoke(example("simulate").main, wish)
    assert done.exit_code == 0, done.output  # the command itself counts rows and photos
    assert "3000 photos, 4 shards, 4 machines" in done.output
    numbers = re.search(r"machines lost (\d+); calls (\d+), of which repeated (\d+)", done.output)
    assert numbers
    lost, calls, repeated = map(int, numbers.groups())
    assert lost and calls > 6000 and 0.25 < repeated / calls < 0.35
