"""What the container is made of: pinned, and listed with the data of its weights."""

from __future__ import annotations

import json
import re
from configparser import ConfigParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from tests.conftest import example

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def names(text: str) -> set[str]:
    names = re.findall(r"^([A-Za-z0-9._-]+)(?=[\[=<>~!; ]|$)", text, flags=re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def test_the_lock_pins_everything_by_hash_and_names_no_host() -> None:
    entries = re.split(r"\n(?=[a-z0-9])", LOCK.strip())
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==\S+ ", entry) and "--hash=sha256:" in entry
    assert "://" not in LOCK and "index" not in LOCK


def test_what_the_containers_are_made_from_is_pinned_by_digest() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    bases = re.findall(r"^ARG BASE=(\S+)", dockerfile, flags=re.MULTILINE)
    images = re.findall(r"^ +image: (\S+)", compose, flags=re.MULTILINE)
    assert len(bases) == 1 and len(images) == 2
    assert all(
        re.fullmatch(r"[a-z]+:[a-z0-9.-]+@sha256:[0-9a-f]{64}", one) for one in bases + images
    )
    assert set(re.findall(r"^FROM (\S+)", dockerfile, flags=re.MULTILINE)) == {"${BASE}"}


@pytest.mark.parametrize("extra", ["", "serve", "redis", "heic"])
def test_the_lock_has_what_the_image_needs(extra: str) -> None:
    config = ConfigParser(inline_comment_prefixes=("#",))
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    wanted = (
        config["options.extras_require"][extra] if extra else config["options"]["install_requires"]
    )
    needed = [Requirement(line) for line in wanted.split("\n") if line.strip()]
    image = {"python_version": "3.12", "sys_platform": "linux"}
    here = [one.name for one in needed if one.marker is None or one.marker.evaluate(image)]
    assert names("\n".join(here)) <= names(LOCK)


def test_the_bill_lists_packages_and_the_data_of_each_set_of_weights(tmp_path: Path) -> None:
    packages, out = tmp_path / "packages.json", tmp_path / "sbom.json"
    packages.write_text(json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "numpy"}]}))
    words = [str(packages), "-o", str(out)]
    done = CliRunner().invoke(example("sbom").main, words, catch_exceptions=False)
    assert done.exit_code == 0
    bom = json.loads(out.read_text(encoding="utf-8"))
    assert bom["metadata"]["component"]["name"] == "wispcut"
    assert bom["components"][0] == {"name": "numpy"}
    models = {one["name"]: one for one in bom["components"][1:]}
    assert set(models) == {path.name for path in (ROOT / "pipeline" / "weights").glob("*.onnx")}
    for model in models.values():
        data = model["modelCard"]["modelParameters"]["datasets"]
        assert len(data) >= 5 and all("terms: " in one["description"] for one in data)
        assert re.fullmatch("[0-9a-f]{64}", model["hashes"][0]["content"])
