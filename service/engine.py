"""The models, and one job done with them, in a thread of its own.

A job can be watched while it runs: what stage it is in, whether its client has gone, whether its
time is over. The pipeline knows nothing of that: it reports its progress, and is called off there.
"""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipeline import (
    Cutout,
    Progress,
    Result,
    Settings,
    explain,
    image_io,
    models,
    render,
    selection,
)
from pipeline.errors import ModelInvalid, ModelMissing, SettingsError, quoted
from pipeline.explain.figure import draw
from pipeline.image_io import sandbox
from pipeline.looks import Looks
from pipeline.memory import enough_memory, trim
from pipeline.models import own, store
from service import panes, region
from service.errors import Unsupported
from service.job import Answer, Job, Watch
from service.mattes import Matte, Mattes
from service.settings import ServiceSettings

#: A look inside needs the most memory of all, and shows the photo a few hundred pixels wide: a
#: larger one is reduced to 1080p beforehand.
_LOOK_PIXELS = 1920 * 1080


@dataclass(frozen=True)
class Opened:
    """What a job sent, decoded: the photo, what is put behind it, a mask, and the seconds taken."""

    photo: image_io.Photo
    behind: image_io.Photo | None
    seconds: float
    mask: image_io.Photo | None = None
    #: The matte of the photo, where one is kept for the visitor that leads to the job's strokes.
    matte: Matte | None = None
    #: What of the photo is looked at.
    area: region.Area = region.ALL


class Engine:
    """Holds the models, and does jobs. Safe to use from several threads."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Cutout] = OrderedDict()
        self.looks = Looks(settings.matte_bytes // 10)
        total = settings.matte_bytes - self.looks.most
        self.mattes = Mattes(total, total // 2 if settings.public else total)
        self._sums: dict[tuple[int, str], str] = {}  # of a stage's model: SHA-256
        self.default = (
            settings.model if settings.model in models.COARSE else Path(settings.model).stem
        )

    def names(self) -> dict[str, str]:
        """Return the models that can be asked for: name to what :class:`Settings` takes.

        Only these: no path that a client sends ever reaches the file system.
        """
        sources = {self.default: self.settings.model}
        sources |= {name: name for name, card in models.COARSE.items() if card.path.is_file()}
        sources |= {name: name for name in own.imported(models.CoarseModel)}
        # By path and not by name: what no longer is the published file must not be fetched anew
        # because a client asks for it.
        sources |= {name: str(path) for name in models.PUBLIC if (path := store.usable(name))}
        return sources

    def resolve(self, name: str) -> str:
        """Return the full name of a model. Raises :class:`ModelMissing` for an unknown one."""
        name = name or self.default
        # What is open need not be looked for: with each stroke that took as long as drawing it.
        if name not in self._loaded and name not in (known := self.names()):
            raise ModelMissing(f"no model {quoted(name)}: use one of {', '.join(known)}")
        return name

    def checksum(self, name: str) -> str:
        """Return the SHA-256 of both stages' weights together."""
        sums = ""
        for stage, known, look_up in (
            (1, self._file(name), models.coarse_model),
            (2, self.settings.refiner, models.refiner_model),
        ):
            if (stage, known) not in self._sums:
                self._sums[stage, known] = models.checksum(look_up(known).path)
            sums += self._sums[stage, known]
        return hashlib.sha256(sums.encode()).hexdigest()

    def _file(self, name: str) -> str:
        """Return what :class:`Settings` takes for a model."""
        opened = self._loaded.get(name)
        return opened.settings.model if opened else self.names()[name]

    def loaded(self) -> list[str]:
        return list(self._loaded)

    def load(self, name: str = "") -> Cutout:
        """Open a model, or take it from those that are open; two stay, the default among them.

        Raises :class:`pipeline.ModelError`.
        """
        name = self.resolve(name)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = Cutout(
                    Settings(
                        model=self.names()[name],
                        refiner=self.settings.refiner,
                        threads=self.settings.threads,
                        max_pixels=self.settings.max_pixels,
                    )
                )
            self._loaded.move_to_end(name)
            for other in list(self._loaded):
                if len(self._loaded) > 2 and other not in (name, self.default):
                    del self._loaded[other]
            return self._loaded[name]

    def read(self, job: Job, watch: Watch) -> Opened:
        """Decode what a job sent, in a process that is killed when its time is over.

        Raises :class:`pipeline.ImageError`, :class:`TimedOut`, or :class:`Abandoned`; and
        :class:`pipeline.SettingsError` for a picture to be made that is too large.
        """
        watch.step("read", 0.0)
        start = time.perf_counter()
        pixels, seconds = self.settings.max_pixels, self.settings.decode_seconds
        width, height = job.output.canvas or (0, 0)
        if width * height > pixels:
            raise SettingsError(f"size: {width}x{height} has more than {pixels} pixels")

        def tick(worked: float) -> None:
            watch.worked = worked
            watch.check()

        matte = None if job.inside else self.mattes.get(job.visitor, self._matte(job))
        if matte and not matte.leads_to(job.strokes):
            matte = None
        area = region.ALL
        if matte:
            photo = matte.result.photo
        else:
            photo = sandbox.decode(job.image, pixels, seconds, tick)
            most = _LOOK_PIXELS if job.inside else job.pixels
            photo, area = region.opened(photo, job.region, most)
        behind = None
        if isinstance(job.output.background, bytes):
            behind = sandbox.decode(job.output.background, pixels, seconds, tick)
        mask = sandbox.decode(job.mask, pixels, seconds, tick) if job.mask else None
        return Opened(photo, behind, time.perf_counter() - start, mask, matte, area)

    def run(self, job: Job, opened: Opened, watch: Watch) -> Answer:
        """Do a job, whose pictures are decoded already.

        Raises :class:`pipeline.WispError`, :class:`TimedOut`, or :class:`Abandoned`.
        """
        try:
            # Watched, so that a network ends with its request, and with the service.
            with enough_memory(), models.watched(watch.check):
                return (self._inside if job.inside else self._cut)(job, opened, watch.step)
        finally:
            trim()

    def _matte(self, job: Job) -> str:
        """Name the matte of a job by all that it depends on."""
        name = self.resolve(job.model)
        return f"{name} {self.checksum(name)} {job.matte}"

    def _cut(self, job: Job, opened: Opened, step: Progress) -> Answer:
        start = time.perf_counter() - opened.seconds
        cutout = self.load(self.resolve(job.model))
        matte, seconds = opened.matte, {"read": opened.seconds}
        if matte is None:
            matte = Matte(self._seen(job, opened, cutout, step))
            timings = matte.result.timings.items()
            seconds |= {stage: value for stage, value in timings if stage != "read"}
        if matte.strokes != job.strokes:
            matte = matte.with_strokes(
                job.strokes, cutout.stroked, job.refine, self.mattes.most, partial(step, "refine")
            )
        self.mattes.keep(job.visitor, self._matte(job), matte)
        step("finish", 0.0)
        begun = time.perf_counter()
        answer = self._drawn(job, opened, matte.result)
        seconds["finish"] = time.perf_counter() - begun
        seconds["total"] = time.perf_counter() - start
        return replace(answer, seconds={stage: round(v, 4) for stage, v in seconds.items()})

    def _seen(self, job: Job, opened: Opened, cutout: Cutout, step: Progress) -> Result:
        """Run the networks."""
        photo, area = opened.photo, opened.area
        wanted = replace(job.wanted, mask=selection.mask_of(opened.mask) if opened.mask else None)
        looks = self.looks if job.visitor else None  # who is at work on it will look again
        result = cutout.cut(region.as_array(photo, area), wanted, job.refine, step, looks=looks)
        notes = (*photo.notes, *result.photo.notes)
        return region.embedded(result, replace(photo, notes=notes), area)

    def _drawn(self, job: Job, opened: Opened, result: Result) -> Answer:
        """Draw what a job asks for."""
        if job.pane:
            pane = panes.make(result, (job.pane,))[job.pane]
            height, width = result.alpha.shape
            drawing = render.Drawing(pane, "webp", width, height, (0, 0, width, height))
        else:
            behind = opened.behind
            output = replace(job.output, background=behind.image) if behind else job.output
            drawing = render.draw(result, output)
        return Answer(
            data=drawing.data,
            format=drawing.format,
            width=drawing.width,
            height=drawing.height,
            box=drawing.box,
            empty=result.empty,
            model=self.resolve(job.model),
            refined=job.refine,
            patches=len(result.tiles),
            seconds={},
            notes=result.photo.notes,
            confidence=round(result.confidence, 3),
            unsure=result.unsure,
            previews=panes.make(result) if job.previews else {},
        )

    def _inside(self, job: Job, opened: Opened, step: Progress) -> Answer:
        """Draw a look inside. Raises :class:`Unsupported` where the model is no U²-Net."""
        start = time.perf_counter() - opened.seconds
        name = self.resolve(job.model)
        cutout = self.load(name)
        photo = opened.photo
        array = region.as_array(photo, opened.area)
        try:
            inside = explain.inspect(array, cutout, progress=step)
        except ModelInvalid as error:  # whose own words name a path
            raise Unsupported(f"a look inside needs a U²-Net, and {name} is none") from error
        step("draw", 0.0)
        figure = draw(inside)
        buffer = io.BytesIO()
        figure.save(buffer, "PNG")
        return Answer(
            data=buffer.getvalue(),
            format="png",
            width=figure.width,
            height=figure.height,
            box=(0, 0, *figure.size),
            empty=inside.result.empty,
            model=name,
            refined=True,
            patches=len(inside.seconds),
            seconds={"total": round(time.perf_counter() - start, 4)},
            notes=photo.notes,
        )
