"""The examples of docs/service.md, run as they stand against a server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.service.conftest import encoded
from tests.service.live import live

PAGE = (Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
SECTION = re.split(r"^#{2,4} ", PAGE.split("#### Say what to cut\n")[1], flags=re.MULTILINE)[0]
EXAMPLES = dict(re.findall(r"```(\w+)\n(.*?)```", SECTION, re.DOTALL))
RUN = {
    "sh": ("curl", ["sh", "-e"], "example.sh"),
    "python": (sys.executable, [sys.executable], "example.py"),
    "js": ("node", ["node"], "example.mjs"),
}


@pytest.fixture(scope="module")
def server(nets, tmp_path_factory):
    with live(nets, tmp_path_factory.mktemp("examples") / "data", "--no-web") as server:
        yield server


def test_each_example_is_run():
    assert EXAMPLES.keys() == RUN.keys()


@pytest.mark.parametrize("language", RUN)
def test_an_example_does_what_it_says(server, tmp_path, photo, language):
    tool, command, name = RUN[language]
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    (tmp_path / "photo.jpg").write_bytes(photo)
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    (tmp_path / "mask.png").write_bytes(encoded(mask, "PNG"))
    example = EXAMPLES[language].replace("http://localhost:8000", server.url)
    (tmp_path / name).write_text(example)
    done = subprocess.run([*command, name], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    alphas = {}
    for made in ("box", "largest", "mask-cutout", "brush"):
        with Image.open(tmp_path / f"{made}.png") as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (512, 512))
            alphas[made] = np.asarray(picture.getchannel("A"))
    assert alphas["box"][:, :50].max() == alphas["box"][:50].max() == 0
    assert alphas["mask-cutout"][256, 256] == 255 and alphas["mask-cutout"][20, 20] == 0
    assert alphas["brush"][round(0.7 * 512), round(0.55 * 512)] == 255
