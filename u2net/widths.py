"""Change how many channels a network has, so that it answers as before or nearly so.

More channels begin without a say. With fewer, a block keeps those that say most, and what is lost
is foretold from these: what reads them is changed accordingly. Nothing is trained here;
:mod:`u2net.relearn` goes on from it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.errors import SettingsError
from u2net.network import DEPTH, Conv, U2Net, Widths

_RIDGE = 1e-4  # of the channels' mean square: nearly equal channels have no solution otherwise


@dataclass(frozen=True)
class Reader:
    """A convolution that reads a block's channels: the first ones of its input, or the last."""

    layer: str
    last: bool = False


@torch.no_grad()
def narrowed(model: U2Net, widths: Widths, photos: Tensor) -> U2Net:
    """Return a folded network with fewer channels outside of its blocks, which answers similarly.

    Parameters
    ----------
    model
        A folded network; it stays as it is.
    widths
        As those of ``model``, but for fewer channels outside of some blocks, and ``early``.
    photos
        (B, 3, H, W) float32, normalised: some dozens, by which channels are chosen.

    The channels are chosen one after the other, each the one that those before it explain least
    (pivoted Cholesky decomposition; Higham, 1990), counted by the weights that read it.
    Raises :class:`SettingsError` for a network that is early already: narrow the one before it.
    """
    if model.widths.early:
        raise SettingsError("the network's last block begins early: narrow the one before it")
    state = model.state_dict()
    seen = _moments(model, photos)
    for k in fewer(widths, model):
        (said, begun), name = seen[k], block(k)
        weight = torch.zeros(len(said) - 1)
        for reader in readers(k):
            weight += _part(state, reader, len(weight)).square().sum((0, 2, 3))
        keep = _chosen(said, weight, widths.outside[k])
        for reader in readers(k):
            _reread(state, reader, said, keep)
        _reread(state, Reader(f"{name}.enc.0.conv"), begun, keep)
        for layer in (f"{name}.cin.conv", f"{name}.dec.{len(model.blocks[k].dec) - 1}.conv"):
            for part in (f"{layer}.weight", f"{layer}.bias"):
                state[part] = state[part][keep]
    if widths.early:
        _begin_early(state, widths.outside[-2])
    slim = U2Net(widths, norm=False, hints=model.hints)
    slim.load_state_dict(state)
    return slim


@torch.no_grad()
def widened(model: U2Net, widths: Widths, like: U2Net | None = None) -> U2Net:
    """Return a folded network with more channels in its blocks that answers as ``model`` does.

    The new channels find what they find in ``like``, a folded network of ``widths``, or else
    something at random; what reads them is zero (after Chen et al., "Net2Net", ICLR 2016, who copy
    channels instead). Raises :class:`SettingsError` where one of them is early, and they differ.
    """
    if model.widths == widths:
        return model
    if widths.early or model.widths.early:
        raise SettingsError("a network whose last block begins early has the channels that it has")
    grown = copy.deepcopy(like) if like else U2Net(widths, norm=False, hints=model.hints)
    outside = model.state_dict()
    for name, weight in grown.state_dict().items():
        if name.startswith(("side.", "out.")):
            weight.zero_()[tuple(slice(n) for n in outside[name].shape)] = outside[name]
    for k, (old_block, new_block) in enumerate(zip(model.blocks, grown.blocks, strict=True)):
        for old, new in zip(old_block.layers, new_block.layers, strict=True):
            if not like:
                nn.init.kaiming_normal_(new.conv.weight, nonlinearity="relu")
                nn.init.zeros_(new.conv.bias)  # type: ignore[arg-type]
            if new is new_block.cin:
                fed = model.parts(k), grown.parts(k)
            else:  # a decoder's layer reads two features, one behind the other
                features = 2 if any(layer is new for layer in new_block.dec) else 1
                fed = _halves(old, features), _halves(new, features)
            count = len(old.conv.weight)
            new.conv.weight[:count] = 0
            theirs, ours = (
                old.conv.weight.split(fed[0], 1),
                new.conv.weight[:count].split(fed[1], 1),
            )
            for before, after in zip(theirs, ours, strict=True):
                after[:, : before.shape[1]] = before
            old_bias, new_bias = cast(Tensor, old.conv.bias), cast(Tensor, new.conv.bias)
            new_bias[:count] = old_bias
    return grown


def _halves(layer: Conv, count: int) -> list[int]:
    """Return how many channels a layer reads of ``count`` features that are alike."""
    return [layer.conv.in_channels // count] * count


#: What a kernel's pixel beside its middle reads of an enlarged map is half the map's pixel in the
#: middle, half the one beside it.
_HALVED = torch.tensor([[0.5, 0.0, 0.0], [0.5, 1.0, 0.5], [0.0, 0.0, 0.5]])


@torch.no_grad()
def mean(elder: U2Net, newer: U2Net, share: float) -> U2Net:
    """A folded network of the weights (1 - share) · elder + share · newer.

    What learned more and what it went on from are better together than either (Wortsman et al.,
    "Robust fine-tuning of zero-shot models", CVPR 2022). ``newer`` may have more channels.
    """
    joined = copy.deepcopy(newer)
    first = widened(elder, newer.widths, like=newer).state_dict()
    for name, weight in joined.state_dict().items():
        weight.copy_(torch.lerp(first[name].to(weight), weight, share))
    return joined


def fewer(widths: Widths, model: U2Net) -> list[int]:
    """Return the numbers of the blocks with fewer channels outside than those of a network."""
    pairs = zip(widths.outside, model.widths.outside, strict=True)
    return [k for k, (ours, theirs) in enumerate(pairs) if ours < theirs]


def block(k: int) -> str:
    """Return the name of block ``k``."""
    return f"encoder.{k}" if k < DEPTH else f"decoder.{k - DEPTH}"


def readers(k: int) -> Iterator[Reader]:
    """Yield what reads the output of block ``k``."""
    blocks = 2 * DEPTH - 1
    if k + 1 < blocks:
        yield Reader(f"{block(k + 1)}.cin.conv")
    if k < DEPTH - 1:
        yield Reader(f"{block(blocks - 1 - k)}.cin.conv", last=True)
    else:
        yield Reader(f"side.{blocks - 1 - k}")


def _begin_early(state: dict[str, Tensor], below: int) -> None:
    """Let De_1, which is fed ``below`` channels from below, read them before they are enlarged."""
    name = f"{block(2 * DEPTH - 2)}.cin"
    enlarged, state[f"{name}.conv.weight"] = (
        state[f"{name}.conv.weight"][:, :below],
        state[f"{name}.conv.weight"][:, below:],
    )
    state[f"{name}.below.weight"] = torch.einsum("yi,ocij,xj->ocyx", _HALVED, enlarged, _HALVED)


def _moments(model: U2Net, photos: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the means of products of the channels of each block's output, and of its first layer's
    output, with a last channel of ones: each (C + 1, C + 1) float64."""
    began: list[Tensor] = []
    hooks = [
        rsu.cin.register_forward_hook(lambda layer, fed, output: began.append(output))
        for rsu in model.blocks
    ]
    sides = [width + 1 for width in model.widths.outside]
    seen = [torch.zeros(2, side, side, dtype=torch.float64) for side in sides]
    for photo in photos.split(1):
        began.clear()
        for sums, *pair in zip(seen, model.features(photo), began, strict=True):
            sums += torch.stack([_products(feature) for feature in pair]) / len(photos)
    for hook in hooks:
        hook.remove()
    return [(said, begun) for said, begun in seen]


def _products(feature: Tensor) -> Tensor:
    flat = feature[0].flatten(1)
    flat = torch.cat([flat, flat.new_ones(1, flat.shape[1])])
    return (flat @ flat.T).double() / flat.shape[1]


def _chosen(moments: Tensor, weight: Tensor, count: int) -> Tensor:
    """Return the numbers of the ``count`` channels that explain all of them best, in order."""
    mean = moments[-1, :-1]
    scale = weight.double().sqrt()
    left = (moments[:-1, :-1] - mean[:, None] * mean) * scale[:, None] * scale
    chosen: list[int] = []
    for _ in range(count):
        size = left.diagonal().clone()
        size[chosen] = -1  # none twice, where no other says anything
        best = int(size.argmax())
        chosen.append(best)
        column = left[:, best] / left[best, best].clamp_min(1e-12).sqrt()
        left = left - column[:, None] * column
    return torch.tensor(sorted(chosen))


def _part(state: dict[str, Tensor], reader: Reader, count: int) -> Tensor:
    """Return the weights with which a layer reads ``count`` channels, (out, count, 3, 3)."""
    weight = state[f"{reader.layer}.weight"]
    return weight[:, -count:] if reader.last else weight[:, :count]


def _reread(state: dict[str, Tensor], reader: Reader, moments: Tensor, keep: Tensor) -> None:
    """Let a layer read the kept channels alone: what it loses is foretold from them.

    By the linear regression, c_lost = M · c_kept + m, which has no say about places.
    """
    count = len(moments) - 1
    lost = torch.tensor([c for c in range(count) if c not in set(keep.tolist())], dtype=torch.long)
    from_ = torch.cat([keep, torch.tensor([count])])
    gram = moments[from_][:, from_]
    ridge = torch.full((len(from_),), _RIDGE * float(moments.diagonal()[:-1].mean()))
    ridge[-1] = 0
    mix = torch.linalg.solve(gram + ridge.double().diag(), moments[from_][:, lost]).float()
    part = _part(state, reader, count)
    told = part[:, keep] + torch.einsum("olhw,kl->okhw", part[:, lost], mix[:-1])
    weight, bias = f"{reader.layer}.weight", f"{reader.layer}.bias"
    state[bias] = state[bias] + torch.einsum("olhw,l->o", part[:, lost], mix[-1])
    rest = state[weight][:, :-count] if reader.last else state[weight][:, count:]
    state[weight] = torch.cat([rest, told] if reader.last else [told, rest], 1)
