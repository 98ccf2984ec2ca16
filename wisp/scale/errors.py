"""What fails when many photos are cut out, beyond what :mod:`pipeline.errors` has."""

from __future__ import annotations

from pipeline.errors import WispError


class StoreError(WispError):
    """A store cannot be read or written, also not after several tries."""


class WorkersError(WispError):
    """Worker processes cannot be started, or end before they are given anything."""
