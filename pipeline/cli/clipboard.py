"""Pictures from the system's clipboard, and onto it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.errors import OutputError, UnreadableImage

_WAIT = 20.0  # seconds that the system's program may take
_MAC = 'set the clipboard to (read (POSIX file "{}") as «class PNGf»)'
_WINDOWS = (
    "Add-Type -AssemblyName System.Windows.Forms, System.Drawing; "
    "[System.Windows.Forms.Clipboard]::SetImage([System.Drawing.Image]::FromFile('{}'))"
)


def paste() -> bytes:
    """Return the picture on the clipboard as a PNG file's bytes, or the file that was copied there.

    Raises :class:`UnreadableImage` where there is no picture, or no clipboard.
    """
    from PIL import Image, ImageGrab

    try:
        content = ImageGrab.grabclipboard()
    except (NotImplementedError, OSError, subprocess.SubprocessError) as error:
        raise UnreadableImage(f"the clipboard cannot be read: {_advice(error)}") from error
    if isinstance(content, Image.Image):
        buffer = io.BytesIO()
        content.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
    if isinstance(content, list) and len(content) == 1:  # a file, copied in a file manager
        try:
            return Path(os.fsdecode(content[0])).read_bytes()
        except OSError as error:
            raise UnreadableImage(f"{content[0]} cannot be read: {error.strerror}") from error
    raise UnreadableImage("there is no picture on the clipboard: copy one first")


def copy(png: bytes) -> None:
    """Put a PNG file's bytes onto the clipboard.

    Raises :class:`OutputError` where that fails, or the system has no clipboard.
    """
    command = _command()
    handle, name = tempfile.mkstemp(suffix=".png")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(png)
        with open(name, "rb") as file:
            # xclip and wl-copy leave a child behind that holds the picture: it must not hold our
            # output too, or whoever reads that waits for ever.
            subprocess.run(
                [part.replace("{}", name) for part in command],
                stdin=file,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
                timeout=_WAIT,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise OutputError(f"the clipboard cannot be written: {_advice(error)}") from error
    finally:
        os.unlink(name)


def _command() -> list[str]:
    """Return the program that takes a picture: from its standard input, or from the file {}."""
    if sys.platform == "darwin":
        return ["osascript", "-e", _MAC]
    if sys.platform == "win32":
        return ["powershell", "-NoProfile", "-STA", "-Command", _WINDOWS]
    if os.environ.get("WAYLAND_DISPLAY") and shutil.which("wl-copy"):
        return ["wl-copy", "--type", "image/png"]
    if os.environ.get("DISPLAY") and shutil.which("xclip"):
        return ["xclip", "-selection", "clipboard", "-t", "image/png"]
    raise OutputError(f"the clipboard cannot be written: {_advice(None)}")


def _advice(error: Exception | None) -> str:
    if sys.platform in ("darwin", "win32"):
        return str(error)
    if not (os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")):
        return "there is no desktop here: give a file, and -o FILE"
    return f"install wl-clipboard (Wayland) or xclip (X11){f'; {error}' if error else ''}"
