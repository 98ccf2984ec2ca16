"""Tells PyInstaller what a program that uses Wisp needs and no import shows.

PyInstaller finds this folder by the entry point ``pyinstaller40``.
"""

from pathlib import Path


def hook_dirs() -> list[str]:
    """Return the folders of hooks."""
    return [str(Path(__file__).parent)]
