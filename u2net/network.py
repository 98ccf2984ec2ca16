"""U²-Net and U²-Net-P as two settings of one definition.

Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
Pattern Recognition 106, 2020: section 3.1 (the residual U-block, RSU), figure 5 and table 1.

Shapes: a photo is (B, 3, H, W); at level k (0..5) a feature is (B, C, H/2^k, W/2^k), rounded up.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

DEPTH = 6  # levels of the outer U; also the number of side outputs
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
HINTS = 2  # planes that say what to cut: one for "keep", one for "drop"
HINT_SCALE = 8.0  # what a hinted pixel's 1 becomes: a feature beside it reaches 30


@dataclass(frozen=True)
class Widths:
    """Channels (inside, outside) of the RSU blocks; their heights are the same in both networks."""

    encoder: tuple[tuple[int, int], ...]  # En_1 .. En_6
    decoder: tuple[tuple[int, int], ...]  # De_5 .. De_1
    #: De_1 reads what comes from below before it is enlarged: see :class:`Early`.
    early: bool = False

    @property
    def outside(self) -> list[int]:
        """Channels outside of the eleven blocks, in the order in which they run."""
        return [outside for _, outside in (*self.encoder, *self.decoder)]


FULL = Widths(  # 44.0 M parameters
    encoder=((32, 64), (32, 128), (64, 256), (128, 512), (256, 512), (256, 512)),
    decoder=((256, 512), (128, 256), (64, 128), (32, 64), (16, 64)),
)
SMALL = Widths(encoder=((16, 64),) * 6, decoder=((16, 64),) * 5)  # U²-Net-P: 1.13 M
#: U²-Net-P with four times the channels inside its blocks at a 16th and a 32nd of the size, where a
#: channel costs least and "subject" is told: 2.11 M with hints.
DEEP = Widths(
    encoder=(*SMALL.encoder[:4], (64, 64), (64, 64)), decoder=((64, 64), *SMALL.decoder[1:])
)
#: The same with half the channels outside its last block, De_1, which with its map is half of a
#: pass, and begins early.
SLIM = Widths(encoder=DEEP.encoder, decoder=(*DEEP.decoder[:-1], (16, 32)), early=True)
TINY = Widths(encoder=((4, 8),) * 6, decoder=((4, 8),) * 5)  # for tests

WIDTHS = {"full": FULL, "p": SMALL, "deep": DEEP, "slim": SLIM, "tiny": TINY}

# RSU-7, 6, 5, 4, 4F, 4F going down, and the mirror image going up. 0 stands for RSU-4F.
_HEIGHTS_DOWN = (7, 6, 5, 4, 0, 0)
_HEIGHTS_UP = (0, 4, 5, 6, 7)


def pool(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, ceil(H/2), ceil(W/2))."""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def resize_like(x: Tensor, other: Tensor) -> Tensor:
    """Bilinear resize of ``x`` to the height and width of ``other``."""
    # A whole factor is a constant in an exported graph, where a size would be worked out by a dozen
    # nodes each time: such a graph opens in half the time.
    old, new = (tuple(map(int, t.shape[2:])) for t in (x, other))
    if all(b % a == 0 for a, b in zip(old, new, strict=True)):
        factors = tuple(float(b // a) for a, b in zip(old, new, strict=True))
        return F.interpolate(x, scale_factor=factors, mode="bilinear", align_corners=False)
    return F.interpolate(x, size=new, mode="bilinear", align_corners=False)


class Conv(nn.Module):
    """3×3 convolution, batch normalisation, ReLU. ``norm=False``: the normalisation is folded."""

    def __init__(self, inside: int, outside: int, dilation: int = 1, norm: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, padding=dilation, dilation=dilation)
        self.norm: nn.Module = nn.BatchNorm2d(outside) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H, W), not negative."""
        return F.relu(self.norm(self.conv(x)))


class Early(nn.Module):
    """The first layer of De_1: reads what comes from below at half the size, before it is enlarged.

    A convolution of features and their bilinear enlargement may change places but for what is finer
    than the features. So what comes from below is read at a quarter of the cost, and what is
    enlarged are the channels that come of it, which are added to those of the skip.
    """

    def __init__(self, below: int, skip: int, outside: int) -> None:
        super().__init__()
        self.below = nn.Conv2d(below, outside, 3, padding=1, bias=False)
        self.conv = nn.Conv2d(skip, outside, 3, padding=1)

    def forward(self, fed: tuple[Tensor, Tensor]) -> Tensor:
        """(B, below, H/2, W/2) and (B, skip, H, W) -> (B, outside, H, W), not negative."""
        x, skip = fed
        return F.relu(resize_like(self.below(x), skip) + self.conv(skip))


class RSU(nn.Module):
    """Residual U-block (section 3.1): a small U-Net whose output is added to its first layer.

    ``height`` L = 4..7 gives RSU-L with L-2 poolings; 0 gives RSU-4F, which dilates where the
    others pool.
    """

    def __init__(self, height: int, inside: int, middle: int, outside: int, norm: bool = True):
        super().__init__()
        self.pools = height > 0
        layers = height or 4
        down = [1] * (layers - 1) + [2] if self.pools else [1, 2, 4, 8]
        up = [1] * (layers - 1) if self.pools else [4, 2, 1]
        widths = [middle] * (layers - 2) + [outside]
        self.cin: Conv | Early = Conv(inside, outside, norm=norm)
        self.enc = nn.ModuleList(
            Conv(middle if i else outside, middle, dilation, norm)
            for i, dilation in enumerate(down)
        )
        self.dec = nn.ModuleList(
            Conv(2 * middle, width, dilation, norm)
            for width, dilation in zip(widths, up, strict=True)
        )

    def forward(self, fed: Any) -> Tensor:
        """(B, Cin, H, W), or what :class:`Early` is fed -> (B, Cout, H, W), not negative."""
        residual = x = self.cin(fed)
        skips = []
        for i, layer in enumerate(self.enc):
            # The first layer works at full size, and the last one dilates instead of pooling.
            if self.pools and 0 < i < len(self.enc) - 1:
                x = pool(x)
            x = layer(x)
            skips.append(x)
        skips.pop()
        for layer in self.dec:
            skip = skips.pop()
            if x.shape[2:] != skip.shape[2:]:
                x = resize_like(x, skip)
            x = layer(torch.cat((x, skip), 1))
        return x + residual

    @property
    def layers(self) -> list[Conv]:
        """Its convolutions in the order in which they run."""
        return [cast(Conv, layer) for layer in (self.cin, *self.enc, *self.dec)]

    @property
    def ends(self) -> tuple[nn.BatchNorm2d, nn.BatchNorm2d]:
        """The normalisations of the two layers whose outputs are added."""
        first, last = cast(Conv, self.cin), cast(Conv, self.dec[-1])
        return cast(nn.BatchNorm2d, first.norm), cast(nn.BatchNorm2d, last.norm)


class U2Net(nn.Module):
    """The nested U: six RSU encoders, five RSU decoders, six side outputs and their fusion.

    Blocks are numbered in the order in which they run: encoders 0..5 (En_1..En_6), decoders
    6..10 (De_5..De_1). ``block_input`` says what each of them is fed; the forward pass and the
    blockwise distillation both go by it.
    """

    def __init__(self, widths: Widths = SMALL, norm: bool = True, hints: bool = False):
        super().__init__()
        self.widths, self.hints = widths, hints
        ins = [sum(self.parts(k)) for k in range(2 * DEPTH - 1)]
        self.encoder = nn.ModuleList(
            RSU(h, i, mid, out, norm)
            for h, i, (mid, out) in zip(_HEIGHTS_DOWN, ins[:DEPTH], widths.encoder, strict=True)
        )
        self.decoder = nn.ModuleList(
            RSU(h, i, mid, out, norm)
            for h, i, (mid, out) in zip(_HEIGHTS_UP, ins[DEPTH:], widths.decoder, strict=True)
        )
        if widths.early:
            below, skip = self.parts(2 * DEPTH - 2)
            self.blocks[-1].cin = Early(below, skip, widths.outside[-1])
        outs = widths.outside[: DEPTH - 2 : -1]  # De_1 .. De_5, En_6
        self.side = nn.ModuleList(nn.Conv2d(out, 1, 3, padding=1) for out in outs)
        self.out = nn.Conv2d(DEPTH, 1, 1)

    @property
    def blocks(self) -> list[RSU]:
        """The eleven RSU blocks in the order in which they run."""
        return [cast(RSU, block) for block in (*self.encoder, *self.decoder)]

    @property
    def normalised(self) -> bool:
        """Whether it has batch normalisations, or they are folded into its convolutions."""
        return any(isinstance(layer, nn.BatchNorm2d) for layer in self.modules())

    def parts(self, k: int) -> list[int]:
        """How many channels block ``k`` reads of each thing that it is fed, in their order."""
        outs = self.widths.outside
        if k == 0:
            return [3]
        if k < DEPTH:
            return [outs[k - 1]] + [HINTS] * self.hints
        return [outs[k - 1], outs[2 * DEPTH - 2 - k]]

    @staticmethod
    def block_level(k: int) -> int:
        """The level (0: full size .. 5: a 32nd) that block ``k`` works at."""
        return k if k < DEPTH else 2 * DEPTH - 2 - k

    def hint_features(self, x: Tensor, hints: Tensor | None) -> list[Tensor]:
        """What each encoder is told by ``hints`` (B, 2, H, W) in 0..1; ``None`` says nothing.

        The first one, which finds edges and colours whatever is meant, is told nothing.
        """
        if hints is None:
            hints = x.new_zeros(len(x), HINTS, *x.shape[2:])
        levels = [hints * HINT_SCALE]
        for _ in range(DEPTH - 1):
            levels.append(pool(levels[-1]))
        return levels

    def block_input(
        self, k: int, x: Tensor, features: list[Tensor], levels: list[Tensor] | None = None
    ) -> Any:
        """What block ``k`` is fed: from the photo ``x``, the outputs of the blocks before it and,
        in a network with hints, what the encoders are ``told`` (nothing without it).

        A tensor; two for a block that begins with :class:`Early`.
        """
        if k == 0:
            return x
        if k < DEPTH:
            fed = pool(features[k - 1])
            if not self.hints:
                return fed
            level = (levels or self.hint_features(x, None))[k]
            return torch.cat((fed, level.to(fed.dtype)), 1)
        skip = features[2 * DEPTH - 2 - k]
        if self.widths.early and k == 2 * DEPTH - 2:
            return features[k - 1], skip
        return torch.cat((resize_like(features[k - 1], skip), skip), 1)

    def features(self, x: Tensor, hints: Tensor | None = None) -> list[Tensor]:
        """The outputs of the eleven blocks for a normalised photo (B, 3, H, W)."""
        outputs: list[Tensor] = []
        levels = self.hint_features(x, hints) if self.hints else None
        for k, block in enumerate(self.blocks):
            outputs.append(block(self.block_input(k, x, outputs, levels)))
        return outputs

    def heads(self, features: list[Tensor]) -> list[Tensor]:
        """Logits of d0 (fused) and d1..d6 (sides), each (B, 1, H, W), from the eleven features."""
        feeds = features[: DEPTH - 2 : -1]  # De_1 .. De_5, En_6
        side = [conv(feature) for conv, feature in zip(self.side, feeds, strict=True)]
        side = [side[0]] + [resize_like(d, side[0]) for d in side[1:]]
        return [self.out(torch.cat(side, 1)), *side]

    def forward(self, x: Tensor, hints: Tensor | None = None) -> list[Tensor]:
        """Logits of d0..d6, each (B, 1, H, W), for a normalised photo (B, 3, H, W), and hints."""
        return self.heads(self.features(x, hints))


def normalise(image: Tensor) -> Tensor:
    """Photos (B, 3, H, W) uint8 -> the network's input, float32: RGB over its maximum, whitened."""
    x = image.float()
    x = x / x.amax((1, 2, 3), keepdim=True).clamp(min=1)
    mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (x - mean) / std


def fused(model: U2Net) -> U2Net:
    """A copy in evaluation mode with every batch normalisation folded into its convolution."""
    model = copy.deepcopy(model).eval()
    for layer in model.modules():
        if isinstance(layer, Conv) and isinstance(layer.norm, nn.BatchNorm2d):
            layer.conv = fuse_conv_bn_eval(layer.conv, layer.norm)
            layer.norm = nn.Identity()
    return model


@torch.no_grad()
def with_hints(model: U2Net) -> U2Net:
    """A folded network that can be told hints, and does not heed them yet."""
    if model.hints:
        return model
    grown = U2Net(model.widths, norm=False, hints=True)
    old = model.state_dict()
    for name, weight in grown.state_dict().items():
        # The channels of the hints are the last ones: what is told begins without an effect.
        weight.zero_()[tuple(slice(n) for n in old[name].shape)] = old[name]
    return grown


@torch.no_grad()
def unfused(folded: U2Net, photos: Tensor) -> U2Net:
    """A network with normalisations that answers as ``folded`` does.

    For training to go on from an export: each normalisation gets the mean and deviation of what
    comes in on normalised ``photos`` (B, 3, H, W), and the gain and shift that undo it.
    """
    model = U2Net(folded.widths).to(photos.device).eval()
    model.load_state_dict(folded.state_dict(), strict=False)

    def undo(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
        norm.running_mean, norm.running_var = mean, variance
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)

    norms = [layer.norm for layer in model.modules() if isinstance(layer, Conv)]
    hooks = [norm.register_forward_pre_hook(undo) for norm in norms]
    model(photos)
    for hook in hooks:
        hook.remove()
    return model


def parameter_count(model: nn.Module) -> int:
    """The number of trained values."""
    return sum(p.numel() for p in model.parameters())
