"""Each metric against a second implementation of its definition, written apart from it."""

from __future__ import annotations

import doctest
import importlib.util
import math

import numpy as np
import pytest
from scipy import ndimage
from skimage import metrics as skimage_metrics

from eval import metrics
from eval.metrics import perceptual, saliency
from tests.eval.conftest import soft_disc

MODULES = (
    "eval.metrics.error",
    "eval.metrics.structure",
    "eval.metrics.gradient",
    "eval.metrics.connectivity",
    "eval.metrics.saliency",
    "eval.metrics.colour",
    "eval.regions",
    "eval.stats",
    "eval.compare",
    "eval.methods",
)


def mattes(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An 8-bit matte with specks and holes, its truth, and a region."""
    rng = np.random.default_rng(seed)
    truth = soft_disc()
    alpha = np.clip(truth + ndimage.gaussian_filter(rng.normal(0, 1.2, truth.shape), 1.5), 0, 1)
    alpha = (np.round(alpha * 255) / 255).astype(np.float32)
    return alpha, truth, rng.random(truth.shape) < 0.4


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize("seed", range(3))
def test_errors_agree_with_scikit_image(seed: int) -> None:
    alpha, truth, _ = (np.asarray(a, np.float64) for a in mattes(seed))
    assert metrics.mse(alpha, truth) == pytest.approx(
        skimage_metrics.mean_squared_error(truth, alpha), abs=1e-12
    )
    assert metrics.psnr(alpha, truth) == pytest.approx(
        skimage_metrics.peak_signal_noise_ratio(truth, alpha, data_range=1), abs=1e-9
    )
    assert metrics.ssim(alpha, truth) == pytest.approx(
        skimage_metrics.structural_similarity(truth, alpha, data_range=1), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
def test_ssim_agrees_with_its_formula(seed: int) -> None:
    x, y, _ = (np.asarray(a, np.float64) for a in mattes(seed))
    total = []
    for i in range(3, x.shape[0] - 3):
        for j in range(3, x.shape[1] - 3):
            a, b = (m[i - 3 : i + 4, j - 3 : j + 4] for m in (x, y))
            covariance = np.cov(a.ravel(), b.ravel())
            above = (2 * a.mean() * b.mean() + 1e-4) * (2 * covariance[0, 1] + 9e-4)
            below = (a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (np.trace(covariance) + 9e-4)
            total.append(above / below)
    assert metrics.ssim(x, y) == pytest.approx(np.mean(total), abs=1e-6)


def second_gradient(alpha: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The published MATLAB code, line by line: full 2-D kernels, and a true convolution."""
    sigma, epsilon = 1.4, 1e-2
    half = math.ceil(sigma * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * sigma * epsilon)))

    def gauss(x: float) -> float:
        return math.exp(-(x**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))

    kernel = np.array(
        [
            [
                gauss(i - half) * -(j - half) * gauss(j - half) / sigma**2
                for j in range(2 * half + 1)
            ]
            for i in range(2 * half + 1)
        ]
    )
    kernel /= math.sqrt((kernel * kernel).sum())
    sizes = [
        np.sqrt(
            ndimage.convolve(np.asarray(m, np.float64), kernel, mode="nearest") ** 2
            + ndimage.convolve(np.asarray(m, np.float64), kernel.T, mode="nearest") ** 2
        )
        for m in (alpha, truth)
    ]
    return (sizes[0] - sizes[1]) ** 2


@pytest.mark.parametrize("seed", range(3))
def test_gradient_error_agrees_with_the_published_code(seed: int) -> None:
    alpha, truth, region = mattes(seed)
    second = second_gradient(alpha, truth)
    assert metrics.gradient_error(alpha, truth) == pytest.approx(second.sum() / 1000, abs=1e-6)
    assert metrics.gradient_error(alpha, truth, region) == pytest.approx(
        second[region].sum() / 1000, abs=1e-6
    )


def second_connectivity(alpha: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The published MATLAB code, line by line, on whole grey levels."""
    mine, theirs = (np.round(np.asarray(m, np.float64) * 255) for m in (alpha, truth))
    levels = -np.ones(mine.shape)
    for step in range(1, 11):
        both = (10 * mine >= 255 * step) & (10 * theirs >= 255 * step)
        labels, count = ndimage.label(both)
        source = np.zeros(mine.shape, bool)
        if count:
            source = labels == 1 + np.argmax([(labels == n + 1).sum() for n in range(count)])
        levels[(levels == -1) & ~source] = (step - 1) / 10
    levels[levels == -1] = 1
    phis = []
    for m in (mine / 255, theirs / 255):
        distance = m - levels
        phis.append(1 - np.where(distance >= 0.15, distance, 0))
    return np.abs(phis[0] - phis[1])


@pytest.mark.parametrize("seed", range(3))
def test_connectivity_error_agrees_with_the_published_code(seed: int) -> None:
    alpha, truth, region = mattes(seed)
    second = second_connectivity(alpha, truth)
    assert metrics.connectivity_error(alpha, truth) == pytest.approx(second.sum() / 1000, abs=1e-6)
    assert metrics.connectivity_error(alpha, truth, region) == pytest.approx(
        second[region].sum() / 1000, abs=1e-6
    )


@pytest.mark.parametrize("seed", range(3))
def test_f_beta_agrees_with_counting(seed: int) -> None:
    alpha, truth, region = mattes(seed)
    real, grey = truth[region] > 0.5, np.round(alpha[region] * 255)
    scores = []
    for threshold in range(255, -1, -1):
        marked = grey >= threshold
        hits = (marked & real).sum()
        if not hits:
            scores.append(0.0)
            continue
        precision, recall = hits / marked.sum(), hits / real.sum()
        scores.append(1.3 * precision * recall / (0.3 * precision + recall))
    assert saliency.f_beta_curve(alpha, truth, region) == pytest.approx(np.array(scores), abs=1e-9)
    assert metrics.f_beta_max(alpha, truth, region) == pytest.approx(max(scores), abs=1e-9)
    assert metrics.f_beta_mean(alpha, truth, region) == pytest.approx(np.mean(scores), abs=1e-9)


def second_s_measure(alpha: np.ndarray, truth: np.ndarray) -> float:
    """The paper's equations (Fan et al., 2017), with sums spelt out."""
    x, y = np.asarray(alpha, np.float64), (truth > 0.5).astype(np.float64)
    mu = y.mean()

    def o(values: np.ndarray) -> float:
        return 2 * values.mean() / (values.mean() ** 2 + 1 + np.std(values, ddof=1))

    s_object = mu * o(x[y == 1]) + (1 - mu) * o(1 - x[y == 0])
    ys, xs = np.argwhere(y == 1).mean(0).round().astype(int) + 1
    s_region = 0.0
    for a, b in (
        (x[:ys, :xs], y[:ys, :xs]),
        (x[:ys, xs:], y[:ys, xs:]),
        (x[ys:, :xs], y[ys:, :xs]),
        (x[ys:, xs:], y[ys:, xs:]),
    ):
        c = np.cov(a.ravel(), b.ravel())
        similar = 4 * a.mean() * b.mean() * c[0, 1]
        similar /= (a.mean() ** 2 + b.mean() ** 2) * (c[0, 0] + c[1, 1])
        s_region += a.size / x.size * similar
    return 0.5 * s_object + 0.5 * s_region


@pytest.mark.parametrize("seed", range(3))
def test_s_measure_agrees_with_the_paper(seed: int) -> None:
    alpha, truth, _ = mattes(seed)
    assert metrics.s_measure(alpha, truth) == pytest.approx(
        second_s_measure(alpha, truth), abs=1e-6
    )


@pytest.mark.parametrize("seed", range(3))
def test_saliency_agrees_with_pysodmetrics(seed: int) -> None:
    other = pytest.importorskip("py_sod_metrics", reason="a second implementation, where installed")
    alpha, truth, _ = mattes(seed)
    # It stretches what it is given to 0..1: so give it what is there already.
    alpha[0, 0], alpha[0, 1] = 0, 1
    grey, real = np.round(alpha * 255).astype(np.uint8), ((truth > 0.5) * 255).astype(np.uint8)
    structure, absolute, curve = other.Smeasure(), other.MAE(), other.Fmeasure(beta=0.3)
    for judge in (structure, absolute, curve):
        judge.step(pred=grey, gt=real)
    assert metrics.s_measure(alpha, truth) == pytest.approx(structure.get_results()["sm"], abs=1e-6)
    assert metrics.mae(alpha, (truth > 0.5).astype(float)) == pytest.approx(
        absolute.get_results()["mae"], abs=1e-6
    )
    theirs = np.asarray(curve.get_results()["fm"]["curve"])
    mine = saliency.f_beta_curve(alpha, truth)
    assert sorted(theirs) == pytest.approx(sorted(mine), abs=1e-6)


def test_errors_agree_with_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    if not all(map(importlib.util.find_spec, ("torchmetrics", "torchvision"))):
        pytest.skip("a second implementation, where torchmetrics and torchvision are installed")
    perceptual.declare_missing_operators(torch)  # torchmetrics imports torchvision
    other = pytest.importorskip("torchmetrics")

    alpha, truth, _ = mattes(0)
    x, y = (torch.from_numpy(np.asarray(m, np.float64)) for m in (alpha, truth))
    functional = other.functional
    assert metrics.mae(alpha, truth) == pytest.approx(
        functional.mean_absolute_error(x, y).item(), abs=1e-6
    )
    assert metrics.mse(alpha, truth) == pytest.approx(
        functional.mean_squared_error(x, y).item(), abs=1e-6
    )
    assert metrics.psnr(alpha, truth) == pytest.approx(
        functional.image.peak_signal_noise_ratio(x, y, data_range=1.0).item(), abs=1e-4
    )


def test_a_whole_region_is_the_whole_image() -> None:
    alpha, truth, _ = mattes(0)
    everywhere = np.ones(truth.shape, bool)
    for measure in (
        metrics.mse,
        metrics.mae,
        metrics.sad,
        metrics.psnr,
        metrics.gradient_error,
        metrics.connectivity_error,
        metrics.f_beta_max,
        metrics.f_beta_mean,
    ):
        assert measure(alpha, truth, everywhere) == pytest.approx(measure(alpha, truth))


@pytest.mark.parametrize(
    "measure",
    [
        metrics.mse,
        metrics.mae,
        metrics.sad,
        metrics.psnr,
        metrics.ssim,
        metrics.gradient_error,
        metrics.connectivity_error,
        metrics.f_beta_max,
    ],
)
def test_bad_input_is_refused(measure) -> None:
    truth = soft_disc()
    with pytest.raises(ValueError, match="no pixels"):
        measure(truth, truth, np.zeros(truth.shape, bool))
    with pytest.raises(ValueError, match="cannot be held against"):
        measure(truth[1:], truth)


def test_metrics_rank_a_better_matte_higher() -> None:
    rng = np.random.default_rng(0)
    truth = soft_disc()
    noise = rng.normal(0, 1, truth.shape)
    better, worse = (np.clip(truth + strength * noise, 0, 1) for strength in (0.05, 0.4))
    for name, measure in (
        ("psnr", metrics.psnr),
        ("ssim", metrics.ssim),
        ("sad", metrics.sad),
        ("mse", metrics.mse),
        ("mae", metrics.mae),
        ("gradient", metrics.gradient_error),
        ("connectivity", metrics.connectivity_error),
        ("fmean", metrics.f_beta_mean),
        ("smeasure", metrics.s_measure),
    ):
        gain = measure(better, truth) - measure(worse, truth)
        assert (gain > 0) == metrics.METRICS[name].higher_is_better, name


def composite(colour: np.ndarray, alpha: float, background: float) -> np.ndarray:
    return alpha * colour + (1 - alpha) * background


def test_premultiplied_colour_loses() -> None:
    """(200, 150, 100) at alpha 128, written as rembg's default does, darkens the edge."""
    foreground = np.full((4, 4, 3), (200, 150, 100), np.uint8)
    truth = np.full((4, 4), 128 / 255)
    alpha = np.full((4, 4), 128, np.uint8)
    straight = np.dstack([foreground, alpha])
    dark = np.dstack([np.round(foreground * (128 / 255)).astype(np.uint8), alpha])
    on_white = composite(dark[0, 0, :3].astype(float), 128 / 255, 255.0)
    assert np.round(on_white).astype(int).tolist() == [177, 165, 152]
    assert metrics.foreground_error(straight, foreground, truth) == 0
    assert metrics.foreground_error(dark, foreground, truth) == pytest.approx(74.67, abs=0.5)
    assert metrics.composite_error(straight, foreground, truth) == pytest.approx(0, abs=1e-9)
    assert metrics.composite_error(dark, foreground, truth) == pytest.approx(37.5, abs=0.5)


def test_composite_error_is_what_compositing_gives() -> None:
    alpha, truth, region = mattes(2)
    rng = np.random.default_rng(5)
    foreground = rng.integers(0, 256, (*truth.shape, 3)).astype(np.uint8)
    cutout = np.dstack([foreground // 2, np.round(alpha * 255).astype(np.uint8)])
    errors = []
    for colour in np.random.default_rng(0).uniform(0, 255, (8, 3)):
        a, b = alpha[..., None].astype(np.float64), truth[..., None].astype(np.float64)
        mine = a * (foreground // 2) + (1 - a) * colour
        theirs = b * foreground + (1 - b) * colour
        errors.append(np.abs(mine - theirs)[region].mean())
    assert metrics.composite_error(cutout, foreground, truth, region) == pytest.approx(
        np.mean(errors), abs=1e-4
    )


def test_unseen_colour_is_no_colour_error() -> None:
    foreground = np.full((2, 2, 3), 100, np.uint8)
    gone = np.zeros((2, 2, 4), np.uint8)
    with pytest.raises(ValueError, match="no pixels"):
        metrics.foreground_error(gone, foreground, np.full((2, 2), 0.5))


def test_lpips_with_a_random_backbone() -> None:
    pytest.importorskip("torch")
    try:
        distance = perceptual.build(pretrained=False)
    except perceptual.Unavailable as reason:
        pytest.skip(str(reason))
    truth = soft_disc()
    assert distance(truth, truth).shape == truth.shape
    assert distance(truth, truth).max() == 0
    assert distance(1 - truth, truth).mean() > 0


def test_lpips_says_why_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pretrained: bool = True) -> None:
        raise perceptual.Unavailable("no network here")

    perceptual._attempt.cache_clear()
    monkeypatch.setattr(perceptual, "build", refuse)
    try:
        assert perceptual.why_unavailable() == "no network here"
        with pytest.raises(perceptual.Unavailable, match="no network here"):
            metrics.lpips(soft_disc(), soft_disc())
    finally:
        perceptual._attempt.cache_clear()
