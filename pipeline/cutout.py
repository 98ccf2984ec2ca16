"""Photo in, cutout out: the way of the data, in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import (
    blend,
    clicks,
    compose,
    confidence,
    detail,
    foreground,
    generator,
    image_io,
    models,
    multiscale,
    patches,
    retouch,
    roi,
    selection,
    strands,
    transparency,
)
from pipeline.errors import SettingsError, quoted
from pipeline.looks import Looks
from pipeline.memory import enough_memory, trim
from pipeline.progress import Clock, Progress, ignore
from pipeline.result import Result
from pipeline.retouch import Patch, Stroke
from pipeline.selection import EVERYTHING, MaskSource, Point, Selection
from pipeline.settings import Settings, changed
from pipeline.views import Sight

Source = str | PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[np.uint8]


class Tiles(Protocol):
    """Where stage 2 redraws, and what it says there; a clip remembers it from frame to frame.

    By default :func:`pipeline.patches.tile_origins` and :func:`pipeline.generator.redraw`, whose
    parameters and answers the two have.
    """

    def place(self, roi: NDArray[np.bool_]) -> NDArray[np.intp]: ...

    def redraw(
        self,
        session: models.Session,
        image: NDArray[np.uint8],
        mask: NDArray[np.float32],
        origins: NDArray[np.intp],
        batch: int,
        on_progress: Callable[[float], None] | None = None,
    ) -> Iterator[NDArray[np.float32]]: ...


#: Pixels from which on what stage 1 leaves behind (60 MB) is given back before stage 2.
_LARGE = 4_000_000
#: Times its width that a photo may be long: stage 1 sees 16 of its 320 rows then.
_LONG = 20


class Cutout:
    """Cuts subjects out of photos. Loads its models once; may be called from many threads."""

    def __init__(
        self, settings: Settings | None = None, *, for_masks: bool = False, **changes: Any
    ) -> None:
        """Open the models.

        Keywords are fields of :class:`Settings`, and replace those of ``settings``:
        ``Cutout(model="u2netp", refine=False)``. With ``for_masks`` stage 1 waits, unopened and not
        fetched, for a photo that comes without a mask.

        Raises :class:`pipeline.errors.SettingsError` for a field that there is not, or a value out
        of range.
        Raises :class:`pipeline.errors.ModelError` when one is missing or is not what the stage
        needs, or a provider is not there.
        """
        if not isinstance(settings, Settings | None):
            raise SettingsError(f"give Settings, or keywords: Cutout(model={quoted(settings)})")
        self.settings = s = changed(settings or Settings(), changes)
        refiner = models.refiner_model(s.refiner) if s.refine else None
        opened = s.providers, s.threads
        # Both at once, each on a core: opening them is a fifth of a command's time for one photo.
        with enough_memory(), ThreadPoolExecutor(1) as pool:
            second = pool.submit(models.open_refiner, refiner, *opened) if refiner else None
            self._opened = None if for_masks else self._open_stage1()
            self._stage2 = second.result() if second else None

    def _open_stage1(self) -> tuple[models.Session, models.CoarseModel]:
        card = models.coarse_model(self.settings.model)
        return models.open_coarse(card, self.settings.providers, self.settings.threads)

    @property
    def _stage1(self) -> tuple[models.Session, models.CoarseModel]:
        if self._opened is None:  # two threads may both open it: one of the two is let go then
            self._opened = self._open_stage1()
        return self._opened

    @property
    def model(self) -> models.CoarseModel:
        """Stage 1's card, as its file has it."""
        return self._stage1[1]

    def __reduce__(self) -> tuple[Callable[[Settings], Cutout], tuple[Settings]]:
        """Pickle as the settings: another process opens the models itself."""
        return partial(type(self), for_masks=self._opened is None), (self.settings,)

    def __call__(
        self,
        source: Source,
        *,
        mask: MaskSource | None = None,
        box: tuple[float, float, float, float] | None = None,
        points: Sequence[Point] = (),
        not_points: Sequence[Point] = (),
        keep: str = "all",
        holes: str = "keep",
        smallest_hole: float = 0.0,
        refine: bool = True,
        progress: Progress | None = None,
        tiles: Tiles | None = None,
    ) -> Result:
        """Cut out one photo.

        Parameters
        ----------
        source
            Path, bytes, binary file, PIL image, or array (H, W, 3), (H, W, 4) or (H, W) of RGB:
            uint8, uint16, or float in 0..1.
        mask, box, points, not_points, keep, holes, smallest_hole
            What to cut: see :class:`pipeline.selection.Selection`.
        refine
            False leaves stage 2 out this once, where the settings have it.
        progress
            Told how far it is, in the calling thread; by raising it calls the work off.
        tiles
            Stands in for how tiles are placed and redrawn.

        Raises
        ------
        pipeline.errors.SettingsError
            When what is to be cut makes no sense, or not for this photo.
        pipeline.errors.ImageError
            When the photo or the mask cannot be read, or is larger than ``settings.max_pixels``.
        pipeline.errors.ModelTooSlow
            When the networks take longer than ``settings.network_seconds``.
        pipeline.errors.OutOfMemory
            When there is not enough memory.
        """
        wanted = Selection(
            mask,
            box,
            () if points is None else tuple(points),
            () if not_points is None else tuple(not_points),
            keep,
            holes,
            smallest_hole,
        )
        return self.cut(source, wanted, refine, progress, tiles)

    def cut(
        self,
        source: Source,
        wanted: Selection = EVERYTHING,
        refine: bool = True,
        progress: Progress | None = None,
        tiles: Tiles | None = None,
        looks: Looks | None = None,
    ) -> Result:
        """Cut out what a :class:`pipeline.selection.Selection` says; else as calling it does.

        ``looks`` remembers what stage 1 says, for the next time that the photo is cut out.
        """
        with enough_memory(), models.watched(models.within(self.settings.network_seconds)):
            stage1, card = (None, None) if wanted.mask is not None else self._stage1
            if looks and stage1 and card:
                stage1 = looks.through(stage1, str(card.path))
            see = partial(selection.see, stage1, card)
            return self._cut(source, wanted, refine, progress or ignore, tiles, see)

    def _cut(
        self,
        source: Source,
        wanted: Selection,
        refine: bool,
        progress: Progress,
        known: Tiles | None,
        see: Callable[..., tuple[Sight, tuple[str, ...]]],
    ) -> Result:
        s, clock = self.settings, Clock(progress)
        place, redraw = (
            (known.place, known.redraw) if known else (patches.tile_origins, generator.redraw)
        )
        stage2 = self._stage2 if refine else None
        with clock("read"):
            photo = image_io.read(source, s.max_pixels, s.decode_seconds)
            seen = transparency.opaque(photo)
            if max(seen.shape[:2]) >= _LONG * min(seen.shape[:2]):
                note = "so long that stage 1 sees little of it: cut it out in parts"
                photo = replace(photo, notes=(*photo.notes, note))
        with clock("coarse"):
            sight, notes = see(seen, wanted, s.views, s.max_pixels, s.decode_seconds)
            photo = replace(photo, notes=(*photo.notes, *notes))
            mask = sight.mask
            sure = 1.0 if wanted.mask is not None else confidence.of(sight)
            own = None if wanted.chooses else photo.alpha
            if own is not None and transparency.separates(own, mask):
                # A cutout already: redrawing its edge could only lose some of it.
                mask, stage2, sure = own, None, 1.0
                photo = replace(photo, notes=(*photo.notes, "cut out already: left as it is"))
        if mask.size > _LARGE:
            trim()
        with clock("roi"):
            size = detail.size(mask, s.detail) if stage2 else mask.shape
            shown = detail.show(seen, mask, size)
            edge = roi.find(shown.mask, sight.cells, s.roi_threshold, s.reach)
            tiles = place(edge) if stage2 else np.empty((0, 2), np.intp)
        with clock("refine"):
            if stage2:
                corrected = multiscale.correct(
                    stage2.global_generator, shown.image, shown.mask, edge, s.batch_size
                )
                step = partial(progress, "refine")
                shallow = roi.find(shown.mask, sight.cells, s.roi_threshold, s.depth)
                redrawn = redraw(
                    stage2.local_generator, shown.image, corrected, tiles, s.batch_size, step
                )
                spare = None if corrected is shown.mask else corrected
                alpha, colours = blend.blend(
                    shown.image, shown.mask, shallow, tiles, redrawn, spare
                )
                if not known:  # in a clip a strand would be followed now and then
                    further = partial(
                        redraw,
                        stage2.local_generator,
                        batch=s.batch_size,
                        on_progress=lambda share: progress("refine", 1.0),
                    )
                    alpha, colours, tiles = strands.follow(
                        shown.image, shown.mask, shallow, tiles, alpha, colours, further
                    )
                del shallow, corrected, spare
                alpha, colours = detail.carried(seen, mask, shown, alpha, colours, s.threads)
                if sight.clicks:
                    alpha, colours = clicks.held(seen, alpha, colours, sight.clicks)
            else:
                alpha = mask
            if wanted.box:  # stage 2 may have added to what was found there
                alpha = selection.inside(alpha, wanted)
        with clock("colour"):
            if not stage2:
                colours = foreground.estimate(seen, alpha)
            if photo.alpha is not None:
                # What is transparent already stays so, and its colours are straight already.
                alpha = np.minimum(alpha, photo.alpha)
                colours = np.where((photo.alpha < 1)[..., None], photo.image, colours)
            compose.keep_opaque(colours, alpha, photo.image)
        if mask.size > _LARGE:
            trim()
        found = alpha, colours, shown.mask, edge, tiles
        made = Result(photo, *found, clock.seconds, sure, sight.cells, sight.looks)
        return replace(made, confidence=0.0) if made.empty else made

    def retouch(self, result: Result, *strokes: Stroke, refine: bool = True) -> Result:
        """Correct a result with a brush: see :mod:`pipeline.retouch`. It stays as it is itself."""
        for stroke in strokes:
            patch = self.stroked(result, stroke, refine)
            result = result if patch is None else retouch.put(result, patch)
        return result

    def stroked(self, result: Result, stroke: Stroke, refine: bool = True) -> Patch | None:
        """Compute what one stroke makes of a result: see :func:`pipeline.retouch.stroked`.

        Raises :class:`pipeline.errors.ModelTooSlow` and :class:`pipeline.errors.OutOfMemory`.
        """
        s, stage2 = self.settings, self._stage2 if refine else None

        def redraw(
            image: NDArray[np.uint8], mask: NDArray[np.float32], at: NDArray[np.intp]
        ) -> Iterator[NDArray[np.float32]]:
            assert stage2
            return generator.redraw(stage2.local_generator, image, mask, at, s.batch_size)

        with enough_memory(), models.watched(models.within(s.network_seconds)):
            return retouch.stroked(result, stroke, redraw if stage2 else None, s)
