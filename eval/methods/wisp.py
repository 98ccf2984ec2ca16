"""Wisp itself, its first stage alone, and its alpha with other ways to the foreground colour."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from eval.methods.colours import multilevel
from eval.methods.protocol import Input, Kind, Method, MethodError, Options
from pipeline import Cutout, Settings, models, views
from pipeline.errors import quoted

SWITCH = {"on": True, "off": False, "yes": True, "no": False, "1": True, "0": False}


def settings(options: Options) -> Settings:
    """Return Wisp's settings for options model, views, refiner, refine, detail, threshold,
    reach."""
    default = Settings()
    refine = options.get("refine", "on")
    if refine not in SWITCH:
        raise MethodError(f"refine is on or off, not {quoted(refine)}")
    try:
        return Settings(
            model=options.get("model", default.model),
            refiner=options.get("refiner", default.refiner),
            refine=SWITCH[refine],
            views=_looks(options),
            detail=int(options.get("detail", default.detail)),
            roi_threshold=float(options.get("threshold", default.roi_threshold)),
            reach=float(options.get("reach", default.reach)),
        )
    except ValueError as error:
        raise MethodError(f"detail, threshold and reach are numbers: {error}") from error


def stage1(options: Options) -> Method:
    """Stage 1 alone: the coarse mask at the photo's size, not stretched to its extremes."""
    see = stage1_of(options)
    return lambda photo: see(photo.image).mask


def stage1_of(options: Options) -> Callable[[NDArray[np.uint8]], views.Sight]:
    """Return what runs stage 1 on a photo, (H, W, 3) uint8, for options model and views."""
    return _opened(options.get("model", ""), _looks(options))


@lru_cache(maxsize=4)
def _opened(model: str, looks: int) -> Callable[[NDArray[np.uint8]], views.Sight]:
    default = Settings()
    card = models.coarse_model(model or default.model)
    session, card = models.open_coarse(card, default.providers, default.threads)
    return lambda image: views.see(session, card, image, looks)


def _looks(options: Options) -> int:
    looks = options.get("views", str(Settings.views))
    if looks not in ("1", "2"):
        raise MethodError(f"views is 1 or 2, not {quoted(looks)}")
    return int(looks)


def _wisp(options: Options) -> Method:
    recolour = _colours(options.get("foreground", "own"))
    cut = Cutout(settings(options))

    def run(photo: Input) -> NDArray:
        result = cut(photo.image)
        if recolour is None:
            return np.asarray(result.image)
        rgb = recolour(photo.image, result.alpha)
        return np.dstack([rgb, np.round(result.alpha * 255).astype(np.uint8)])

    return run


def _colours(name: str):
    if name == "own":
        return None
    if name == "photo":
        return lambda image, alpha: image
    if name == "blur":
        from pipeline.foreground import estimate

        return estimate
    if name == "ml":
        return multilevel()
    raise MethodError(f"foreground is own, photo, blur or ml, not {quoted(name)}")


KINDS = {
    "coarse": Kind("stage 1 alone, with the photo's colours", ("model", "views"), stage1),
    "wisp": Kind(
        "Wisp; foreground=own, photo (the photo's colours), blur (BlurFusion), ml (pymatting)",
        ("model", "views", "refiner", "refine", "detail", "threshold", "reach", "foreground"),
        _wisp,
        extra="eval",
    ),
}
