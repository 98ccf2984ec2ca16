"""The generator: a small encoder–decoder that answers with changes to what came in.

It is the global generator of Pix2PixHD (Wang et al., 2018: down-samplings, residual blocks,
up-samplings) cut down to a patch, with skips as in a U-Net. What it predicts are not pixels but,
at half the resolution, the coefficients of local models that the full-resolution photo is put into:

- alpha = (1 − tanh g)·coarse + A·(I − mean I) + b + tanh h·(line − coarse) + r

  The first terms are the colour-line assumption of closed-form matting (Levin et al., 2008); the
  mean is of the 10 × 10 pixels around.
  ``line`` is where a pixel lies between the foreground's and the background's colour nearby, as the
  coarse mask has them: a first guess that costs nothing to learn. r is a small plain residual.

- foreground = image + (1 − alpha)·(D + k·(F₀ − B₀))

  From I = αF + (1 − α)B follows F = I + (1 − α)(F − B), and F − B is smooth. F₀ and B₀ are the
  same nearby colours.

With all coefficients 0, as at the start of training, both answers are the input, bit for bit; with
the guided filter at the end (:mod:`refiner.guided_filter`), only the foreground is.
There is no normalisation: that of an instance erases the absolute level, and overlapping patches
would disagree; that of a batch gained nothing that could be measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import gt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import SettingsError
from refiner.fake_quant import FakeQuantize, QuantConv2d
from refiner.guided_filter import GuidedFilter
from refiner.resampling import box_mean, upsample

COEFFICIENTS = 1 + 3 + 1 + 1 + 3 + 1  # g, A, b, h, D, k
#: Channels that the first convolution sees: 20 of pixels, 12 of what is smooth. Of these one is
#: there three times, for with 30 channels, no multiple of 16, a CPU takes twice as long.
STEM = 20 + 12


@dataclass(frozen=True)
class Shape:
    """Widths and depth of the generator, each with its reason."""

    #: Channels at half resolution; doubled a level. A CPU handles 64 at 32 × 32 best.
    width: int = 32
    #: Residual blocks at a quarter of the resolution, before and after the bottleneck.
    middle: int = 1
    #: Residual blocks in the bottleneck, at an eighth: they see the whole patch, and are cheap.
    bottom: int = 4
    #: The first guess ``line`` and the nearby colours F₀ and B₀.
    colours: bool = True
    #: Every cell of the bottleneck looks at every other (non-local; Wang et al., 2018): what is
    #: hair at one end of a patch is known at the other, which no convolution's reach tells.
    attention: bool = True
    #: A guided filter of the alpha at the end, as strong as the generator says. The global
    #: generator has no use for it: it sees no strands.
    guided_filter: bool = False
    #: Most convolutions compute in INT8 (:mod:`refiner.fake_quant`).
    int8: bool = False
    #: Channels inside each residual block, in the order in which they run; (): as many as outside.
    #: A long training leaves most of them dead, and :mod:`refiner.prune` takes those out.
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.hidden and len(self.hidden) != 2 * self.middle + self.bottom:
            raise SettingsError(
                f"hidden is a number of channels for each residual block, of which there are "
                f"{2 * self.middle + self.bottom}, not {len(self.hidden)}"
            )

    @property
    def inside(self) -> tuple[int, ...]:
        """Channels inside each residual block."""
        half, bottom = (2 * self.width,) * self.middle, (4 * self.width,) * self.bottom
        return self.hidden or (*half, *bottom, *half)


class Generator(nn.Module):
    """Refine patches: (N, 4, 128, 128) RGB and coarse to (N, 4, 128, 128) alpha and foreground.

    All in 0..1. Any sides divisible by 32 will do.
    """

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = s = shape or Shape()
        w = s.width
        inside = iter(s.inside)

        def blocks(count: int, channels: int) -> nn.Sequential:
            return nn.Sequential(*(Residual(channels, next(inside), s.int8) for _ in range(count)))

        self.stem = conv(STEM, w)
        self.down1 = conv(w, 2 * w, stride=2, int8=s.int8)
        self.middle1 = blocks(s.middle, 2 * w)
        self.down2 = conv(2 * w, 4 * w, stride=2, int8=s.int8)
        self.attend = Attention(4 * w) if s.attention else nn.Identity()
        self.bottom = blocks(s.bottom, 4 * w)
        self.up2 = conv(4 * w, 2 * w, kernel=1)
        self.middle2 = blocks(s.middle, 2 * w)
        self.up1 = conv(2 * w, w, kernel=1)
        # The last convolution answers for the coefficients; as 2×2 sub-pixels, for r; and, where
        # there is a guided filter, for its strength.
        self.head = nn.Conv2d(w, COEFFICIENTS + 4 + s.guided_filter, 3, padding=1)
        self.guided_filter = GuidedFilter()
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, patches: Tensor) -> Tensor:
        """Return alpha and foreground, (N, 4, H, W) in 0..1."""
        image, coarse = patches[:, :3], patches[:, 3:]
        half = F.avg_pool2d(image, 2)
        mean = box_mean(half, 5)  # of 10 × 10 px, at a quarter of the cost
        detail = image - upsample(mean, 2)
        deviation = box_mean((half - mean).square().mean(1, keepdim=True), 5).sqrt_()
        near_f, near_b = nearby_colours(image, coarse)
        large_f, large_b = upsample(near_f, 4), upsample(near_b, 4)
        line = project(image, large_f, large_b)
        if not self.shape.colours:
            line, near_f, near_b = torch.zeros_like(line), near_f * 0, near_b * 0
        full = torch.cat([detail, coarse, line], 1)
        pixels = [full[..., y::2, x::2] for y in (0, 1) for x in (0, 1)]
        smooth = [half, deviation, upsample(near_f, 2), upsample(near_b, 2), deviation, deviation]

        x1 = self.stem(torch.cat([*pixels, *smooth], 1))
        x2 = self.middle1(self.down1(x1))
        x = self.bottom(self.attend(self.down2(x2)))
        x = self.middle2(x2 + upsample(self.up2(x), 2))
        x = self.head(x1 + upsample(self.up1(x), 2)).float()

        field = upsample(x[:, :COEFFICIENTS], 2)
        residual = F.pixel_shuffle(x[:, COEFFICIENTS : COEFFICIENTS + 4], 2)
        g, a, b, h, d, k = field.split((1, 3, 1, 1, 3, 1), 1)
        alpha = coarse - torch.tanh(g) * coarse + (a * detail).sum(1, keepdim=True) + b + residual
        if self.shape.colours:
            alpha = alpha + torch.tanh(h) * (line - coarse)
            d = d + k * (large_f - large_b)
        alpha = alpha.clamp(0, 1)
        if self.shape.guided_filter:
            strength = upsample(x[:, COEFFICIENTS + 4 :], 2)
            alpha = self.guided_filter(half, image, alpha, strength)
        foreground = (image + (1 - alpha) * d).clamp(0, 1)
        return torch.cat([alpha, foreground], 1)


def grow(small: Generator, shape: Shape) -> Generator:
    """Build a generator of ``shape`` that answers as ``small`` does.

    Attention, further blocks in the bottleneck and further channels inside of the blocks begin as
    nothing: a training goes on with more than it began with. Raises
    :class:`pipeline.errors.SettingsError` for any other change.
    """
    before = small.shape
    more = replace(
        before,
        attention=shape.attention or before.attention,
        bottom=max(shape.bottom, before.bottom),
        guided_filter=shape.guided_filter or before.guided_filter,
        hidden=shape.hidden,
    )
    other = SettingsError(f"The first weights are those of a generator of another shape: {before}")
    if more != shape:
        raise other
    large = Generator(shape)
    state = large.state_dict()
    for name, value in small.state_dict().items():
        place = state[name]
        if any(map(gt, value.shape, place.shape)):
            raise other
        new = place.clone() if ".body.0." in name else torch.zeros_like(place)
        new[tuple(map(slice, value.shape))] = value
        state[name] = new
    large.load_state_dict(state)
    for block in list(large.bottom.children())[before.bottom :]:
        assert isinstance(block, Residual)
        block.zero()
    return large


def nearby_colours(image: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate foreground and background colour around each pixel, at a quarter of the resolution.

    Means over windows of 12, 40 and 160 px of what the coarse mask is sure of; a wider window
    counts only where the narrower ones hold nothing sure. (N, 3, H, W) and (N, 1, H, W) to twice
    (N, 3, H/4, W/4).
    """
    inside = ((coarse - 0.8) * 5).clamp(0, 1)
    outside = ((0.2 - coarse) * 5).clamp(0, 1)
    layers = torch.cat([image * inside, inside, image * outside, outside], 1)
    total = F.avg_pool2d(layers, 4)
    wider = F.avg_pool2d(total, 2)
    widest = F.avg_pool2d(wider, 4)
    around = (
        box_mean(total, 3)
        + 0.03 * upsample(box_mean(wider, 5), 2)
        + 0.001 * upsample(box_mean(widest, 5), 8)
    )
    plain = F.avg_pool2d(image, 4)
    near_f = (around[:, :3] + 1e-6 * plain) / (around[:, 3:4] + 1e-6)
    near_b = (around[:, 4:7] + 1e-6 * plain) / (around[:, 7:8] + 1e-6)
    return near_f, near_b


def project(image: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Find where each pixel lies between background and foreground colour, (N, 1, H, W) 0..1."""
    along = foreground - background
    dot = ((image - background) * along).sum(1, keepdim=True)
    return (dot / (along.square().sum(1, keepdim=True) + 0.003)).clamp(0, 1)


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, int8: bool = False
) -> nn.Sequential:
    """Build a convolution and its ReLU."""
    layer = inputs, outputs, kernel, stride, kernel // 2
    if int8:
        return nn.Sequential(QuantConv2d(*layer), nn.ReLU(), FakeQuantize())
    return nn.Sequential(nn.Conv2d(*layer), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """x + conv(relu(conv x)); the second convolution starts small, so that depth costs nothing."""

    def __init__(self, channels: int, inside: int, int8: bool = False) -> None:
        super().__init__()
        first = conv(channels, inside, int8=int8)
        if int8:  # the second one's input is rounded already
            second: nn.Conv2d = QuantConv2d(inside, channels, 3, 1, 1, quantize_input=False)
        else:
            second = nn.Conv2d(inside, channels, 3, padding=1)
        with torch.no_grad():
            second.weight.mul_(0.3)
        rounding = [FakeQuantize()] if int8 else []
        self.body = nn.Sequential(first, second, *rounding)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)

    def zero(self) -> None:
        """Let the block add nothing, for now."""
        for value in list(self.body.children())[-1].parameters():
            nn.init.zeros_(value)


class Attention(nn.Module):
    """Self-attention over all cells of a map, (N, C, h, w) to the same, added to its input.

    Multi-headed, by the cosine between queries and keys with a learned sharpness (as in Swin
    Transformer V2; Liu et al., 2022), which needs no normalisation to be stable. It begins as
    nothing: a generator without it can go on training with it.
    """

    HEAD = 32  # channels a head

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // self.HEAD)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        self.sharpness = nn.Parameter(torch.full((self.heads, 1, 1), 10.0))
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        n, channels, h, w = x.shape
        parts = self.qkv(x).reshape(n, 3, self.heads, channels // self.heads, h * w)
        query, key, value = parts.unbind(1)  # each (N, heads, C / heads, h·w)
        query, key = (part / (part.square().sum(2, True) + 1e-4).sqrt() for part in (query, key))
        similarity = (self.sharpness * query).transpose(2, 3) @ key
        attended = value @ similarity.softmax(3).transpose(2, 3)
        return x + self.project(attended.reshape(n, channels, h, w))
