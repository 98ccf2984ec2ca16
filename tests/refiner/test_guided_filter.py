"""The alpha keeps to the photo's colours: against least squares, and what must not move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from refiner import guided_filter
from refiner.guided_filter import GuidedFilter
from refiner.network import Generator, Shape, grow
from tests.refiner.test_network import random, trained


def _direct(layers: NDArray[np.float64]) -> NDArray[np.float64]:
    """The guided filter by its definition: ridge regression in each window, then their mean."""
    reach = guided_filter.WINDOW // 2
    fits = np.empty_like(layers)

    def around(y: int, x: int) -> tuple[slice, slice, slice]:
        rows, columns = (slice(max(0, at - reach), at + reach + 1) for at in (y, x))
        return slice(None), rows, columns

    for y, x in np.ndindex(*layers.shape[1:]):
        samples = layers[around(y, x)].reshape(4, -1)
        mean, covariance = samples.mean(1), np.cov(samples, bias=True)
        slope = np.linalg.solve(
            covariance[:3, :3] + guided_filter.EPSILON * np.eye(3), covariance[:3, 3]
        )
        fits[:, y, x] = [*slope, mean[3] - slope @ mean[:3]]
    means = [fits[around(y, x)].mean((1, 2)) for y, x in np.ndindex(*layers.shape[1:])]
    return np.array(means).T.reshape(fits.shape)


def test_coefficients_are_those_of_ridge_regression_in_each_window() -> None:
    layers = np.random.default_rng(3).uniform(-0.5, 0.5, (4, 14, 17))
    tensor = torch.from_numpy(layers).float()[None]
    ours = guided_filter.coefficients(tensor[:, :3], tensor[:, 3:])[0]
    np.testing.assert_allclose(ours.numpy(), _direct(layers), atol=1e-4)


def filtered(photo: Tensor, alpha: Tensor, strength: float = 0.0) -> Tensor:
    half = torch.nn.functional.avg_pool2d(photo, 2)
    moved = GuidedFilter()(half, photo, alpha, torch.full_like(alpha, strength))
    assert isinstance(moved, Tensor)
    return moved


def strands(noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """A patch of strands of one colour over another, its alpha, and a noisy guess of it."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:128, :128]
    true = np.clip(0.5 + 0.6 * np.sin(x / 3 + 4 * np.sin(y / 17)), 0, 1)[None]
    dark, light = (np.array(c)[:, None, None] for c in ((0.2, 0.1, 0.05), (0.6, 0.8, 0.9)))
    photo = true * dark + (1 - true) * light
    guess = np.clip(true + rng.normal(0, noise, true.shape), 0, 1)
    photo, true, guess = (torch.from_numpy(a[None]).float() for a in (photo, true, guess))
    return photo, true, guess


def test_a_noisy_alpha_comes_nearer_to_what_the_colours_say() -> None:
    photo, true, guess = strands(0.2)
    unsure = (guess > 0.1) & (guess < 0.9)
    before, half, after = (
        (alpha - true).abs()[unsure].mean()
        for alpha in (guess, filtered(photo, guess, -0.55), filtered(photo, guess))
    )
    assert after < 0.7 * before
    assert after < half < before  # as far as it is told to
    torch.testing.assert_close(filtered(photo, guess, -20.0), guess)


def test_what_is_sure_stays_to_the_bit_and_nothing_leaves_the_range() -> None:
    photo, _, guess = strands(0.5)
    moved = filtered(photo, guess, 2.0)
    sure = (guess == 0) | (guess == 1)
    assert sure.any()
    assert torch.equal(moved[sure], guess[sure])
    assert moved.min() >= 0
    assert moved.max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_one_colour_tells_nothing_and_is_no_error(value: float) -> None:
    photo = torch.full((1, 3, 128, 128), value)
    alpha = torch.linspace(0, 1, 128).expand(1, 1, 128, 128)
    torch.testing.assert_close(filtered(photo, alpha), alpha, atol=0.01, rtol=0)


def test_a_generator_learns_to_follow_from_one_that_did_not() -> None:
    plain = trained(Shape(8, 1, 1))
    assert plain.head.bias is not None
    torch.nn.init.normal_(plain.head.bias, std=0.05)
    more = grow(plain, Shape(8, 1, 1, guided_filter=True)).eval()
    patches = random(2, 4, 128, 128)
    photo = patches[:, :3]
    drawn, followed = plain(patches), more(patches)
    torch.testing.assert_close(followed[:, :1], filtered(photo, drawn[:, :1]))
    assert (followed[:, :1] - drawn[:, :1]).abs().mean() > 0.01
    assert isinstance(more, Generator)
    more(patches)[:, :1].mean().backward()
    assert more.head.weight.grad is not None and more.head.weight.grad[-1].abs().sum() > 0
