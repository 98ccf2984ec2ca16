"""A batch of photos in, a batch of cutouts out: what every engine of tables can call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import Cutout, Output, Settings, batch, render
from pipeline.batch import Job, Outcome
from pipeline.errors import ImageTooLarge, SettingsError, UnreadableImage, WispError
from wisp.scale.places import open_place
from wisp.scale.reading import MAX_BYTES

#: What a batch's columns may be called, the first that is there: bytes, then addresses.
_BYTES = ("bytes", "image", "content", "data", "jpg", "png")
_PATHS = ("path", "url", "uri", "address", "key", "name")


@dataclass(frozen=True)
class Piece:
    """A cutout's bytes (None where there is none), and what became of the photo."""

    image: bytes | None
    status: str
    error: str = ""
    notes: str = ""
    confidence: float | None = None
    seconds: float = 0.0
    size: tuple[int, int] | None = None


class Cutter:
    """Cuts batches of photos; a bad one is a row that says why, never an exception.

    Opens its models when it is first called, and pickles as its settings, so that it may be sent to
    other machines. In Ray Data it is ``ds.map_batches(Cutter, …)``; in Spark
    ``df.mapInPandas(Cutter().frames, schema=SPARK)``.
    """

    def __init__(self, settings: Settings | None = None, output: Output | None = None) -> None:
        self.settings = settings or Settings(threads=1)
        self.output = output or Output()
        self._cutout: Cutout | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cutout": None}

    def open(self) -> None:
        """Open the models. Raises :class:`pipeline.errors.ModelError`."""
        if self._cutout is None:
            import cv2

            if self.settings.threads:
                cv2.setNumThreads(self.settings.threads)
            self._cutout = Cutout(self.settings)

    def cut(self, path: str, data: bytes | NDArray[np.uint8], software: str = "") -> Piece:
        """Cut out one photo; ``software`` goes into the cutout's EXIF data."""
        self.open()
        made: dict[str, bytes] = {}

        def work(job: Job) -> Outcome:
            assert self._cutout is not None
            result = self._cutout(data)
            made["image"] = render.to_bytes(result, self.output, software)
            height, width = result.alpha.shape
            notes = batch.notes_of(result)
            return Outcome(
                job, "done", size=(width, height), notes=notes, confidence=result.confidence
            )

        start = time.perf_counter()
        outcome = batch.attempt(Job(Path(path)), work)
        return Piece(
            made.get("image") if outcome.status == "done" else None,
            outcome.status,
            outcome.error,
            "; ".join(outcome.notes),
            outcome.confidence,
            time.perf_counter() - start,
            outcome.size,
        )

    def __call__(self, batch: Any) -> dict[str, Any]:
        """Cut out a batch.

        Parameters
        ----------
        batch
            A mapping of columns, or a data frame: the pictures' bytes in "bytes" or "image", or
            their addresses alone in "path" or "url", which are read here.

        Returns
        -------
        Arrays of one length: path (str), image (bytes or None, an encoded picture), status ("done"
        or "failed"), error (str), confidence (float, NaN where the model does not say), seconds
        (float).
        """
        rows = list(self._rows(batch))
        return {
            "path": np.array([path for path, _ in rows], dtype=object),
            "image": _objects([piece.image for _, piece in rows]),
            "status": np.array([piece.status for _, piece in rows], dtype=object),
            "error": np.array([piece.error for _, piece in rows], dtype=object),
            "confidence": np.array(
                [np.nan if p.confidence is None else p.confidence for _, p in rows], np.float64
            ),
            "seconds": np.array([piece.seconds for _, piece in rows], np.float64),
        }

    def frames(self, frames: Any) -> Iterator[Any]:
        """Cut out an iterator of pandas' data frames, as Spark's ``mapInPandas`` hands them."""
        import pandas

        for frame in frames:
            yield pandas.DataFrame(self(frame))

    def _rows(self, batch: Any) -> Iterator[tuple[str, Piece]]:
        names = list(batch.keys())
        data = next((name for name in _BYTES if name in names), None)
        paths = next((name for name in _PATHS if name in names), None)
        if data is None and paths is None:
            raise SettingsError(
                f"a batch needs a column of bytes or addresses: {', '.join(map(str, names))}"
            )
        values = list(batch[data or paths])
        called = [str(path) for path in batch[paths]] if paths else [""] * len(values)
        for path, value in zip(called, values, strict=True):
            try:
                picture = fetch(path) if data is None else _picture(value)
            except WispError as error:
                yield path, Piece(None, "failed", str(error))
            else:
                yield path, self.cut(path, picture)


#: The schema of :meth:`Cutter.frames` for Spark.
SPARK = "path string, image binary, status string, error string, confidence double, seconds double"


def fetch(address: str, size: int | None = None) -> bytes:
    """Return the bytes of a photo.

    Raises :class:`StoreError` where the store fails, :class:`pipeline.errors.ImageError` where
    there is no such photo, or more of it than there may be.
    """
    if size is not None and size > MAX_BYTES:
        raise ImageTooLarge(f"the file has more than {MAX_BYTES // 10**6} MB")
    try:
        return open_place(address).read(limit=MAX_BYTES)
    except FileNotFoundError as error:
        raise UnreadableImage("there is no such file") from error


def _picture(value: Any) -> bytes | NDArray[np.uint8]:
    """Return the encoded picture that a row holds, or the array of one that is decoded already.

    Raises :class:`pipeline.errors.UnreadableImage` where it holds neither.
    """
    if isinstance(value, dict):  # as Hugging Face's datasets have it
        value = value.get("bytes")
    if value is None:
        return b""
    if isinstance(value, np.ndarray):
        if value.ndim > 1:
            return value
        if value.dtype == np.uint8:
            return value.tobytes()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    kind = type(value).__name__  # such as a float: pandas has NaN where there is nothing
    raise UnreadableImage(f"there is a {kind} where a picture's bytes should be")


def _objects(values: list[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
