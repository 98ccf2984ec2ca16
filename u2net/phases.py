"""The phases of a training of stage 1: what each draws, and its forward and backward pass.

``blocks``
    Each of the eleven RSU blocks is fed the teacher's features and regresses the teacher's output
    of that block (FitNets, Romero et al. 2015; blockwise distillation, Li et al. 2020). Every block
    has a dense 64-channel target from the first step on, where the maps give one value a pixel
    through all of them.
``chain``
    The same, but each block is fed what the student's own blocks before it say, so that it learns
    to bear their faults, which otherwise add up over eleven blocks.
``whole``
    End to end on the seven maps and the ground truth, with the features as hints.
``inner`` (:mod:`u2net.inner`)
    The blocks of low resolution, on features that lie ready on disk.
``guided`` (:mod:`u2net.guided`)
    All blocks but the first, on targets that lie ready, with hints and without.
``relearn`` (:mod:`u2net.relearn`)
    The blocks that were narrowed, on the maps of the network that they come from.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.precision import autocast, fastest_format
from training.prefetch import prefetch
from u2net import dataset, gpu_augment, losses
from u2net.dataset import Prepared
from u2net.network import U2Net, normalise
from u2net.settings import Settings

Log = dict[str, float]


class Phase:
    """What all phases have: the student, the teacher, and pictures with their probabilities.

    A step runs in ``s.workers`` parts side by side, one thread each.
    """

    def __init__(
        self,
        model: U2Net,
        teacher: U2Net,
        pictures: Prepared,
        probs: NDArray[np.float64],
        s: Settings,
    ) -> None:
        self.model, self.teacher, self.s = model, teacher, s
        self.pictures, self.probs = pictures, probs
        self.device = next(model.parameters()).device
        self.replicas = replicas(model, s.workers)
        torch.set_num_threads(1)
        self.pool = ThreadPoolExecutor(s.workers, initializer=torch.set_num_threads, initargs=(1,))

    def batches(self, steps: range) -> Iterator[Sequence[Any]]:
        """Yield the batch of each step: photos, truth, has_truth (``u2net.dataset.Batch``)."""
        s, drawn = self.s, (self.pictures, self.probs, self.s.seed)
        if self.device.type == "cuda":
            yield from gpu_augment.batches(
                *drawn, steps, s.batch, s.size, s.strength, s.collage, self.device
            )
        else:
            yield from prefetch(
                dataset.draw(*drawn, step, s.batch, s.size, s.strength) for step in steps
            )

    def step(self, step: int, batch: Sequence[Any]) -> Log:
        """Do a step's forward and backward pass, and return its losses by name.

        The gradients are left in the model's parameters.
        """
        raise NotImplementedError

    def placed(self, batch: Sequence[Any]) -> list[Tensor]:
        """Put a batch on the device, photos as the network is fed them."""
        photos, *rest = (torch.as_tensor(part).to(self.device) for part in batch)
        return [normalise(photos).to(memory_format=fastest_format(self.device)), *rest]

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown()


class Blocks(Phase):
    """Each block on the teacher's input and output; they know nothing of one another."""

    #: Whether the blocks have learned before; untrained ones get the teacher's spread first.
    pretrained = False

    def step(self, step: int, batch: Sequence[Any]) -> Log:
        x = self.placed(batch)[0]
        if step == 0:
            teacher_features, _ = teach(self.teacher, x)
            if not self.pretrained:
                match_spread(self.model, teacher_features)
            match_level(self.model, x, teacher_features)
        parts = list(self.pool.map(lambda p: teach(self.teacher, p), x.chunk(self.s.workers)))
        features = [torch.cat(f) for f in zip(*(part[0] for part in parts), strict=True)]
        maps = [torch.cat(m) for m in zip(*(part[1] for part in parts), strict=True)]

        def one(k: int) -> tuple[str, float]:
            if k == len(features):
                with autocast(x.device):
                    loss = losses.map_loss(self.model.heads(features), maps, self.s.overlap)
                loss.backward()
                return "maps", loss.item()
            count = block_batch(self.model, k, len(x), self.s)
            with autocast(x.device):
                fed = self.model.block_input(k, x[:count], [f[:count] for f in features[:k]])
                loss = losses.feature_loss(self.model.blocks[k](fed), features[k])
            loss.backward()
            return f"block/{k}", loss.item()

        # Side by side, the largest first.
        order = sorted(range(len(features) + 1), key=self.model.block_level)
        return dict(self.pool.map(one, order))


class Chain(Phase):
    """Each block by itself, fed with what the student's own blocks before it say.

    Each learns to give the teacher's answer in spite of the faults that come in, as they will in
    use; no gradient passes from block to block, so that it is as well behaved as ``Blocks``.
    """

    def step(self, step: int, batch: Sequence[Any]) -> Log:
        return in_parts(self.replicas, self.placed(batch), self.part, self.pool)

    def part(self, model: U2Net, x: Tensor, truth: Tensor, has_truth: Tensor) -> Log:
        """Do one worker's part of a step."""
        s = self.s
        features, maps = teach(self.teacher, x)
        target = losses.targets(maps, truth, has_truth, s.truth_weight, s.teacher_gain)
        outputs: list[Tensor] = []
        log = {}
        for k, block in enumerate(model.blocks):
            count = block_batch(model, k, len(x), s)
            with autocast(x.device):
                fed = model.block_input(k, x, outputs)
                output = block(fed[:count])
                loss = losses.feature_loss(losses.thinned(output), losses.thinned(features[k]))
                with torch.no_grad():
                    rest = [block(fed[count:])] if count < len(x) else []
            loss.backward()
            outputs.append(torch.cat([output.detach(), *rest]))
            log[f"block/{k}"] = loss.item()
        with autocast(x.device):
            logits = model.heads(outputs)
            loss = losses.map_loss(logits, target, s.overlap)
        loss.backward()
        log["maps"] = loss.item()
        return log | {"truth": float(losses.truth_error(logits, truth, has_truth))}


class Whole(Phase):
    """End to end on the seven maps and the truth, with the features as hints."""

    def step(self, step: int, batch: Sequence[Any]) -> Log:
        return in_parts(self.replicas, self.placed(batch), self.part, self.pool)

    def part(self, model: U2Net, x: Tensor, truth: Tensor, has_truth: Tensor) -> Log:
        """Do one worker's part of a step."""
        s = self.s
        teacher_features, maps = teach(self.teacher, x)
        target = losses.targets(maps, truth, has_truth, s.truth_weight, s.teacher_gain)
        with autocast(x.device):
            features = model.features(x)
            logits = model.heads(features)
            loss = map_loss = losses.map_loss(logits, target, s.overlap)
            log = {"maps": map_loss.item()}
            if s.hint:
                pairs = zip(features, teacher_features, strict=True)
                hint = torch.stack(
                    [losses.feature_loss(losses.thinned(a), losses.thinned(b)) for a, b in pairs]
                ).mean()
                loss = map_loss + s.hint * hint
                log["hint"] = hint.item()
        loss.backward()
        return log | {"truth": float(losses.truth_error(logits, truth, has_truth))}


@torch.no_grad()
def teach(teacher: U2Net, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return the teacher's eleven features, and its seven maps in 0..1, for normalised photos."""
    features = teacher.features(x.to(next(teacher.parameters()).dtype))
    return features, [d.float().sigmoid() for d in teacher.heads(features)]


@torch.no_grad()
def match_spread(model: U2Net, teacher_features: list[Tensor]) -> None:
    """Give each untrained block the deviation of the teacher's output, channel by channel.

    A block adds two rectified unit normals, of variance 0.68, so each gain is the teacher's
    deviation over its root. Random weights would else start several deviations off.
    """
    for block, feature in zip(model.blocks, teacher_features, strict=True):
        gain = feature.float().std((0, 2, 3)) / 0.68**0.5
        for norm in block.ends:
            norm.weight.copy_(gain)


@torch.no_grad()
def match_level(model: U2Net, x: Tensor, teacher_features: list[Tensor]) -> None:
    """Shift each block's output to the teacher's mean, channel by channel.

    Some channels lie ten deviations above 0, which a bias would take thousands of steps to reach.
    Twice, since the rectifier takes part of a shift away.
    """
    for k, block in enumerate(model.blocks):
        for _ in range(2):
            with autocast(x.device):
                output = block(model.block_input(k, x, teacher_features[:k]))
            error = (output.float() - teacher_features[k].float()).mean((0, 2, 3))
            block.ends[0].bias.sub_(error)


def block_batch(model: U2Net, k: int, batch: int, s: Settings) -> int:
    """Return how many of a batch block ``k`` learns from: all, but at full size only a share.

    Half the resolution means a quarter of the pixels: those blocks see more of the batch.
    """
    return math.ceil(batch * min(1.0, s.full_size_share * 4 ** model.block_level(k)))


def replicas(model: U2Net, count: int) -> list[U2Net]:
    """Return ``model`` and copies of it that share its weights but not their gradients."""
    models = [model]
    for _ in range(count - 1):
        replica = copy.deepcopy(model)
        for ours, theirs in zip(model.parameters(), replica.parameters(), strict=True):
            theirs.data = ours.data
        models.append(replica)
    return models


def in_parts(
    models: list[U2Net],
    batch: Sequence[Tensor],
    part: Callable[..., Log],
    pool: ThreadPoolExecutor,
) -> Log:
    """Call ``part(model, *its part of the batch)`` for each replica, side by side; mean the logs.

    The mean of the gradients is left in the first of ``models``, and the others have none.
    """
    chunks = zip(*(tensor.chunk(len(models)) for tensor in batch), strict=True)
    jobs = list(zip(models, chunks, strict=True))
    logs = list(pool.map(lambda job: part(job[0], *job[1]), jobs))
    for shared in zip(*(m.parameters() for m in models), strict=True) if len(models) > 1 else ():
        if shared[0].grad is not None:
            shared[0].grad = torch.stack([p.grad for p in shared]).mean(0)
        for replica in shared[1:]:
            replica.grad = None
    for copies in zip(*(m.buffers() for m in models), strict=True) if len(models) > 1 else ():
        mean = torch.stack(copies).to(torch.float32).mean(0)
        for statistic in copies:
            statistic.copy_(mean)
    return {name: sum(log[name] for log in logs) / len(logs) for name in logs[0]}
