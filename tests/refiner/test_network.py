"""Generator, discriminator and losses, each against what it is to be."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from refiner import losses
from refiner.discriminator import JUDGED, Discriminator, over
from refiner.network import Attention, Generator, Shape, nearby_colours, project
from refiner.resampling import box_mean

SMALL = Shape(width=8, middle=1, bottom=1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def trained(shape: Shape = SMALL) -> Generator:
    """A generator of which nothing is zero any more."""
    torch.manual_seed(0)
    generator = Generator(shape).eval()
    torch.nn.init.normal_(generator.head.weight, std=0.05)
    if isinstance(generator.attend, Attention):
        torch.nn.init.normal_(generator.attend.project.weight, std=0.2)
    return generator


@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        Shape(8, 0, 1),
        Shape(8, colours=False, attention=False),
    ],
)
def test_a_new_generator_returns_its_input_bit_for_bit(shape: Shape) -> None:
    patches = random(2, 4, 128, 128)
    refined = Generator(shape).eval()(patches)
    assert torch.equal(refined[:, 0], patches[:, 3])  # alpha is the coarse mask: channel order
    assert torch.equal(refined[:, 1:], patches[:, :3])


def test_gradients_reach_every_weight() -> None:
    generator = trained().train()
    truth = random(2, 4, 64, 64, seed=1)
    (generator(random(2, 4, 64, 64)) - truth).square().mean().backward()
    for name, weight in generator.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_the_answer_stays_in_range_and_depends_on_photo_and_mask() -> None:
    generator = trained()
    patches = random(1, 4, 128, 128)
    refined = generator(patches)
    assert refined.shape == (1, 4, 128, 128) and refined.min() >= 0 and refined.max() <= 1
    for channel in range(4):
        other = patches.clone()
        other[:, channel] = other[:, channel].flip(-1)
        assert (generator(other) - refined).abs().max() > 1e-4, channel


def test_attention_begins_as_nothing_and_sees_the_whole_map() -> None:
    torch.manual_seed(0)
    attend, x = Attention(32), random(1, 32, 16, 16)
    assert torch.equal(attend(x), x)
    torch.nn.init.normal_(attend.project.weight)
    other = x.clone()
    other[..., 0, 0] += 1
    assert ((attend(other) - attend(x)).abs().amax(1) > 1e-6).all()
    # The cells are a set: whatever order they come in, each gets the same answer.
    torch.testing.assert_close(attend(x.flip(2, 3)), attend(x).flip(2, 3))
    assert attend(1e4 * x).isfinite().all() and attend(0 * x).isfinite().all()


def test_box_is_the_mean_of_the_pixels_inside() -> None:
    x = random(1, 2, 9, 12)
    mean = box_mean(x, 5)
    torch.testing.assert_close(mean[0, 1, 4, 6], x[0, 1, 2:7, 4:9].mean())
    torch.testing.assert_close(mean[0, 0, 0, 0], x[0, 0, :3, :3].mean())


def test_nearby_colours_and_the_line_find_alpha_where_the_layers_are_plain() -> None:
    front, back = torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.8])
    alpha = torch.linspace(-1, 2, 128).clamp(0, 1).expand(1, 1, 128, 128)
    image = alpha * front.view(1, 3, 1, 1) + (1 - alpha) * back.view(1, 3, 1, 1)
    coarse = (alpha > 0.5).float()
    coarse[..., 30:98] = 0.5  # not sure around the edge
    near_f, near_b = nearby_colours(image, coarse)
    assert near_f.shape == (1, 3, 32, 32)
    torch.testing.assert_close(near_f[0, :, 16, 28], front, atol=0.02, rtol=0)
    torch.testing.assert_close(near_b[0, :, 16, 4], back, atol=0.02, rtol=0)
    line = project(image, front.view(1, 3, 1, 1), back.view(1, 3, 1, 1))
    assert (line - alpha).abs().max() < 0.01


def test_nearby_colours_are_finite_where_nothing_is_sure() -> None:
    near = nearby_colours(random(1, 3, 128, 128), torch.full((1, 1, 128, 128), 0.5))
    assert all(torch.isfinite(colour).all() and (colour <= 1.001).all() for colour in near)


# -- losses ----------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> tuple[Tensor, Tensor, Tensor]:
    return random(2, 1, 32, 32), random(2, 1, 32, 32, seed=1), random(2, 1, 32, 32, seed=2)


def test_l1_and_l2_are_weighted_means(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    alpha, truth, weight = (t.numpy() for t in pair)
    expected = (np.abs(alpha - truth) * weight).sum() / weight.sum()
    assert losses.l1(*pair).item() == pytest.approx(expected, rel=1e-4)
    expected = ((alpha - truth) ** 2 * weight).sum() / weight.sum()
    assert losses.l2(*pair).item() == pytest.approx(expected, rel=1e-4)


def test_gradient_is_opencvs_sobel(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    alpha, truth, weight = (t.numpy()[:, 0] for t in pair)
    total = 0.0
    for a, t, w in zip(alpha, truth, weight, strict=True):
        for dx, dy in ((1, 0), (0, 1)):
            border = cv2.BORDER_REPLICATE
            edge = cv2.Sobel(a - t, cv2.CV_32F, dx, dy, scale=1 / 8, borderType=border)
            total += float((np.abs(edge) * w).sum())
    assert losses.gradient(*pair).item() == pytest.approx(total / weight.sum(), rel=1e-4)


def test_laplacian_is_zero_for_equals_and_sees_every_scale() -> None:
    truth, weight = random(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    assert losses.laplacian(truth, truth, weight) == 0
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for wavelength in (4, 16, 64):
        wave = 0.5 + 0.3 * torch.sin(x / wavelength * 6.283)[None, None]
        assert losses.laplacian(wave, torch.full_like(wave, 0.5), weight) > 0.05
    # A constant lives on the last level alone, which counts 16 / 5.
    level = losses.laplacian(truth + 0.5, truth, weight)
    assert level.item() == pytest.approx(0.5 * 16 / 5, rel=1e-3)


def test_composition_counts_where_the_layers_differ_in_colour() -> None:
    truth, weight = torch.full((1, 1, 8, 8), 0.5), torch.ones(1, 1, 8, 8)
    front, back = torch.full((1, 3, 8, 8), 0.9), torch.full((1, 3, 8, 8), 0.1)
    image = over(truth, front, back)
    wrong = losses.composition(truth + 0.2, truth, front, image, weight)
    assert wrong.item() == pytest.approx(0.2 * 0.8, rel=1e-4)  # |Δα|·|F − B|
    assert losses.composition(truth + 0.2, truth, front, front, weight) == 0


def test_colour_counts_only_where_pixels_are_mixed() -> None:
    true, weight = random(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    truth = torch.zeros(1, 1, 8, 8)
    assert losses.colour(true + 0.5, true, truth, weight) == 0
    truth[..., :4] = 0.25
    assert losses.colour(true + 0.5, true, truth, weight).item() == pytest.approx(0.5, rel=1e-4)


def test_harm_is_what_the_error_grew_by() -> None:
    truth, weight = torch.full((1, 1, 4, 4), 0.5), torch.ones(1, 1, 4, 4)
    coarse = truth + 0.2
    assert losses.harm(truth + 0.1, truth, coarse, weight) == 0  # better
    assert losses.harm(truth - 0.2, truth, coarse, weight).item() == pytest.approx(0, abs=1e-6)
    assert losses.harm(truth - 0.3, truth, coarse, weight).item() == pytest.approx(0.1, rel=1e-4)


def test_worse_counts_patches_by_what_was_wrong_in_them() -> None:
    truth, weight = torch.full((2, 1, 4, 4), 0.5), torch.ones(2, 1, 4, 4)
    coarse = truth + 0.2
    gains = truth.clone()
    gains[:, :, 0] += 0.4  # a row got worse, the patch as a whole better
    assert losses.worse(gains, truth, coarse, weight) == 0
    assert losses.harm(gains, truth, coarse, weight) > 0
    one_grew = torch.cat([truth[:1], truth[1:] + 0.25])
    grown = losses.worse(one_grew, truth, coarse, weight, margin=0.0)
    assert grown.item() == pytest.approx(0.25 / 2, rel=1e-4)  # by a quarter, in one of two patches
    stayed = losses.worse(coarse, truth, coarse, weight, margin=0.1)
    assert stayed.item() == pytest.approx(0.1, rel=1e-4)
    assert losses.worse(truth + 1e-4, truth, truth, weight).item() == pytest.approx(0.02, rel=1e-3)


def test_thin_counts_what_narrow_structures_lack() -> None:
    truth, weight = torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    truth[..., 10:40, 10:40] = 1  # a body, and a whisker of two pixels
    truth[..., 50:52, 5:45] = 1
    without_whisker, without_body = truth.clone(), truth.clone()
    without_whisker[..., 50:52, :] = 0
    without_body[..., 20:30, 20:30] = 0
    assert losses.thin(without_whisker, truth, weight).item() == pytest.approx(80 / 64**2)
    assert losses.thin(without_body, truth, weight) == 0
    assert losses.thin(torch.ones_like(truth), truth, weight) == 0  # too much is no lack


def test_reconstruction_is_the_sum_of_its_terms(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    alpha, truth, weight = pair
    foreground, image, true = (random(2, 3, 32, 32, seed=i) for i in (3, 4, 5))
    coarse = random(2, 1, 32, 32, seed=6)
    refined = torch.cat([alpha, foreground], 1)
    terms = {
        "l1": losses.l1(alpha, truth, weight),
        "l2": losses.l2(alpha, truth, weight),
        "gradient": losses.gradient(alpha, truth, weight),
        "laplacian": losses.laplacian(alpha, truth, weight),
        "composition": losses.composition(alpha, truth, true, image, weight),
        "foreground": losses.colour(foreground, true, truth, weight),
        "harm": losses.harm(alpha, truth, coarse, weight),
        "worse": losses.worse(alpha, truth, coarse, weight),
        "thin": losses.thin(alpha, truth, weight),
    }
    nothing = dict.fromkeys(terms, 0.0)
    for name, value in terms.items():
        alone = losses.Weights(**{**nothing, name: 2.0})
        loss = losses.reconstruction(refined, image, coarse, truth, true, weight, alone)
        assert loss.item() == pytest.approx(2 * value.item(), rel=1e-5)


def test_what_lies_outside_the_roi_does_not_count() -> None:
    truth, weight = random(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    weight[..., :16] = 1
    alpha = truth.clone()
    alpha[..., 16:] = random(1, 1, 32, 16, seed=3)
    for term in (losses.l1, losses.l2):
        assert term(alpha, truth, weight) == 0
    alpha[..., :8] += 0.1
    assert losses.l1(alpha, truth, weight) > 0


# -- the adversary ---------------------------------------------------------------------------------


def test_the_discriminator_looks_at_two_scales() -> None:
    features = Discriminator(8)(random(2, JUDGED, 128, 128))
    assert len(features) == 2 and [len(scale) for scale in features] == [4, 4]
    assert features[0][-1].shape == (2, 1, 30, 30) and features[1][-1].shape == (2, 1, 14, 14)


def test_lsgan_is_the_squared_distance_from_the_verdict() -> None:
    features = [[torch.full((1, 1, 2, 2), 0.25)], [torch.full((1, 1, 1, 1), 0.75)]]
    assert losses.adversarial(features, True).item() == pytest.approx((0.75**2 + 0.25**2) / 2)
    assert losses.adversarial(features, False).item() == pytest.approx((0.25**2 + 0.75**2) / 2)


def test_feature_matching_leaves_the_verdict_out() -> None:
    one = [[torch.zeros(1, 2, 3, 3), torch.full((1, 1, 1, 1), 9.0)]]
    two = [[torch.full((1, 2, 3, 3), 0.5), torch.zeros(1, 1, 1, 1)]]
    assert losses.feature_matching(one, two).item() == pytest.approx(0.5)


def test_the_discriminator_learns_to_tell() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(8)
    optimizer = torch.optim.Adam(discriminator.parameters(), 2e-3, (0.5, 0.99))
    smooth = torch.full((4, JUDGED, 64, 64), 0.5)
    ragged = smooth.clone()
    ragged[..., ::4] = ragged[..., 1::4] = 1
    history = []
    for _ in range(24):
        loss = losses.adversarial(discriminator(smooth), True) + losses.adversarial(
            discriminator(ragged), False
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.2 * history[0]
