"""The last phase: De_1, narrower than it was, learns to draw the map that it drew before.

De_1 works at full size, and with its map it is half of a pass; what is a subject was told before
it. So the other blocks stay as they are, and the wide network says of each picture, with hints and
without, what d1 and d0 should be (distillation; Hinton et al., 2015).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.errors import SettingsError
from training.precision import autocast
from u2net import losses
from u2net.guided import Guided
from u2net.network import U2Net
from u2net.phases import Log


class Last(Guided):
    """De_1 and its map, on the features and the maps of the teacher: the network it comes from."""

    def __init__(self, model: U2Net, teacher: U2Net, *rest: Any) -> None:
        if not teacher.hints:
            raise SettingsError(
                "The phase 'last' learns from the network that it narrows, and what is given as "
                "the teacher takes no hints: give the result of the phase before, as both."
            )
        model.requires_grad_(False)
        for layers in (model.blocks[-1], model.side[0]):
            layers.requires_grad_(True)
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
                features = self.teacher.features(x, planes)
                wanted = [d.float().sigmoid() for d in self.teacher.heads(features)[:2]]
            features[-1] = model.blocks[-1](model.block_input(len(features) - 1, x, features))
            maps = model.heads(features)[:2]
        loss = losses.map_loss(maps, wanted, self.s.overlap)
        loss.backward()
        apart = (maps[0].detach().float().sigmoid() - wanted[0]).abs().mean()
        return {"maps": loss.item(), "apart": apart.item()}
