"""What goes wrong with clips; see :mod:`pipeline.errors` for the rest."""

from __future__ import annotations

from pipeline.errors import WispError


class ClipError(WispError):
    """A clip cannot be read, or is of a kind that is not cut out."""


class ClipTooLarge(ClipError):
    """A clip has larger or more frames, or takes longer, than its :class:`~wisp.video.Limits`."""
