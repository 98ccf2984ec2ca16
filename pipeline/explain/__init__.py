"""Inspect the networks: what each block of stage 1 saw, and what stage 2 did to each tile."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import (
    coarse,
    compose,
    generator,
    models,
    multiscale,
    patches,
    transparency,
)
from pipeline.cutout import Cutout, Source
from pipeline.errors import ModelInvalid
from pipeline.explain import onnx_file
from pipeline.models.catalogue import CoarseModel
from pipeline.models.providers import open_session
from pipeline.progress import Progress
from pipeline.result import Result
from pipeline.settings import Settings

ENCODER, DECODER = 6, 5  # blocks of a U²-Net (Qin et al., 2020, Fig. 5)
_PASSING = {"Relu", "QuantizeLinear", "DequantizeLinear"}  # which leave a tensor what it is


@dataclass(frozen=True)
class Inside:
    """What happened inside the networks for one photo.

    Attributes
    ----------
    result
        The cutout.
    model, refiner
        What was used, as in the settings.
    view
        The photo as stage 1 sees it, (h, w, 3) uint8.
    encoder, decoder
        Feature maps that the blocks give out, (C, h, w) float32: En 1…6 and De 1…5, shallow to
        deep.
    sides
        The side outputs d1…d6, (h, w) float32 in 0..1.
    fused
        The map that they are fused to, (h, w) float32 in 0..1.
    before, after, mirrored
        Alpha of each tile before and after stage 2, and after stage 2 when the tile was shown to
        it in the mirror, (N, 128, 128) float32 in 0..1.
    inside
        Which pixels of each tile lie in the ROI, (N, 128, 128) bool.
    seconds
        Time that stage 2 took for each tile, one at a time, (N,).
    """

    result: Result
    model: str
    refiner: str
    view: NDArray[np.uint8]
    encoder: list[NDArray[np.float32]]
    decoder: list[NDArray[np.float32]]
    sides: list[NDArray[np.float32]]
    fused: NDArray[np.float32]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    mirrored: NDArray[np.float32]
    inside: NDArray[np.bool_]
    seconds: NDArray[np.float64]

    @property
    def change(self) -> NDArray[np.float64]:
        """Mean absolute change of alpha in the ROI of each tile, (N,) in 0..1."""
        return self._mean(np.abs(self.after - self.before))

    @property
    def confidence(self) -> NDArray[np.float64]:
        """How far stage 2 agrees with itself on the mirrored tile, (N,) in 0..1.

        That is 1 minus the mean absolute difference of both alphas in the ROI: the spread under
        an augmentation at test time, a common measure of what a network is unsure of (Wang et
        al., 2019, "Aleatoric uncertainty estimation with test-time augmentation", §2.2).
        """
        return 1 - self._mean(np.abs(self.after - self.mirrored))

    def _mean(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        count = np.maximum(self.inside.sum((1, 2)), 1)
        return (values * self.inside).sum((1, 2), dtype=float) / count


def inspect(
    source: Source, cutout: Cutout | None = None, *, progress: Progress | None = None
) -> Inside:
    """Cut a photo out, and keep what happens on the way.

    A photo that stage 2 would see reduced is reduced beforehand, so that all is of one size.

    Parameters
    ----------
    source
        As for :class:`pipeline.Cutout`.
    cutout
        What to look into; by default one with the bundled models. Its stage 1 must be
        U²-Net-shaped: six blocks that encode, five that decode.
    progress
        As for :class:`pipeline.Cutout`; after its stages come blocks, and tiles with the share of
        them that is done.

    Raises
    ------
    ModelInvalid
        When stage 1 is another kind of network.
    pipeline.errors.WispError
        As :class:`pipeline.Cutout` does.
    """
    cutout = cutout or Cutout()
    settings, report = cutout.settings, progress or (lambda stage, share: None)
    names, logits = blocks(cutout.model)
    result = _as_seen(source, cutout, report)
    if len(result.tiles):  # those along the edge: what follows strands is shown another mask
        result = replace(result, tiles=patches.tile_origins(result.roi))
    report("blocks", 0.0)
    photo = transparency.opaque(result.photo)
    inputs = coarse.feed(photo, cutout.model)
    fused, inner = _feature_maps(cutout, names, inputs)
    sides = [side[0] for side in inner[ENCODER + DECODER :]]
    if logits:
        sides = [1 / (1 + np.exp(-np.clip(side, -80, 80))) for side in sides]
    before = patches.extract(photo, result.coarse, result.tiles)[:, 3]
    after, mirrored, seconds = _redrawn_tiles(photo, result, settings, report)
    return Inside(
        result=result,
        model=settings.model,
        refiner=settings.refiner if settings.refine else "none",
        view=_view(inputs[cutout.model.input][0], cutout.model),
        encoder=inner[:ENCODER],
        decoder=inner[ENCODER : ENCODER + DECODER][::-1],
        sides=sides,
        fused=fused[0],
        before=before,
        after=after,
        mirrored=mirrored,
        inside=_windows(result.roi, result.tiles),
        seconds=seconds,
    )


def _as_seen(source: Source, cutout: Cutout, progress: Progress) -> Result:
    """Cut a photo out at the size at which stage 2 sees it."""
    result = cutout(source, progress=progress)
    photo, size = result.photo, result.coarse.shape
    if size == result.alpha.shape:
        return result
    planes = photo.image
    if photo.alpha is not None:
        planes = np.dstack([planes, compose.levels(photo.alpha)])
    small = np.asarray(cv2.resize(planes, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return Cutout(cutout.settings, detail=max(size))(small, progress=progress)


def _feature_maps(
    cutout: Cutout, names: list[str], inputs: dict[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Run stage 1 with inner tensors given out: the fused map, and those that are named."""
    model, settings = cutout.model, cutout.settings
    data = onnx_file.expose(model.path.read_bytes(), names)
    session = open_session(data, settings.providers, settings.threads)
    outputs = session.run([model.output, *names], inputs)
    fused, *inner = (np.asarray(output, np.float32)[0] for output in outputs)
    return fused, inner


def _redrawn_tiles(
    photo: NDArray[np.uint8], result: Result, settings: Settings, report: Progress
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Alpha of each tile after stage 2, the same from the mirrored tile, and the seconds taken."""
    tiles = result.tiles
    after, mirrored = np.empty((2, len(tiles), patches.TILE, patches.TILE), np.float32)
    seconds = np.zeros(len(tiles))
    if not len(tiles):
        return after, mirrored, seconds
    refiner = models.refiner_model(settings.refiner)
    stage2 = models.open_refiner(refiner, settings.providers, settings.threads)
    local, batch = stage2.local_generator, settings.batch_size
    corrected = multiscale.correct(stage2.global_generator, photo, result.coarse, result.roi, batch)
    cut = patches.extract(photo, corrected, tiles)
    generator.run(local, cut[:1])  # the first call sets up; that is not part of what a tile costs
    for i, patch in enumerate(cut):
        report("tiles", i / len(tiles))
        start = time.perf_counter()
        after[i] = generator.run(local, patch[None])[0, 0]
        seconds[i] = time.perf_counter() - start
        flipped = np.ascontiguousarray(patch[None, ..., ::-1])
        mirrored[i] = generator.run(local, flipped)[0, 0, :, ::-1]
    return after, mirrored, seconds


def blocks(card: CoarseModel) -> tuple[list[str], bool]:
    """Find the tensors to look at in a U²-Net-shaped file.

    Each of its eleven blocks ends by adding what it read to what it made of it; these sums are
    the only ones of two computed tensors, but for one with which a block may begin, and which its
    last one reads. The side outputs are the outputs after the first, or,
    where a file gives out the fused map alone, what the last concatenation of six fuses.

    Returns
    -------
    names : those of En 1…6, De 5…1, and d1…d6, in that order.
    logits : whether the side outputs are still to go through a sigmoid.

    Raises :class:`ModelInvalid` where the network is built otherwise.
    """
    graph = onnx_file.read(card.path.read_bytes())
    made = {name: node for node in graph.nodes for name in node.outputs}

    def source(name: str) -> str:
        while name in made and made[name].op in _PASSING:
            name = made[name].inputs[0]
        return name

    added = [
        node
        for node in graph.nodes
        if node.op == "Add" and not graph.constants.intersection(node.inputs)
    ]
    begun = {source(name) for node in added for name in node.inputs}
    sums = [node.outputs[0] for node in added if node.outputs[0] not in begun]
    if len(sums) != ENCODER + DECODER:
        raise ModelInvalid(
            f"{card.path}: a look inside needs a U²-Net: {ENCODER} blocks that encode and "
            f"{DECODER} that decode, each ending in a sum; this network has {len(sums)} sums"
        )
    sides, logits = list(graph.outputs[1:]), False
    if len(sides) < ENCODER:
        fused = [n for n in graph.nodes if n.op == "Concat" and len(n.inputs) == ENCODER]
        if not fused:
            raise ModelInvalid(f"{card.path}: a look inside needs a U²-Net's six side outputs")
        sides, logits = list(fused[-1].inputs), True
    return [*sums, *sides[:ENCODER]], logits


def _view(tensor: NDArray[np.float32], card: CoarseModel) -> NDArray[np.uint8]:
    """Turn the network's input back into a picture."""
    colour = tensor.transpose(1, 2, 0) * np.array(card.std) + np.array(card.mean)
    return np.clip(colour * 255 + 0.5, 0, 255).astype(np.uint8)


def _windows(mask: NDArray[np.bool_], tiles: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Cut a mask into tiles; false where a tile reaches beyond it."""
    result = np.zeros((len(tiles), patches.TILE, patches.TILE), bool)
    for window, (y, x) in zip(result, tiles, strict=True):
        piece = mask[y : y + patches.TILE, x : x + patches.TILE]
        window[: piece.shape[0], : piece.shape[1]] = piece
    return result
