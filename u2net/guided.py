"""The guided phase: on targets that lie ready, with hints and without, all blocks but the first.

The pictures, what is meant of them, and the hints come from :mod:`u2net.samples`; no teacher runs
beside it. Two blocks work at full size, and are 70 % of a pass: the first one finds edges and
colours, which it goes on doing as before (no gradient reaches it), and the last one sees a share of
the batch, the rest ending in the maps of half size. So a sample costs half of one of ``whole``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.precision import autocast
from training.prefetch import prefetch
from u2net import hints, losses
from u2net.network import DEPTH, U2Net, resize_like
from u2net.phases import Log, Phase, in_parts
from u2net.samples import Pool, Sample


class Guided(Phase):
    """All blocks but the first, on truths and teachers' maps, by hints where there are some."""

    samples: Pool

    def batches(self, steps: range) -> Iterator[Sequence[Any]]:
        """Yield the batch of each step (:func:`collated`)."""
        seed = self.s.seed
        yield from prefetch(collated(self.samples.draw(seed, step, self.s)) for step in steps)

    def step(self, step: int, batch: Sequence[Any]) -> Log:
        return in_parts(self.replicas, self.placed(batch), self.part, self.pool)

    def part(
        self,
        model: U2Net,
        x: Tensor,
        target: Tensor,
        weight: Tensor,
        planes: Tensor,
        clicks: Tensor,
    ) -> Log:
        """Do one worker's part of a step."""
        if clicks.any():
            planes = corrected(model, x, target, planes, clicks)
        count = math.ceil(len(x) * self.s.full_size_share)
        with autocast(x.device):
            features = inner_features(model, x, planes)
            half = half_size_maps(model, features)
            last = [feature[:count] for feature in features]
            last.append(model.blocks[-1](model.block_input(len(last), x[:count], last)))
            full = model.heads(last)[:2]
        small, small_weight = F.avg_pool2d(target, 2), F.avg_pool2d(weight, 2)
        loss = losses.map_loss(half, [small] * len(half), self.s.overlap, small_weight)
        loss = loss + losses.map_loss(full, [target[:count]] * 2, self.s.overlap, weight[:count])
        loss.backward()
        wrong = (half[0].detach().float().sigmoid() - small).abs().mul(small_weight).mean((1, 2, 3))
        hinted = (planes.amax((1, 2, 3)) > 0).float()
        return {
            "maps": loss.item(),
            "error_plain": _mean(wrong, 1 - hinted),
            "error_hinted": _mean(wrong, hinted),
        }


def collated(samples: list[Sample]) -> tuple[np.ndarray, ...]:
    """Stack samples: photos (B, 3, S, S) uint8; targets and weights (B, 1, S, S), hints
    (B, 2, S, S) float32 in 0..1; how many clicks on mistakes each is to get, (B,) int64."""
    return (
        np.stack([s.photo.transpose(2, 0, 1) for s in samples]),
        np.stack([s.target[None] for s in samples]),
        np.stack([s.weight[None] for s in samples]),
        np.stack([s.hints for s in samples]),
        np.array([s.corrections for s in samples]),
    )


def inner_features(model: U2Net, x: Tensor, planes: Tensor) -> list[Tensor]:
    """Return the outputs of all blocks but the last (De_1); no gradient reaches the first."""
    levels = model.hint_features(x, planes)
    with torch.no_grad():
        features = [model.blocks[0](x)]
    for k in range(1, len(model.blocks) - 1):
        features.append(model.blocks[k](model.block_input(k, x, features, levels)))
    return features


def half_size_maps(model: U2Net, features: list[Tensor]) -> list[Tensor]:
    """Return the logits of d2 .. d6, each (B, 1, H/2, W/2), from all features but the last."""
    feeds = features[: DEPTH - 2 : -1]  # De_2 .. De_5, En_6
    maps = [conv(feature) for conv, feature in zip(model.side[1:], feeds, strict=True)]
    return [maps[0], *(resize_like(d, maps[0]) for d in maps[1:])]


@torch.no_grad()
def corrected(model: U2Net, x: Tensor, target: Tensor, planes: Tensor, clicks: Tensor) -> Tensor:
    """Return hints with ``clicks`` (B,) more clicks, on mistakes the network makes with them."""
    rows = torch.nonzero(clicks).flatten()
    with autocast(x.device):
        answer = half_size_maps(model, inner_features(model, x[rows], planes[rows]))[0]
    answer = resize_like(answer.float(), target).sigmoid()
    planes = planes.clone()
    for row, prediction in zip(rows.tolist(), answer[:, 0].cpu().numpy(), strict=True):
        truth, old = target[row, 0].cpu().numpy(), planes[row].cpu().numpy()
        new = hints.correction(old, prediction, truth, int(clicks[row]))
        planes[row] = torch.from_numpy(new).to(planes)
    return planes


def _mean(values: Tensor, chosen: Tensor) -> float:
    """Return the mean of the chosen values; 0 where none is."""
    return float((values * chosen).sum() / chosen.sum().clamp(min=1))
