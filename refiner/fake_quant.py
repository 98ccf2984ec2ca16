"""Convolutions that compute in INT8, simulated: half the time on CPUs, little of the quality lost.

Rounding is simulated as by Jacob et al. (2018, "Quantization and training of neural networks for
efficient integer-arithmetic-only inference", section 3). In an exported graph each rounding is a
pair QuantizeLinear and DequantizeLinear, and onnxruntime makes integer convolutions of what lies
between two of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: How fast a range follows the batches. The mean of their extremes, not the very extremes: to cut
#: off a few outliers leaves 0.09 dB more, as all the rest is rounded more finely.
MOMENTUM = 0.02


class FakeQuantize(nn.Module):
    """Round to 256 levels, over a range that follows the input in training mode (calibration)."""

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            momentum = MOMENTUM if self.high > self.low else 1.0
            least, most = x.detach().aminmax()
            self.low.lerp_(least.clamp(max=0), momentum)
            self.high.lerp_(most.clamp(min=0), momentum)
        scale = max(float(self.high - self.low) / 255, 1e-8)
        zero_point = round(-float(self.low) / scale)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)


class QuantConv2d(nn.Conv2d):
    """A convolution whose weights are rounded and, unless that is done already, its input.

    Weights have 127 levels about 0 for each output channel: with 255, pairs of products overflow
    the 16 bits that they are added in by processors without VNNI.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0,
        quantize_input: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(inputs, outputs, kernel, stride, padding)
        self.entry = FakeQuantize() if quantize_input else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        scale = (self.weight.detach().abs().amax((1, 2, 3)) / 63).clamp_min(1e-8)
        zero_point = torch.zeros(len(scale), dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(
            self.weight, scale, zero_point, 0, -128, 127
        )
        return F.conv2d(self.entry(x), weight, self.bias, self.stride, self.padding)
