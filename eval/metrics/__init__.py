"""The metrics, as pure functions on arrays, and the table that says what each one means."""

from __future__ import annotations

from dataclasses import dataclass

from eval.metrics.colour import composite_error, foreground_error
from eval.metrics.connectivity import connectivity_error
from eval.metrics.error import mae, mse, psnr, sad
from eval.metrics.gradient import gradient_error
from eval.metrics.perceptual import lpips
from eval.metrics.saliency import f_beta_max, f_beta_mean, s_measure
from eval.metrics.structure import ssim

__all__ = [
    "METRICS",
    "Metric",
    "composite_error",
    "connectivity_error",
    "f_beta_max",
    "f_beta_mean",
    "foreground_error",
    "gradient_error",
    "lpips",
    "mae",
    "mse",
    "psnr",
    "s_measure",
    "sad",
    "ssim",
]


@dataclass(frozen=True)
class Metric:
    """How a metric is called, which way is better, and how it is written."""

    name: str
    label: str
    higher_is_better: bool
    digits: int
    unit: str = ""


METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR", True, 2, "dB"),
        Metric("ssim", "SSIM", True, 3),
        Metric("lpips", "LPIPS", False, 4),
        Metric("sad", "SAD", False, 2, "÷1000"),
        Metric("mse", "MSE", False, 4),
        Metric("mae", "MAD", False, 4),
        Metric("gradient", "Gradient", False, 2, "÷1000"),
        Metric("connectivity", "Connectivity", False, 2, "÷1000"),
        Metric("fmax", "max F", True, 3),
        Metric("fmean", "mean F", True, 3),
        Metric("smeasure", "S-measure", True, 3),
        Metric("foreground", "Foreground colour", False, 2, "levels"),
        Metric("composite", "Composite", False, 2, "levels"),
        Metric("seconds", "Time", False, 3, "s"),
        Metric("megabytes", "Peak memory", False, 0, "MB"),
    )
}
