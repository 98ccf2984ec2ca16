"""What the bundled models reach on the built-in set, to be held by a test.

``python -m tests.eval.bounds`` measures and writes bounds.json; do so when better models come in.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from eval import methods
from eval.builtin import builtin
from eval.measure import measure
from eval.methods import Input

FILE = Path(__file__).with_name("bounds.json")
FIGURES = ("psnr", "psnr@edge", "ssim", "sad", "gradient", "foreground", "composite")


def reached() -> dict[str, dict[str, float]]:
    """Mean figures of stage 1 and of Wisp over one scene of each kind, by method."""
    specs = methods.parse("coarse,wisp")
    built = {spec.label: methods.build(spec) for spec in specs}
    figures_of: dict[str, list[dict[str, float]]] = {label: [] for label in built}
    for sample in builtin(each=1).samples:
        scene = sample.load()
        for label, method in built.items():
            answer = method(Input(scene.name, scene.data, scene.image))
            figures_of[label].append(measure(methods.as_rgba(scene.image, answer), scene))
    return {
        label: {name: round(float(np.mean([one[name] for one in all_])), 4) for name in FIGURES}
        for label, all_ in figures_of.items()
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(reached(), indent=2) + "\n")
    print(FILE.read_text(), end="")
