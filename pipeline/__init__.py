"""Wisp removes the background of a photo and keeps every wisp of hair.

>>> from wisp import Cutout
>>> result = Cutout()("photo.jpg")  # doctest: +SKIP
>>> result.save("photo.png")  # doctest: +SKIP
"""

import os

# From 1.29 on, onnxruntime writes a device id into the home folder when it is imported, and
# reports to its makers' host; only this, set before the import, prevents it. A value that the
# user has set stays. Whatever opens a network imports this package first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.2.0"  # first: what is imported below reads it

from pipeline.cutout import Cutout
from pipeline.errors import (
    DiskFull,
    ImageError,
    ImageTooLarge,
    ImageTooSlow,
    ModelError,
    ModelInvalid,
    ModelMissing,
    ModelTooSlow,
    OutOfMemory,
    OutputError,
    ProviderMissing,
    SettingsError,
    UnreadableImage,
    UnsupportedFormat,
    WispError,
)
from pipeline.output import Output
from pipeline.progress import Progress
from pipeline.result import Result
from pipeline.settings import Settings

__all__ = [
    "Cutout",
    "DiskFull",
    "ImageError",
    "ImageTooLarge",
    "ImageTooSlow",
    "ModelError",
    "ModelInvalid",
    "ModelMissing",
    "ModelTooSlow",
    "OutOfMemory",
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
