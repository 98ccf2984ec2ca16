"""Wisp removes the background of a photo and keeps every wisp of hair.

>>> from pipeline import Cutout
>>> result = Cutout()("photo.jpg")  # doctest: +SKIP
>>> result.save("photo.png")  # doctest: +SKIP
"""

from pipeline.compose import Output
from pipeline.cutout import Cutout, Progress, Result
from pipeline.errors import (
    ImageError,
    ImageTooLarge,
    ModelError,
    ModelInvalid,
    ModelMissing,
    OutputError,
    ProviderMissing,
    SettingsError,
    UnreadableImage,
    UnsupportedFormat,
    WispError,
)
from pipeline.settings import Settings

__all__ = [
    "Cutout",
    "ImageError",
    "ImageTooLarge",
    "ModelError",
    "ModelInvalid",
    "ModelMissing",
    "Output",
    "OutputError",
    "Progress",
    "ProviderMissing",
    "Result",
    "Settings",
    "SettingsError",
    "UnreadableImage",
    "UnsupportedFormat",
    "WispError",
]
