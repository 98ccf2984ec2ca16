"""The phases of a training of stage 2: what each draws, and its forward and backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pipeline.errors import SettingsError
from refiner import dataset, losses
from refiner.dataset import Batch, Shards
from refiner.discriminator import Discriminator, judged
from refiner.settings import Settings
from refiner.validate import smooth_change
from training.prefetch import prefetch

Log = dict[str, Tensor]


class Reconstruction:
    """The generator learns to give back true alpha and foreground.

    ``parts`` are what a checkpoint holds besides the generator, its average and its optimizer.
    """

    def __init__(self, fabric: Fabric, model: nn.Module, shards: Shards, s: Settings) -> None:
        self.fabric, self.model, self.shards, self.s = fabric, model, shards, s
        self.parts: dict[str, Any] = {}

    def batches(self, steps: range) -> Iterator[Batch]:
        """Yield this process's batch of each step."""
        share = (self.fabric.global_rank, self.fabric.world_size)
        drawn = dataset.batches(self.shards, self.s.batch, self.s.seed, steps, *share)
        return prefetch(drawn, ahead=4)

    def step(self, step: int, batch: Batch) -> Log:
        """Do a step's forward and backward pass, and return what it logs.

        The gradients are left in the generator's parameters.
        """
        rng = np.random.default_rng([self.s.seed, step, self.fabric.global_rank])
        seen = len(batch.patches)
        if self.s.weights.consistency:
            batch = dataset.twice(batch, rng, max(1, round(self.s.twins * seen)))
        refined = self.refine(batch)
        loss, log = self.objective(step, refined, batch, rng)
        if self.s.weights.consistency:
            again = refined[seen:, :1]
            apart = losses.l1(refined[: len(again), :1], again, batch.weight[seen:])
            loss, log["apart"] = loss + self.s.weights.consistency * apart, apart.detach()
        self.fabric.backward(loss)
        return log

    def objective(
        self, step: int, refined: Tensor, batch: Batch, rng: np.random.Generator
    ) -> tuple[Tensor, Log]:
        """Return what the generator is to make small, and what is logged of it."""
        loss = self.loss(refined, batch)
        return loss, {"loss": loss.detach()}

    def refine(self, batch: Batch) -> Tensor:
        """Return the generator's answer as it is used."""
        refined = self.model(batch.patches.contiguous(memory_format=torch.channels_last))
        return smooth_change(refined, batch.coarse, self.s.smoothing)

    def loss(self, refined: Tensor, batch: Batch) -> Tensor:
        """Return the reconstruction loss."""
        return losses.reconstruction(
            refined,
            batch.image,
            batch.coarse,
            batch.alpha,
            batch.foreground,
            batch.weight,
            self.s.weights,
        )


class Adversarial(Reconstruction):
    """The same, and its composites have to pass a discriminator that learns along."""

    def __init__(self, fabric: Fabric, model: nn.Module, shards: Shards, s: Settings) -> None:
        super().__init__(fabric, model, shards, s)
        module = Discriminator()
        self.discriminator, self.optimizer = fabric.setup(
            module, torch.optim.Adam(module.parameters(), s.lr, (0.5, 0.99))
        )
        self.parts = {"discriminator": module, "discriminator_optimizer": self.optimizer}
        self.lpips = perceptual_loss().to(fabric.device) if s.perceptual else None

    def objective(
        self, step: int, refined: Tensor, batch: Batch, rng: np.random.Generator
    ) -> tuple[Tensor, Log]:
        s = self.s
        loss, log = super().objective(step, refined, batch, rng)
        fake, real = pictures(refined, batch, rng)
        log["discriminator"] = self.discriminator_step(fake.detach(), real)
        if step < s.discriminator_warmup:
            return loss, log
        features = self.discriminator(fake)
        loss = (
            loss
            + s.adversarial * losses.adversarial(features, True)
            + s.feature_matching * losses.feature_matching(features, self.discriminator(real))
        )
        if self.lpips:
            loss = loss + s.perceptual * self.lpips(fake[:, :3], real[:, :3], normalize=True).mean()
        return loss, log

    def discriminator_step(self, fake: Tensor, real: Tensor) -> Tensor:
        """Let the discriminator learn from a batch; return its loss."""
        loss = (
            losses.adversarial(self.discriminator(fake), False)
            + losses.adversarial(self.discriminator(real), True)
        ) / 2
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.optimizer.step()
        return loss.detach()


def perceptual_loss() -> nn.Module:
    """Build LPIPS (Zhang et al., 2018); its backbone is downloaded on first use."""
    try:
        import lpips
    except ImportError as error:
        raise SettingsError(
            "The perceptual loss needs lpips: pip install 'wispcut[lpips]', or --set perceptual=0."
        ) from error
    return lpips.LPIPS(net="vgg", verbose=False).requires_grad_(False)


def pictures(refined: Tensor, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return what is judged of ours and of the truth, over the same random backgrounds.

    The background is another patch of the batch, or a plain colour, where all faults show.
    """
    n = len(refined)
    background = batch.image.roll(int(rng.integers(1, n)) if n > 1 else 0, 0)
    plain = torch.from_numpy(rng.uniform(0, 1, (n, 3, 1, 1))).to(background)
    choose = torch.from_numpy(rng.random((n, 1, 1, 1)) < 0.5).to(background.device)
    background = torch.where(choose, plain, background)
    # Outside the ROI the pipeline keeps the coarse mask; there the discriminator sees the truth.
    alpha = torch.lerp(batch.alpha, refined[:, :1], batch.weight)
    true = torch.where(batch.alpha > 0.02, batch.foreground, batch.image)
    colours = torch.lerp(true, refined[:, 1:], batch.weight)
    return (
        judged(alpha, colours, background, batch.image),
        judged(batch.alpha, true, background, batch.image),
    )
