"""Wisp removes the background of a photo and keeps every wisp of hair.

>>> from wisp import Cutout
>>> result = Cutout()("photo.jpg")  # doctest: +SKIP
>>> result.save("photo.png")  # doctest: +SKIP

This is the public face. How it works is in ``pipeline``, one module a step.
"""

from wisp import _own_pipeline

_own_pipeline.ensure()

import pipeline  # noqa: E402
from pipeline import *  # noqa: E402, F403
from pipeline import __version__ as __version__  # noqa: E402

__all__ = list(pipeline.__all__)
