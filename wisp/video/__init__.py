"""Clips: cutouts that hold still where nothing moves.

>>> from wisp.video import CutoutVideo
>>> for result in CutoutVideo()(frames):  # doctest: +SKIP
...     show(result.image)

Needs ``pip install 'wispcut[video]'``.
"""

from wisp.video.behind import Behind
from wisp.video.clip import Clip, Frame, Limits, open_clip
from wisp.video.cutout import CutoutVideo
from wisp.video.errors import ClipError, ClipTooLarge
from wisp.video.run import Report, cut_clip
from wisp.video.sinks import sink_for
from wisp.video.sources import open_source

__all__ = [
    "Behind",
    "Clip",
    "ClipError",
    "ClipTooLarge",
    "CutoutVideo",
    "Frame",
    "Limits",
    "Report",
    "cut_clip",
    "open_clip",
    "open_source",
    "sink_for",
]
