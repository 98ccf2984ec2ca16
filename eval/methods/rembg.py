"""The real rembg (github.com/danielgatis/rembg), with the same stage-1 weights as everyone else.

Its ``u2net_custom`` session takes weights only from inside its own models folder; so such a
folder is made, for this process alone, and the file is put there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eval.methods.protocol import Input, Kind, Method, MethodError, Options
from pipeline import Settings, models


def _build(options: Options, **how: bool) -> Method:
    card = models.coarse_model(options.get("model", Settings().model))
    if card.size != (320, 320) or not card.scale_by_max:
        raise MethodError(f"rembg's custom session cannot feed {card.path.name} as it needs")

    from rembg import new_session, remove

    # Once the session is made it holds the weights; a worker is killed, and could not tidy up.
    with tempfile.TemporaryDirectory(prefix="wisp-bench-rembg-") as home:
        os.environ["U2NET_HOME"] = home
        weights = str(Path(home, card.path.name))
        # Elsewhere, so that the memory of what it needs does not count as rembg's.
        words = [sys.executable, "-m", "eval.plain", str(card.path), weights]
        subprocess.run(words, check=True)
        session = new_session("u2net_custom", model_path=weights)

    def run(photo: Input) -> NDArray:
        return np.asarray(remove(Image.fromarray(photo.image), session=session, **how))

    return run


def _plain(options: Options) -> Method:
    return _build(options)


def _putalpha(options: Options) -> Method:
    return _build(options, putalpha=True)


def _decontaminate(options: Options) -> Method:
    return _build(options, decontaminate=True)


def _matting(options: Options) -> Method:
    return _build(options, alpha_matting=True)  # its defaults: 240, 10, 10


KINDS = {
    "rembg": Kind("rembg as it comes", ("model",), _plain, ("rembg",), "peers", ours=False),
    "rembg-putalpha": Kind(
        "rembg, mask put on the photo's colours",
        ("model",),
        _putalpha,
        ("rembg",),
        "peers",
        ours=False,
    ),
    "rembg-decontaminate": Kind(
        "rembg, foreground colours estimated",
        ("model",),
        _decontaminate,
        ("rembg", "pymatting"),
        "peers",
        ours=False,
    ),
    "rembg-matting": Kind(
        "rembg with alpha matting (closed form, 240/10/10)",
        ("model",),
        _matting,
        ("rembg", "pymatting"),
        "peers",
        ours=False,
    ),
}
