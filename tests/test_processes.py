"""More than one process: forks, pickles, and the threads that a session takes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import Cutout, Settings
from pipeline.models import providers
from tests import networks

ROOT = Path(__file__).parents[1]

# The parent has cut a photo out, so its threads exist. Children: one cuts, one does nothing, one
# is forked by a child. Each must end by itself, through all that Python does at exit.
FORK = """
import os, sys, time
import numpy as np
from pipeline import Cutout, Settings

photo = np.zeros((700, 900, 3), np.uint8)
photo[200:500, 300:600] = 220
threads = int(sys.argv[1])
cutout = Cutout(Settings(threads=threads))
expected = cutout(photo).alpha

def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        sys.exit(0)
    for _ in range(200):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0, status
            return
        time.sleep(0.1)
    os.kill(pid, 9)
    raise AssertionError("the child hangs")

def cut():
    assert np.array_equal(cutout(photo).alpha, expected)

child(cut)
child(lambda: None)
child(lambda: (cut(), child(cut)))
cut()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("threads", [1, 2, 4, 8])
def test_a_forked_child_cuts_photos_out_and_ends(threads):
    command = [sys.executable, "-c", FORK, str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_cutout_is_pickled_as_its_settings(tmp_path, photo):
    stage1, stage2 = networks.stage1(tmp_path / "a.onnx"), networks.stage2(tmp_path / "b.onnx")
    cutout = Cutout(Settings(model=str(stage1), refiner=str(stage2), threads=1))
    data = pickle.dumps(cutout)
    assert len(data) < 1000
    other = pickle.loads(data)
    assert other.settings == cutout.settings
    assert np.array_equal(other(photo).alpha, cutout(photo).alpha)


def test_a_session_leaves_the_cores_to_others_while_it_waits(tmp_path):
    path = networks.stage1(tmp_path / "a.onnx")
    options = providers.open_session(path, ("CPUExecutionProvider",), 0).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == providers.usable_cores()


def test_usable_cores_are_those_of_the_process_not_of_the_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(Path, "read_text", lambda _: "max 100000\n")
    assert providers.usable_cores() == 2
    monkeypatch.setattr(Path, "read_text", lambda _: "50000 100000\n")
    assert providers.usable_cores() == 1
