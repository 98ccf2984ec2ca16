"""rembg's two functions, for a project that moves here by changing one import.

>>> from wisp.rembg import new_session, remove
>>> cutout = remove(photo, session=new_session())  # doctest: +SKIP

Names, order and defaults of the parameters, and what comes back, are those of rembg 2.0.86. What
is different: the model by default is Wisp's own; the edge is always refined, and colours are
straight (not darkened by what was cut away). New programs use :class:`wisp.Cutout`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import wisp  # which makes sure of our own "pipeline"
from pipeline import compose, image_io, models, render
from pipeline.errors import quoted
from pipeline.selection import EVERYTHING, Point, Selection

Data = bytes | Image.Image | NDArray[np.uint8]

#: The models of rembg 2.0.86 (``sessions_names``).
MODELS = (
    *("atlascloud", "ben_custom", "birefnet-cod", "birefnet-dis", "birefnet-general"),
    *("birefnet-general-fp16", "birefnet-general-lite", "birefnet-hrsod", "birefnet-massive"),
    *("birefnet-portrait", "bria-rmbg", "dis_custom", "isnet-anime", "isnet-general-use", "sam"),
    *("silueta", "u2net", "u2net_cloth_seg", "u2net_custom", "u2net_human_seg", "u2netp"),
    "withoutbg",
)
_CUSTOM = ("ben_custom", "dis_custom", "u2net_custom")
#: What rembg passes on to its sessions, and what stands for it here.
_INSTEAD = {
    "input_points": "give sam_prompt=[{'type': 'point', 'data': [x, y], 'label': 1}]",
    "input_labels": "give sam_prompt=[{'type': 'point', 'data': [x, y], 'label': 1}]",
    "sam_model": "give sam_prompt alone: points and boxes work with every model",
    "sam_quant": "give sam_prompt alone: points and boxes work with every model",
    "cc": "u2net_cloth_seg is not here: give sam_prompt with a point on the garment",
    "model_path": "give it to new_session()",
    "model": "give session=new_session(model)",
    "api_key": "no photo leaves this machine: there are no remote models",
}


class Refused(wisp.SettingsError, ValueError):
    """What is not taken; a ValueError too, since that is what rembg raises."""


class Session:
    """An open model: rembg's session. May be used from many threads."""

    def __init__(self, model_name: str, cutout: wisp.Cutout) -> None:
        self.model_name = model_name
        self.cutout = cutout

    def predict(self, img: Image.Image, sam_prompt: Sequence[dict[str, Any]] = ()) -> list[Any]:
        """Return the masks of a picture: one PIL image, mode L, of the picture's size."""
        result = self.cutout.cut(img, _wanted(sam_prompt))
        return [Image.fromarray(compose.levels(result.alpha))]


def new_session(
    model_name: str = "wisp",
    *,
    sess_opts: Any = None,
    providers: Sequence[str] | None = None,
    model_path: str | None = None,
) -> Session:
    """Open a model once, for many pictures.

    Parameters
    ----------
    model_name
        One of ``wisp models``, or of rembg's. A public one that is not on this machine is
        downloaded, as rembg does. One of rembg's that Wisp does not have is stood in for by the
        bundled one, with a warning.
    sess_opts
        onnxruntime's ``SessionOptions``: the threads within an operator are taken. Without it
        ``OMP_NUM_THREADS`` says how many.
    providers
        onnxruntime's execution providers. Unlike rembg, a GPU is used only where it is named.
    model_path
        The ONNX file of ``u2net_custom``, ``dis_custom`` or ``ben_custom``.

    Raises
    ------
    Refused
        For a model that neither of the two knows.
    wisp.ModelError
        For one that cannot be fetched or opened.
    """
    name = model_name
    if model_name in _CUSTOM or model_path is not None:
        if model_name not in _CUSTOM or model_path is None:
            raise Refused(f"model_path goes with one of {', '.join(_CUSTOM)}, and these need it")
        name = model_path
    elif model_name not in {row["name"] for row in models.listing()}:
        name = _stand_in(model_name)
    threads = _threads(sess_opts)
    if providers is None:
        return Session(name, wisp.Cutout(model=name, threads=threads))
    return Session(name, wisp.Cutout(model=name, threads=threads, providers=tuple(providers)))


def _stand_in(name: str) -> str:
    if name not in MODELS:
        raise Refused(f"no model {quoted(name)}: `wisp models` names those that there are")
    warnings.warn(
        f"rembg's model {quoted(name)} is not here: the bundled one stands in for it", stacklevel=3
    )
    return "wisp"


def _threads(sess_opts: Any) -> int:
    if sess_opts is not None and sess_opts.intra_op_num_threads:
        return int(sess_opts.intra_op_num_threads)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdigit() else 0


@lru_cache(maxsize=1)
def _default() -> Session:
    return new_session()


def remove(
    data: Data,
    alpha_matting: bool = False,
    alpha_matting_foreground_threshold: int = 240,
    alpha_matting_background_threshold: int = 10,
    alpha_matting_erode_size: int = 10,
    session: Session | None = None,
    only_mask: bool = False,
    post_process_mask: bool = False,
    decontaminate: bool = False,
    vitmatte: bool = False,
    vitmatte_model: str | None = None,
    bgcolor: Sequence[int] | None = None,
    force_return_bytes: bool = False,
    *,
    putalpha: bool = False,
    sam_prompt: Sequence[dict[str, Any]] = (),
    **others: Any,
) -> Any:
    """Remove the background of a picture.

    Parameters
    ----------
    data
        The bytes of a file, a PIL image, or an array (H, W, 3 | 4) or (H, W) uint8, RGB.
    alpha_matting, decontaminate, vitmatte, and the four that belong to them
        Taken, and change nothing: the edge is refined and the colours are cleaned in any case.
    session
        From :func:`new_session`; by default the bundled model's, which is opened once.
    only_mask
        Return the alpha alone: mode L, or (H, W) uint8.
    post_process_mask
        Open, smooth and threshold the mask.
    bgcolor
        (r, g, b, a) in 0..255, put behind the subject.
    force_return_bytes
        Return the bytes of a PNG whatever came in.
    putalpha
        Leave the photo's own colours everywhere, also where the alpha is 0.
    sam_prompt
        rembg's points and rectangles, in pixels: ``{"type": "point", "data": [x, y], "label": 1}``
        (0 drops the thing there), ``{"type": "rectangle", "data": [x0, y0, x1, y1]}``. They work
        with every model.

    Returns
    -------
    What came in: the bytes of a PNG, a PIL image in mode RGBA, or an array (H, W, 4) uint8.

    Raises
    ------
    Refused
        For data of another type, and for a parameter that is not taken.
    wisp.WispError
        As :class:`wisp.Cutout` does.
    """
    for name in others:
        instead = _INSTEAD.get(name, "leave it out; wisp.Cutout and wisp.Output have more options")
        raise Refused(f"remove() does not take {name}: {instead}")
    if not isinstance(data, (bytes, Image.Image, np.ndarray)):
        raise Refused(f"an image is bytes, a PIL image or an array, not {type(data).__name__}")
    result = (session or _default()).cutout.cut(data, _wanted(sam_prompt))
    behind = None if bgcolor is None or only_mask else _colour(bgcolor)
    output = wisp.Output(background=behind, only_mask=only_mask, binary=post_process_mask)
    pixels = render.render(result, output)
    if putalpha and not only_mask and behind is None:
        pixels = np.dstack([result.photo.image, pixels[..., 3]])
    if isinstance(data, bytes) or force_return_bytes:
        return image_io.encode(pixels, "png", None, result.photo.dpi, result.photo.exif)
    return Image.fromarray(pixels) if isinstance(data, Image.Image) else pixels


def _colour(values: Sequence[int]) -> tuple[int, int, int, int]:
    numbers = [int(value) for value in values]
    if len(numbers) not in (3, 4) or not all(0 <= number <= 255 for number in numbers):
        raise Refused(f"bgcolor is (r, g, b, a), each in 0..255, not {tuple(values)}")
    red, green, blue, alpha = (*numbers, 255)[:4]
    return red, green, blue, alpha


def _wanted(prompt: Sequence[dict[str, Any]]) -> Selection:
    """Understand rembg's prompt for SAM."""
    keep: list[Point] = []
    drop: list[Point] = []
    boxes = []
    for mark in prompt:
        if mark.get("type") == "point" and mark.get("label") in (0, 1):
            (keep if mark["label"] else drop).append(mark["data"])
        elif mark.get("type") == "rectangle":
            boxes.append(mark["data"])
        else:
            raise Refused(f"a mark is a point with label 0 or 1, or a rectangle, not {mark}")
    if not prompt:
        return EVERYTHING
    if len(boxes) > 1:
        raise Refused("sam_prompt takes one rectangle: cut the picture out once for each")
    return Selection(box=boxes[0] if boxes else None, points=tuple(keep), not_points=tuple(drop))
