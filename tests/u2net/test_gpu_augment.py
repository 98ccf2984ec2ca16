"""Views made in batches: the same for the same step, photo and truth together, in range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from training.sampling import sampling_probs
from u2net import dataset, gpu_augment

CPU = torch.device("cpu")


def drawn(prepared: Path, joined: float = 0.3) -> tuple[torch.Tensor, ...]:
    train = dataset.Prepared(prepared, "train")
    made = list(
        gpu_augment.batches(
            train, sampling_probs(train.sources, {}), 3, range(4, 6), 6, 64, 0.8, joined, CPU
        )
    )
    return made[1]


def test_shapes_and_ranges(prepared: Path):
    image, truth, has_truth = drawn(prepared)
    assert image.shape == (6, 3, 64, 64) and image.dtype == torch.uint8
    assert truth.shape == (6, 1, 64, 64) and truth.min() >= 0 and truth.max() <= 1
    assert set(has_truth.tolist()) <= {0.0, 1.0}


def test_a_step_is_a_function_of_its_number(prepared: Path):
    for a, b in zip(drawn(prepared), drawn(prepared), strict=True):
        assert torch.equal(a, b)
    train = dataset.Prepared(prepared, "train")
    alone = next(
        gpu_augment.batches(
            train, sampling_probs(train.sources, {}), 3, range(5, 6), 6, 64, 0.8, 0.3, CPU
        )
    )
    assert torch.equal(alone[0], drawn(prepared)[0])


def test_photo_and_truth_move_together():
    y, x = np.mgrid[:96, :96]
    disc = torch.from_numpy((y - 40) ** 2 + (x - 60) ** 2 < 20**2).float()
    layers = disc.expand(8, 4, 96, 96)  # a photo that is its own mask
    out = gpu_augment.warp(layers, 64, 1.0, np.random.default_rng(0))
    assert torch.allclose(out[:, 0], out[:, 3]) and not torch.equal(out[0], out[1])


def test_crops_are_no_smaller_than_strength_allows():
    across = torch.linspace(0, 1, 400).expand(32, 1, 400, 400)
    out = gpu_augment.warp(across, 400, 0.5, np.random.default_rng(1))
    # Not turned, a row still rises evenly: by the share of the picture that the crop shows.
    rises = (out[:, 0, 200, -1] - out[:, 0, 200, 0]).abs()
    upright = (out[:, 0, 0] - out[:, 0, -1]).abs().amax(1) < 1e-3
    assert upright.sum() > 16 and (rises[upright] > 0.69).all() and rises.min() < 0.9


def test_what_is_joined_has_no_truth_and_what_is_not_is_left_alone():
    rng = np.random.default_rng(2)
    image = torch.rand(16, 3, 32, 32)
    mask = (torch.rand(16, 1, 32, 32) > 0.5).float()
    has_truth = torch.ones(16)
    same, still = gpu_augment.join(image, mask, has_truth, 0.0, rng)
    assert torch.equal(same, image) and torch.equal(still, has_truth)
    mixed, none = gpu_augment.join(image, mask, has_truth, 1.0, rng)
    assert not none.any()
    changed = (mixed != image).flatten(1).any(1)
    assert changed.sum() >= 15 and mixed.min() >= 0 and mixed.max() <= 1


def test_no_strength_wears_nothing():
    image = torch.rand(4, 3, 40, 40)
    rng = np.random.default_rng(0)
    assert torch.equal(gpu_augment.degrade(image, 0.0, rng), image)
    assert torch.allclose(gpu_augment.jitter_colours(image, 0.0, rng), image, atol=1e-6)


def test_blur_is_opencvs():
    import cv2

    image = torch.rand(1, 3, 40, 50)
    theirs = cv2.GaussianBlur(
        image[0].permute(1, 2, 0).numpy(), (9, 9), 1.3, borderType=cv2.BORDER_REFLECT_101
    )
    ours = gpu_augment.blur(image, 1.3)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
