"""One training step of each phase: forward and backward, gradients left in the parameters.

See ``train_u2net.py`` for what the phases are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from concurrent.futures import Executor

import torch

from u2net import losses
from u2net.network import U2Net
from u2net.precision import autocast
from u2net.settings import Settings


@torch.no_grad()
def match_spread(model: U2Net, inner: list[torch.Tensor]) -> None:
    """Give each untrained block the deviation of the teacher's output, channel by channel.

    A block adds two rectified unit normals, of variance 0.68, so each gain is the teacher's
    deviation over its root. Random weights would else start several deviations off.
    """
    for block, feature in zip(model.blocks, inner, strict=True):
        gain = feature.float().std((0, 2, 3)) / 0.68**0.5
        for norm in block.ends:
            norm.weight.copy_(gain)


@torch.no_grad()
def match_level(model: U2Net, x: torch.Tensor, inner: list[torch.Tensor]) -> None:
    """Shift each block's output to the teacher's mean, channel by channel.

    Some channels lie ten deviations above 0, which a bias would take thousands of steps to reach.
    Twice, since the rectifier takes part of a shift away.
    """
    for k, block in enumerate(model.blocks):
        for _ in range(2):
            with autocast(x.device):
                found = block(model.block_input(k, x, inner[:k]))
            block.ends[0].bias.sub_((found.float() - inner[k].float()).mean((0, 2, 3)))


def watch(guide: U2Net, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The teacher's eleven features, and its seven maps in 0..1, for normalised photos."""
    with torch.no_grad():
        inner = guide.features(x.to(next(guide.parameters()).dtype))
        return inner, [d.float().sigmoid() for d in guide.heads(inner)]


def block_step(
    model: U2Net, guide: U2Net, x: torch.Tensor, s: Settings, pool: Executor
) -> dict[str, float]:
    """Backward of every block on the teacher's input and output; the losses by name.

    The blocks know nothing of one another here, so that they run side by side, the largest first.
    """
    parts = list(pool.map(lambda part: watch(guide, part), x.chunk(s.workers)))
    inner = [torch.cat(f) for f in zip(*(part[0] for part in parts), strict=True)]
    maps = [torch.cat(m) for m in zip(*(part[1] for part in parts), strict=True)]

    def one(k: int) -> tuple[str, float]:
        if k == len(inner):
            with autocast(x.device):
                loss = losses.map_loss(model.heads(inner), maps, s.overlap)
            loss.backward()
            return "maps", loss.item()
        count = seen_by(model, k, len(x), s)
        with autocast(x.device):
            fed = model.block_input(k, x[:count], [f[:count] for f in inner[:k]])
            loss = losses.feature_loss(model.blocks[k](fed), inner[k])
        loss.backward()
        return f"block/{k}", loss.item()

    return dict(pool.map(one, sorted(range(len(inner) + 1), key=model.block_level)))


def whole_step(
    models: list[U2Net], guide: U2Net, batch: tuple, s: Settings, pool: Executor
) -> dict[str, float]:
    """Backward of the seven maps and the hints, through the whole network."""

    def one(job: tuple) -> dict[str, float]:
        model, x, truth, has = job
        inner, maps = watch(guide, x)
        target = losses.targets(maps, truth, has, s.trust, s.gain)
        with autocast(x.device):
            features = model.features(x)
            logits = model.heads(features)
            loss = map_loss = losses.map_loss(logits, target, s.overlap)
            log = {"maps": map_loss.item()}
            if s.hint:
                pairs = zip(features, inner, strict=True)
                hint = torch.stack(
                    [losses.feature_loss(losses.thinned(a), losses.thinned(b)) for a, b in pairs]
                ).mean()
                loss = map_loss + s.hint * hint
                log["hint"] = hint.item()
        loss.backward()
        return log | {"truth": float(losses.truth_error(logits, truth, has))}

    return in_parts(models, batch, one, pool)


def chain_step(
    models: list[U2Net], guide: U2Net, batch: tuple, s: Settings, pool: Executor
) -> dict[str, float]:
    """Backward of every block by itself, fed with what the student's own blocks before it say.

    Each learns to give the teacher's answer in spite of the faults that come in, as they will in
    use; no gradient passes from block to block, so that it is as well behaved as ``block_step``.
    """

    def one(job: tuple) -> dict[str, float]:
        model, x, truth, has = job
        inner, maps = watch(guide, x)
        target = losses.targets(maps, truth, has, s.trust, s.gain)
        outputs: list[torch.Tensor] = []
        log = {}
        for k, block in enumerate(model.blocks):
            count = seen_by(model, k, len(x), s)
            with autocast(x.device):
                fed = model.block_input(k, x, outputs)
                found = block(fed[:count])
                loss = losses.feature_loss(losses.thinned(found), losses.thinned(inner[k]))
                with torch.no_grad():
                    rest = [block(fed[count:])] if count < len(x) else []
            loss.backward()
            outputs.append(torch.cat([found.detach(), *rest]))
            log[f"block/{k}"] = loss.item()
        with autocast(x.device):
            logits = model.heads(outputs)
            loss = losses.map_loss(logits, target, s.overlap)
        loss.backward()
        log["maps"] = loss.item()
        return log | {"truth": float(losses.truth_error(logits, truth, has))}

    return in_parts(models, batch, one, pool)


def seen_by(model: U2Net, k: int, batch: int, s: Settings) -> int:
    """How many of a batch block ``k`` learns from: all, but at full size only a share.

    Half the resolution means a quarter of the pixels: those blocks see more of the batch.
    """
    return math.ceil(batch * min(1.0, s.full_size_share * 4 ** model.block_level(k)))


def in_parts(
    models: list[U2Net], batch: tuple, one: Callable[[tuple], dict[str, float]], pool: Executor
) -> dict[str, float]:
    """Do a step in parts side by side: each model takes its part of the batch; returns mean logs.

    ``models`` share their weights; the mean of their gradients ends up in the first one.
    """
    jobs = zip(models, *(part.chunk(len(models)) for part in batch), strict=True)
    logs = list(pool.map(one, jobs))
    if len(models) == 1:
        return logs[0]
    for copies in zip(*(m.parameters() for m in models), strict=True):
        if copies[0].grad is not None:
            copies[0].grad = torch.stack([p.grad for p in copies]).mean(0)
    for copies in zip(*(m.buffers() for m in models), strict=True):
        mean = torch.stack(copies).to(torch.float32).mean(0)
        for statistic in copies:
            statistic.copy_(mean)
    return {name: sum(log[name] for log in logs) / len(logs) for name in logs[0]}


def twins(model: U2Net, count: int) -> list[U2Net]:
    """``model`` and copies of it that share its weights but not their gradients."""
    models = [model]
    for _ in range(count - 1):
        twin = copy.deepcopy(model)
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            theirs.data = ours.data
        models.append(twin)
    return models
