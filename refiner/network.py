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

With all coefficients 0 — as at the start of training — both answers are the input, bit for bit; of
one that lets alpha follow the colours at the end (:mod:`refiner.lines`), but for that.
No instance normalisation: it erases absolute level, and overlapping patches would disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import SettingsError
from refiner.eight import Convolution, Rounded
from refiner.lines import Lines
from refiner.resampling import box, double

COEFFICIENTS = 1 + 3 + 1 + 1 + 3 + 1  # g, A, b, h, D, k


@dataclass(frozen=True)
class Shape:
    """Widths and depth of the generator, each with its reason."""

    #: Channels at half resolution; doubled a level. A CPU handles 64 at 32 × 32 best.
    width: int = 32
    #: Residual blocks at a quarter of the resolution, before and after the bottleneck.
    middle: int = 1
    #: Residual blocks in the bottleneck, at an eighth: they see the whole patch, and are cheap.
    bottom: int = 4
    #: "none", "batch" (folded into the convolutions on export) or "group".
    norm: str = "none"
    #: Attention gates on the skips (Oktay et al., 2018).
    gates: bool = False
    #: Dilated convolutions side by side in the bottleneck (ASPP; Chen et al., 2017).
    aspp: bool = False
    #: The first guess ``line`` and the nearby colours F₀ and B₀.
    colours: bool = True
    #: Every cell of the bottleneck looks at every other (non-local; Wang et al., 2018): what is
    #: hair at one end of a patch is known at the other, which no convolution's reach tells.
    attention: bool = True
    #: Alpha is made to follow the photo's colours at the end (:mod:`refiner.lines`), as far as the
    #: generator says. What looks from afar has no use for it: it sees no strands.
    lines: bool = False
    #: Most convolutions compute in 8 bits (:mod:`refiner.eight`).
    eight: bool = False


class Generator(nn.Module):
    """Refine patches: (N, 4, 128, 128) RGB and coarse to (N, 4, 128, 128) alpha and foreground.

    All in 0..1. Any sides divisible by 32 will do.
    """

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = s = shape or Shape()
        w = s.width
        self.stem = conv(20 + 10, w, s.norm)
        self.down1 = conv(w, 2 * w, s.norm, stride=2, eight=s.eight)
        self.middle1 = nn.Sequential(*(Residual(2 * w, s.norm, s.eight) for _ in range(s.middle)))
        self.down2 = conv(2 * w, 4 * w, s.norm, stride=2, eight=s.eight)
        self.attend = Attention(4 * w) if s.attention else nn.Identity()
        self.bottom = nn.Sequential(*(Residual(4 * w, s.norm, s.eight) for _ in range(s.bottom)))
        self.aspp = ASPP(4 * w, s.norm) if s.aspp else nn.Identity()
        self.up2 = conv(4 * w, 2 * w, s.norm, kernel=1)
        self.gate2 = Gate(2 * w) if s.gates else Add()
        self.middle2 = nn.Sequential(*(Residual(2 * w, s.norm, s.eight) for _ in range(s.middle)))
        self.up1 = conv(2 * w, w, s.norm, kernel=1)
        self.gate1 = Gate(w) if s.gates else Add()
        # The last convolution answers for the coefficients and, as 2×2 sub-pixels, for r; and at
        # last, if alpha is to follow the colours, for how far.
        self.head = nn.Conv2d(w, COEFFICIENTS + 4 + s.lines, 3, padding=1)
        self.lines = Lines()
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, patches: Tensor) -> Tensor:
        """Return alpha and foreground, (N, 4, H, W) in 0..1."""
        image, coarse = patches[:, :3], patches[:, 3:]
        half = F.avg_pool2d(image, 2)
        mean = box(half, 5)  # of 10 × 10 px, at a quarter of the cost
        detail = image - double(mean, 2)
        spread = box((half - mean).square().mean(1, keepdim=True), 5).sqrt_()
        near_f, near_b = colours_nearby(image, coarse)
        large_f, large_b = double(near_f, 4), double(near_b, 4)
        line = project(image, large_f, large_b)
        if not self.shape.colours:
            line, near_f, near_b = torch.zeros_like(line), near_f * 0, near_b * 0
        full = F.pixel_unshuffle(torch.cat([detail, coarse, line], 1), 2)
        rest = torch.cat([half, spread, double(near_f, 2), double(near_b, 2)], 1)

        x1 = self.stem(torch.cat([full, rest], 1))
        x2 = self.middle1(self.down1(x1))
        x = self.aspp(self.bottom(self.attend(self.down2(x2))))
        x = self.middle2(self.gate2(x2, double(self.up2(x), 2)))
        x = self.head(self.gate1(x1, double(self.up1(x), 2))).float()

        field = double(x[:, :COEFFICIENTS], 2)
        residual = F.pixel_shuffle(x[:, COEFFICIENTS : COEFFICIENTS + 4], 2)
        g, a, b, h, d, k = field.split((1, 3, 1, 1, 3, 1), 1)
        alpha = coarse - torch.tanh(g) * coarse + (a * detail).sum(1, keepdim=True) + b + residual
        if self.shape.colours:
            alpha = alpha + torch.tanh(h) * (line - coarse)
            d = d + k * (large_f - large_b)
        alpha = alpha.clamp(0, 1)
        if self.shape.lines:
            alpha = self.lines(half, image, alpha, double(x[:, COEFFICIENTS + 4 :], 2))
        foreground = (image + (1 - alpha) * d).clamp(0, 1)
        return torch.cat([alpha, foreground], 1)


def grow(small: Generator, shape: Shape) -> Generator:
    """Build a generator of ``shape`` that answers as ``small`` does.

    Attention and further blocks in the bottleneck begin as nothing: a training goes on with
    more than it began with. Raises :class:`pipeline.errors.SettingsError` for any other change.
    """
    had = small.shape
    more = replace(
        had,
        attention=shape.attention or had.attention,
        bottom=max(shape.bottom, had.bottom),
        lines=shape.lines or had.lines,
    )
    if more != shape:
        raise SettingsError(f"The first weights are those of a generator of another shape: {had}")
    large = Generator(shape)
    state = small.state_dict()
    for name in ("head.weight", "head.bias"):
        lacking = len(large.state_dict()[name]) - len(state[name])
        state[name] = torch.cat(
            [state[name], state[name].new_zeros(lacking, *state[name].shape[1:])]
        )
    large.load_state_dict(state, strict=False)
    for block in list(large.bottom.children())[had.bottom :]:
        assert isinstance(block, Residual)
        block.silence()
    return large


def colours_nearby(image: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """Foreground and background colour around each pixel, at a quarter of the resolution.

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
    around = box(total, 3) + 0.03 * double(box(wider, 5), 2) + 0.001 * double(box(widest, 5), 8)
    plain = F.avg_pool2d(image, 4)
    near_f = (around[:, :3] + 1e-6 * plain) / (around[:, 3:4] + 1e-6)
    near_b = (around[:, 4:7] + 1e-6 * plain) / (around[:, 7:8] + 1e-6)
    return near_f, near_b


def project(image: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Where each pixel lies on the line from background to foreground colour, (N, 1, H, W) 0..1."""
    along = foreground - background
    dot = ((image - background) * along).sum(1, keepdim=True)
    return (dot / (along.square().sum(1, keepdim=True) + 0.003)).clamp(0, 1)


def conv(
    inputs: int, outputs: int, norm: str, kernel: int = 3, stride: int = 1, eight: bool = False
) -> nn.Sequential:
    """Convolution, normalisation if any, ReLU."""
    plain = inputs, outputs, kernel, stride, kernel // 2
    if eight:
        return nn.Sequential(Convolution(*plain), nn.ReLU(), Rounded())
    layers: list[nn.Module] = [nn.Conv2d(*plain, bias=norm == "none")]
    layers += normalise(outputs, norm)
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def normalise(channels: int, norm: str) -> list[nn.Module]:
    """The normalisation layer of a name, in a list that is empty for "none"."""
    known: dict[str, list[nn.Module]] = {
        "none": [],
        "batch": [nn.BatchNorm2d(channels)],
        "group": [nn.GroupNorm(max(1, channels // 8), channels)],
    }
    return known[norm]


class Residual(nn.Module):
    """x + conv(relu(conv x)); the second convolution starts small, so that depth costs nothing."""

    def __init__(self, channels: int, norm: str, eight: bool = False) -> None:
        super().__init__()
        first = conv(channels, channels, norm, eight=eight)
        if eight:  # its input is rounded already
            second: nn.Conv2d = Convolution(channels, channels, 3, padding=1, entry=False)
        else:
            second = nn.Conv2d(channels, channels, 3, padding=1, bias=norm == "none")
        with torch.no_grad():
            second.weight.mul_(0.3)
        rest = [Rounded()] if eight else normalise(channels, norm)
        self.body = nn.Sequential(first, second, *rest)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)

    def silence(self) -> None:
        """Let the block add nothing, for now."""
        for value in list(self.body.children())[-1].parameters():
            nn.init.zeros_(value)


class Add(nn.Module):
    """A plain skip."""

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        return skip + x


class Gate(nn.Module):
    """A skip that lets through what the coarser features ask for (Oktay et al., 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ask = nn.Conv2d(2 * channels, 1, 1)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        return skip * torch.sigmoid(self.ask(torch.cat([skip, x], 1)) + 2) + x


class Attention(nn.Module):
    """x + what the cells of the whole map hold that are alike, (N, C, h, w) to the same.

    Multi-headed, by the cosine between queries and keys with a learned sharpness (as in Swin
    Transformer V2; Liu et al., 2022), which needs no normalisation to be stable. It begins as
    nothing: a generator without it can go on training with it.
    """

    HEAD = 32  # channels a head

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // self.HEAD)
        self.ask = nn.Conv2d(channels, 3 * channels, 1)
        self.tell = nn.Conv2d(channels, channels, 1)
        self.sharpness = nn.Parameter(torch.full((self.heads, 1, 1), 10.0))
        nn.init.zeros_(self.tell.weight)
        nn.init.zeros_(self.tell.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        n, channels, h, w = x.shape
        parts = self.ask(x).reshape(n, 3, self.heads, channels // self.heads, h * w)
        query, key, value = parts.unbind(1)  # each (N, heads, C / heads, h·w)
        query, key = (part / (part.square().sum(2, True) + 1e-4).sqrt() for part in (query, key))
        alike = self.sharpness * (query.transpose(2, 3) @ key)
        seen = value @ alike.softmax(3).transpose(2, 3)
        return x + self.tell(seen.reshape(n, channels, h, w))


class ASPP(nn.Module):
    """Dilated convolutions of three reaches, added (Chen et al., 2017)."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        quarter = channels // 4
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, quarter, 3, padding=r, dilation=r) for r in (1, 2, 4, 6)
        )
        self.join = conv(4 * quarter, channels, norm, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.join(torch.cat([branch(x) for branch in self.branches], 1))
