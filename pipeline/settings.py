"""The settings of a cutout, each default with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any

from pipeline.errors import SettingsError, quoted


@dataclass(frozen=True)
class Settings:
    """How photos are cut out. Raises :class:`SettingsError` when a value is out of range."""

    #: Stage 1: a catalogue name, or the path of a U²-Net-shaped ONNX file.
    model: str = "wisp"

    #: Looks of stage 1 at a photo, 1 or 2: see :mod:`pipeline.views`. The second takes 2 % off the
    #: error and finds 2 % more subjects (docs/subject.md), in half the time of the first with the
    #: bundled network, in as much again with others.
    views: int = 2

    #: Whether stage 2 redraws the edge; without it the result is stage 1 alone, as elsewhere.
    refine: bool = True

    #: Stage 2: a catalogue name, or the path of an ONNX file.
    refiner: str = "wisp"

    #: Sobel gradient, in alpha per stage-1 cell, that makes an edge. A ramp over n cells measures
    #: 1/n: 0.05 takes in the wide soft ramps that stage 1 draws through hair, and no shading.
    roi_threshold: float = 0.05

    #: How far around the edge tiles are laid, in stage-1 cells (1/320 of the side of its last
    #: view): strands that stage 1 missed have no gradient of their own. Stage 2 may add as far as
    #: the tiles lie, so this need not be far: 10 cells take a fifth more tiles, and are no better.
    reach: float = 4.0

    #: How deep into the subject stage 2 may cut, in cells from the edge. Deeper, it takes bright
    #: spots for holes; and on whole held-out scenes what it takes away there earns half a percent
    #: of the absolute error, what it adds there 2 %.
    depth: float = 10.0

    #: Longer side, in px, at least, of the subject's box as stage 2 sees it: from 1.25 times as
    #: much on the photo is reduced, and what comes of it goes back along the photo's own edges
    #: (:mod:`pipeline.detail`). Of 12 megapixels that takes a fifth of the tiles, and a tenth off
    #: the absolute error. Less fades the thinnest hair.
    detail: int = 1080

    #: Patches a generator call. Beyond 8 a CPU gains nothing and memory grows.
    batch_size: int = 8

    #: onnxruntime execution providers, best first. A missing one is an error, never a silent CPU.
    providers: tuple[str, ...] = ("CPUExecutionProvider",)

    #: Threads a network may use; 0 means one a core.
    threads: int = 0

    #: Largest photo, in pixels: 100 megapixels is beyond any camera's JPEG, and well before a
    #: decompression bomb fills the memory.
    max_pixels: int = 100_000_000

    #: Seconds of a processor that decoding a photo may take: the largest allowed one needs half of
    #: it, and a small file that was made to stop everything has no more.
    decode_seconds: float = 10.0

    #: Seconds that the networks may take for a photo: the largest model on a slow machine needs one
    #: or two minutes, and an endless loop in somebody's file has an end.
    network_seconds: float = 600.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("views", 1, 2),
            ("roi_threshold", 0.0, 1.0),
            ("reach", 0.0, 64.0),
            ("depth", 0.0, 64.0),
            ("detail", 128, math.inf),
            ("batch_size", 1, 4096),
            ("threads", 0, 4096),
            ("max_pixels", 1, math.inf),
            ("decode_seconds", 0.1, math.inf),
            ("network_seconds", 0.1, math.inf),
        ):
            value = getattr(self, name)
            if not isinstance(value, Real) or not low <= float(value) <= high:
                raise SettingsError(f"{name} must lie within {low}..{high}, not {quoted(value)}")
        if isinstance(self.providers, str):
            raise SettingsError(f"providers is a tuple of names, not {quoted(self.providers)}")
        if not self.providers:
            raise SettingsError("providers is empty: name at least CPUExecutionProvider")


def changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Replace fields of settings. Raises :class:`SettingsError` for one that there is not."""
    known = [field.name for field in fields(Settings)]
    for name in changes:
        if name not in known:
            raise SettingsError(f"no setting {quoted(name)}: there are {', '.join(known)}")
    return replace(settings, **changes)
