"""What becomes of a photo, as its row in a manifest."""

from __future__ import annotations

from dataclasses import dataclass

#: Whose fault it is that a photo has no cutout. What was the store's is tried again by the next
#: run, the others only when that is asked for.
PICTURE, STORE, WORKER = "picture", "store", "worker"


@dataclass
class Row:
    """What became of a photo.

    Attributes
    ----------
    path
        What the photo is called.
    output
        Name of the file that holds the cutout, below the place of the cutouts.
    status, error
        "done" or "failed", and why, in one line.
    fault
        Whose fault a failure is: :data:`PICTURE`, :data:`STORE`, :data:`WORKER`.
    confidence
        How likely the subject is whole, 0..1; None where the model does not say.
    seconds
        From the photo's bytes to those of the cutout.
    version
        Of the photo's content, as the store tells.
    """

    path: str
    output: str = ""
    status: str = "failed"
    error: str = ""
    fault: str = ""
    notes: str = ""
    confidence: float | None = None
    seconds: float = 0.0
    width: int | None = None
    height: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    version: str = ""
