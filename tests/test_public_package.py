"""``import wisp``: the public face, and what happens beside another module called ``pipeline``."""

import subprocess
import sys
from pathlib import Path

import pipeline
import wisp

ROOT = Path(__file__).parents[1]


def run(folder: Path, script: str, **files: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder that also holds the given modules."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "script.py").write_text(f"import sys; sys.path.append({str(ROOT)!r})\n{script}")
    command = [sys.executable, "-W", "default", "script.py"]
    return subprocess.run(command, cwd=folder, env={"PATH": ""}, capture_output=True, text=True)


def test_it_hands_out_the_public_names():
    assert wisp.__all__ == pipeline.__all__ and wisp.__version__ == pipeline.__version__
    for name in wisp.__all__:
        assert getattr(wisp, name) is getattr(pipeline, name)


def test_another_pipeline_in_the_scripts_folder_is_passed_over_and_named(tmp_path):
    done = run(tmp_path, "from wisp import Settings\nprint(Settings().model)", pipeline="")
    assert done.returncode == 0 and done.stdout == "wisp\n"
    assert "pipeline.py is hidden" in done.stderr


def test_another_pipeline_that_is_loaded_is_named_in_one_line(tmp_path):
    done = run(tmp_path, "import pipeline\nimport wisp", pipeline="")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: wisp needs its own module") and "pipeline.py" in last


def test_a_script_called_pipeline_may_import_wisp(tmp_path):
    text = f"import sys; sys.path.append({str(ROOT)!r})\nfrom wisp import Settings\nprint('fine')"
    (tmp_path / "pipeline.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "pipeline.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "fine\n" and done.stderr == ""
