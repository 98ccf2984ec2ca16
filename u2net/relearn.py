"""The last phase: blocks that were narrowed learn to draw the maps that they drew before.

What is a subject was told by the blocks between them, which stay as they are. The wide network
says of each picture, with hints and without, what the maps should be (distillation; Hinton et al.,
2015).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.errors import SettingsError
from training.precision import autocast
from u2net import losses, widths
from u2net.guided import Guided
from u2net.network import U2Net
from u2net.phases import Log

MAPS = 3  # d0, d1 and d2: the others are drawn by blocks that stay


class Relearn(Guided):
    """The blocks that are narrower than the teacher's, and what reads them, on its maps."""

    def __init__(self, model: U2Net, teacher: U2Net, *rest: Any) -> None:
        if not teacher.hints:
            raise SettingsError(
                "The phase 'relearn' learns from the network that was narrowed, and what is given "
                "as the teacher takes no hints: give the result of the phase before, as both."
            )
        learning = tuple(_learning(model, teacher))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(learning))
        narrower = widths.fewer(model.widths, teacher)
        #: Blocks that learn what goes to blocks that do not: they have the teacher's own channels.
        self.alike = [
            k
            for k in range(len(model.blocks))
            if f"{widths.block(k)}." in learning and k not in narrower
        ]
        super().__init__(model, teacher, *rest)

    def part(
        self,
        model: U2Net,
        x: Tensor,
        target: Tensor,
        weight: Tensor,
        planes: Tensor,
        clicks: Tensor,
    ) -> Log:
        """Do one worker's part of a step; ``target``, ``weight`` and ``clicks`` are not asked."""
        with autocast(x.device):
            with torch.no_grad():
                theirs = self.teacher.features(x, planes)
                wanted = [d.float().sigmoid() for d in self.teacher.heads(theirs)[:MAPS]]
            features = model.features(x, planes)
            maps = model.heads(features)[:MAPS]
        drawn = losses.map_loss(maps, wanted, self.s.overlap)
        handed_on = torch.zeros((), device=x.device)
        for k in self.alike:
            handed_on = handed_on + losses.feature_loss(features[k], theirs[k])
        (drawn + handed_on).backward()
        apart = (maps[0].detach().float().sigmoid() - wanted[0]).abs().mean()
        return {"maps": drawn.item(), "handed_on": handed_on.item(), "apart": apart.item()}


def _learning(model: U2Net, teacher: U2Net) -> set[str]:
    """Return how the names of the blocks and maps begin that are narrower or read what is."""
    names = {"side.0."}
    if model.widths.early and not teacher.widths.early:
        names.add(f"{widths.block(len(model.blocks) - 1)}.")
    for k in widths.fewer(model.widths, teacher):
        names.add(f"{widths.block(k)}.")
        names.update(reader.layer.removesuffix("cin.conv") for reader in widths.readers(k))
    return {name if name.endswith(".") else f"{name}." for name in names}
