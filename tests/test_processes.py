"""More than one process: forks, pickles, and the threads that a session takes."""

from __future__ import annotations

import ast
import configparser
import os
import pickle
import re
import runpy
import subprocess
import sys
import urllib.request
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wisp
from pipeline import Cutout, Settings
from pipeline.errors import ModelMissing
from pipeline.models import providers
from tests import networks
from tests.conftest import encoded, in_time

ROOT = Path(__file__).parents[1]

# The parent has cut a photo out, so its threads exist. Children: one cuts, one does nothing, one
# is forked by a child. Each must end by itself, through all that Python does at exit.
FORK = """
import os, sys, time
import numpy as np
import wisp
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_gunicorn_loads_first_and_replaces_its_workers(tmp_path, photo):
    """The program of the document, with workers that are replaced after two requests each."""
    pytest.importorskip("gunicorn")
    text = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    section = text.partition("## gunicorn\n")[2]
    (tmp_path / "app.py").write_text(section.partition("```python\n")[2].partition("```")[0])
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--preload"]
    command += ["--workers", "2", "--max-requests", "2", "--timeout", "60", "app:app"]
    log = tmp_path / "log"
    with open(log, "wb") as stream:
        server = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=stream,
            stderr=stream,
        )
    try:
        in_time(lambda: "Listening at" in log.read_text())
        url = log.read_text().partition("Listening at: ")[2].split()[0]
        for _ in range(6):
            request = urllib.request.Request(url, encoded(photo, "JPEG"))
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert Image.open(answer).mode == "RGBA"
    finally:
        server.terminate()
        server.wait(60)
    logged = log.read_text()
    assert logged.count("Booting worker") > 2 and "TIMEOUT" not in logged
    # They are ended by SIGTERM when the server is; none may have crashed, or hung until killed.
    assert not any(name in logged for name in ("SIGKILL", "SIGSEGV", "SIGABRT"))


def test_a_cutout_is_pickled_as_its_settings(tmp_path, photo):
    stage1, stage2 = networks.stage1(tmp_path / "a.onnx"), networks.stage2(tmp_path / "b.onnx")
    cutout = Cutout(Settings(model=str(stage1), refiner=str(stage2), threads=1))
    data = pickle.dumps(cutout)
    assert len(data) < 1000
    other = pickle.loads(data)
    assert other.settings == cutout.settings
    assert np.array_equal(other(photo).alpha, cutout(photo).alpha)


def test_a_cutout_for_masks_opens_stage_1_for_a_photo_without_one(tmp_path, photo):
    stage1, mask = networks.stage1(tmp_path / "a.onnx"), np.ones(photo.shape[:2], np.float32)
    plain = Cutout(model=str(stage1), refine=False)
    late = pickle.loads(pickle.dumps(Cutout(plain.settings, for_masks=True)))
    moved = stage1.rename(tmp_path / "away.onnx")
    assert late(photo, mask=mask).alpha.min() == 1
    with pytest.raises(ModelMissing, match="there is no file"):
        late(photo)
    moved.rename(stage1)
    assert np.array_equal(late(photo).alpha, plain(photo).alpha)


def test_a_session_leaves_the_cores_to_others_while_it_waits(tmp_path):
    path = networks.stage1(tmp_path / "a.onnx")
    options = providers.open_session(path, ("CPUExecutionProvider",), 0).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == providers.usable_cores()


@pytest.mark.skipif(sys.platform != "linux", reason="counts pages as Linux does")
def test_a_compact_process_does_not_fetch_its_memory_again_and_again():
    code = """
import resource
import numpy as np
from pipeline import Cutout
from pipeline.memory import compact

compact()
photo = np.full((1080, 1920, 3), 40, np.uint8)
photo[200:900, 500:1400] = 220
cutout = Cutout()
cutout(photo)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
cutout(photo)
used = resource.getrusage(resource.RUSAGE_SELF)
fetched = (used.ru_minflt - before) * resource.getpagesize()
assert fetched < 1024 * used.ru_maxrss, f"{fetched / 1e6:.0f} MB of {used.ru_maxrss / 1e3:.0f}"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_usable_cores_are_those_of_the_process_not_of_the_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(Path, "read_text", lambda _: "max 100000\n")
    assert providers.usable_cores() == 2
    monkeypatch.setattr(Path, "read_text", lambda _: "50000 100000\n")
    assert providers.usable_cores() == 1


SHORT = """
import resource, sys
from pathlib import Path
from pipeline.cli import main, run

class Limited(run.Cutout):
    def __init__(self, settings, for_masks):
        super().__init__(settings)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 20_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

run.Cutout = Limited
main(["cut", "a.png", "b.png", "-o", "out"], prog_name="wisp")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the address space")
def test_too_little_memory_is_said_in_one_line(tmp_path):
    for name in "ab":
        Image.new("RGB", (4000, 3000), (9, 99, 200)).save(tmp_path / f"{name}.png")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SHORT],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    first, second, last = done.stderr.splitlines()
    assert "memory" in first and "memory" in second and "unexpected" not in done.stderr
    assert last == "0 done, 0 skipped, 2 failed"


NO_HOME = """
import os, pwd, sys
def unknown(uid): raise KeyError(uid)
os.environ.pop("HOME", None)
pwd.getpwuid = unknown
from pipeline.cli import main
main(sys.argv[1:], prog_name="wisp")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="another system has other homes")
def test_a_user_without_a_home(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.png")
    networks.stage1(tmp_path / "mine.onnx")
    left_out = ("WISP_", "XDG_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    environment["PYTHONPATH"] = str(ROOT)
    for model, code, says in (
        ("x", 2, "no model 'x'"),
        ("mine.onnx", 0, "→"),
        ("u2netp", 2, "WISP_HOME"),
    ):
        command = [sys.executable, "-c", NO_HOME, "cut", "a.png", "-o", "b.png", "--model", model]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code and says in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


def test_pyinstaller_finds_the_hook_and_the_hook_the_weights():
    hooks = pytest.importorskip("PyInstaller.utils.hooks")
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    entry = config["options.entry_points"]["pyinstaller40"].partition("=")[2].strip()
    module, _, name = entry.partition(":")
    (folder,) = getattr(import_module(module), name)()
    hook = runpy.run_path(str(Path(folder) / "hook-pipeline.py"))
    packed = {Path(source).name for source, _ in hook["datas"]}
    assert packed >= {"coarse_int8.onnx", "refiner_int8.onnx", "confidence.json"}
    for name in hook["hiddenimports"]:
        assert not name.startswith("pipeline") or find_spec(name)
    assert hooks


def test_the_programs_in_the_document_name_what_there_is():
    text = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(programs) >= 3
    for program in programs:
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom) and node.module == "wisp":
                assert {alias.name for alias in node.names} <= set(wisp.__all__)
