"""Every error Wisp raises on purpose.

::

    WispError
    ├── ImageError                a picture is at fault
    │   ├── UnreadableImage       broken, truncated, empty, or not a picture
    │   ├── UnsupportedFormat     a picture, but of a kind that is not read or written
    │   ├── ImageTooLarge         more pixels than the limit allows
    │   └── ImageTooSlow          decoding takes longer than the limit allows
    ├── ModelError                a network is at fault
    │   ├── ModelMissing          no such name or file
    │   ├── ModelInvalid          the file is no network of the shape that is asked for
    │   ├── ModelTooSlow          its computing takes longer than the limit allows
    │   └── ProviderMissing       the asked-for accelerator is not there
    ├── SettingsError             a setting is out of its range, or two contradict each other
    ├── OutOfMemory               the photo needs more memory than there is
    └── OutputError               a result cannot be written
        └── DiskFull              since there is no room for it, nor for any other

The message says what was wrong and what to do about it, in one line.
"""

from __future__ import annotations

_LONGEST = 120  # characters: tells which value it was, and a message stays one line


def quoted(value: object) -> str:
    """Quote what is refused as Python writes it, and only the beginning where it is very long."""
    written = repr(value)
    return written if len(written) <= _LONGEST else f"{written[: _LONGEST - 1]}…"


class WispError(Exception):
    """Base of all errors that Wisp raises on purpose."""


class ImageError(WispError):
    """A picture cannot be used."""


class UnreadableImage(ImageError):
    """The bytes are broken, truncated, empty, or no picture at all."""


class UnsupportedFormat(ImageError):
    """The picture's format is not one that Wisp reads or writes."""


class ImageTooLarge(ImageError):
    """The picture has more pixels than ``Settings.max_pixels`` allows."""


class ImageTooSlow(ImageError):
    """Decoding the picture takes longer than ``Settings.decode_seconds`` allows."""


class ModelError(WispError):
    """A network cannot be used."""


class ModelMissing(ModelError):
    """There is no model of that name, and no file at that path."""


class ModelInvalid(ModelError):
    """The file is not an ONNX network with the inputs and outputs that the stage needs."""


class ModelTooSlow(ModelError):
    """The networks take longer for a photo than ``Settings.network_seconds`` allows."""


class ProviderMissing(ModelError):
    """An accelerator was asked for that this installation of onnxruntime does not have."""


class SettingsError(WispError):
    """A setting is out of its range, or two settings contradict each other."""


class OutOfMemory(WispError):
    """The photo needs more memory than there is."""


class OutputError(WispError):
    """A result cannot be written."""


class DiskFull(OutputError):
    """A result cannot be written since the disk is full, or the user's share of it."""
