"""How a network is opened, and checked for the shape that its stage needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.errors import ModelInvalid
from pipeline.models.catalogue import COARSE, HINTS, REFINERS, CoarseModel, RefinerModel
from pipeline.models.lanes import Lanes
from pipeline.models.providers import usable_cores
from pipeline.models.session import Network, Session
from pipeline.settings import Settings

Card = TypeVar("Card", CoarseModel, RefinerModel)

#: Sides of a map that says anything of a photo: less is a classifier's answer, not a mask.
SMALLEST = 16


@dataclass(frozen=True)
class Refiner:
    """Stage 2, opened: Pix2PixHD's two generators, or one that serves as both."""

    session: Session
    has_both: bool = False
    lanes: int = 1  # runs that go on side by side

    @property
    def local_generator(self) -> Session:
        """Redraws a patch at full size."""
        return self._generator(is_global=False)

    @property
    def global_generator(self) -> Session:
        """Corrects the mask in the reduced photo."""
        return self._generator(is_global=True)

    def _generator(self, is_global: bool) -> Session:
        session = _Generator(self.session, is_global) if self.has_both else self.session
        return Lanes(session, self.lanes) if self.lanes > 1 else session


@dataclass(frozen=True)
class Prompted:
    """A network in two halves that is told what to cut, as SAM is (Kirillov et al., 2023).

    Where nothing is said, a plain stage-1 network looks: ``run`` is that one's. How the halves are
    asked is in :mod:`pipeline.prompted`.
    """

    plain: Session
    encoder: Session
    decoder: Session

    def run(self, outputs: Sequence[str], inputs: dict[str, Any]) -> Sequence[Any]:
        return self.plain.run(outputs, inputs)


@dataclass(frozen=True)
class _Generator:
    """One of the two generators of a file, chosen by its input ``afar``."""

    session: Session
    is_global: bool

    def run(self, outputs: Sequence[str], inputs: dict[str, Any]) -> Sequence[Any]:
        return self.session.run(outputs, {**inputs, "afar": np.array(self.is_global)})


def open_coarse(
    card: CoarseModel, providers: Sequence[str], threads: int
) -> tuple[Network | Prompted, CoarseModel]:
    """Open a stage-1 network; one in 8 bits only on a CPU, elsewhere the same in 32 bits.

    Returns the network and the card with input, output and size as the file itself has them; of one
    in two halves, the card of the bundled network that looks where nothing is said.
    Raises :class:`ModelInvalid` where the file is not U²-Net-shaped: one input (N, 3, H, W), at
    most ``hints`` (N, 2, H, W) beside it, and first an output (N, 1, H, W) (the fused map; side
    outputs may follow);
    :class:`pipeline.errors.ProviderMissing` where an accelerator is not there.
    """
    if card.decoder:
        return _open_prompted(card, providers, threads)
    card = _fitting(card, COARSE, providers)
    network = Network(card.path, providers, threads)
    entry, *more = network.session.get_inputs()
    result = network.session.get_outputs()[0]
    shape, out = list(entry.shape), list(result.shape)
    hints = [[end.name, list(end.shape)[1:2], end.type] for end in more] == [
        [HINTS, [2], "tensor(float)"]
    ]
    if (more and not hints) or len(shape) != 4 or shape[1] != 3:
        raise ModelInvalid(
            f"{card.path}: stage 1 needs one input of shape (N, 3, H, W), and at most 'hints', "
            f"(N, 2, H, W), beside it; "
            f"this network has {[(i.name, i.shape) for i in [entry, *more]]}"
        )
    # Exporters leave a spatial size, and often the channel too, as a name where it may vary.
    if len(out) != 4 or (isinstance(out[1], int) and out[1] != 1):
        raise ModelInvalid(
            f"{card.path}: the first output of stage 1 must be (N, 1, H, W), not {out}"
        )
    if any(isinstance(side, int) and side < SMALLEST for side in out[2:]):
        raise ModelInvalid(
            f"{card.path}: the map of stage 1 must be at least {SMALLEST} px a side, not {out[2:]}"
        )
    if entry.type != "tensor(float)":
        raise ModelInvalid(f"{card.path}: stage 1 needs a float32 input, not {entry.type}")
    fixed = [side for end in (entry, *more) for side in end.shape[2:] if isinstance(side, int)]
    height, width = (
        side if isinstance(side, int) else asked
        for side, asked in zip(shape[2:], card.size, strict=True)
    )
    return network, replace(
        card,
        input=entry.name,
        output=result.name,
        size=(height, width),
        hints=hints,
        second=(0, 0) if fixed else card.second,
        multiple=0 if fixed else card.multiple,
    )


#: What the halves are called by SAM's own export to ONNX, and MobileSAM's.
SEEN, SAID = ["input_image"], ["image_embeddings"]
ASKED = [*SAID, "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"]
ANSWERED = ["iou_predictions", "low_res_masks"]


def _open_prompted(
    card: CoarseModel, providers: Sequence[str], threads: int
) -> tuple[Prompted, CoarseModel]:
    halves = []
    for path, inputs, outputs in (
        (card.path, SEEN, SAID),
        (Path(card.decoder), ASKED, ANSWERED),
    ):
        network = Network(path, providers, threads)
        taken = {end.name for end in network.session.get_inputs()}
        offered = {end.name for end in network.session.get_outputs()}
        if taken != set(inputs) or not offered.issuperset(outputs):
            raise ModelInvalid(
                f"{path}: this half of a SAM needs the inputs {', '.join(inputs)} and the outputs "
                f"{', '.join(outputs)}; it has {', '.join(sorted(taken | offered))}"
            )
        halves.append(network)
    plain, plain_card = open_coarse(COARSE["wisp"], providers, threads)
    return Prompted(plain, *halves), plain_card


def open_refiner(card: RefinerModel, providers: Sequence[str], threads: int) -> Refiner:
    """Open a stage-2 network; one in 8 bits only on a CPU, elsewhere the same in 32 bits.

    Raises :class:`ModelInvalid` unless ``patches`` and ``refined`` are float32 (N, 4, 128, 128)
    with N free. A second input, the truth value ``afar``, tells a file of two generators which of
    them is asked.
    """
    card = _fitting(card, REFINERS, providers)
    on_cpu, cores = providers[0] == "CPUExecutionProvider", threads or usable_cores()
    lanes = min(cores, Settings.batch_size) if on_cpu else 1
    # The fit to the photo's colours divides small differences of large means.
    network = Network(card.path, providers, cores // lanes if on_cpu else threads, allow_fp16=False)
    first, *more = network.session.get_inputs()
    ends = [first, *network.session.get_outputs()]
    listed = [(end.name, end.shape, end.type) for end in [*ends, *more]]
    two = [(end.name, list(end.shape), end.type) for end in more] == [("afar", [], "tensor(bool)")]
    good = [end.name for end in ends] == ["patches", "refined"] and all(
        list(end.shape[1:]) == [4, 128, 128]
        and not isinstance(end.shape[0], int)
        and end.type == "tensor(float)"
        for end in ends
    )
    if not good or (more and not two):
        raise ModelInvalid(
            f"{card.path}: stage 2 needs float32 'patches' in and 'refined' out, each "
            f"(N, 4, 128, 128) with N free, and at most a bool 'afar' in; this network has {listed}"
        )
    return Refiner(network, two, lanes)


def _fitting(card: Card, bundled: dict[str, Card], providers: Sequence[str]) -> Card:
    """The same network in 32 bits, where there is one, for another device than a CPU."""
    if card.fp32_variant and providers[0] != "CPUExecutionProvider":
        return bundled[card.fp32_variant]
    return card
