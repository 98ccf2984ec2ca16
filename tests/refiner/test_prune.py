"""What takes channels out of a generator, and what puts new ones in."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from pipeline.errors import SettingsError
from refiner import export
from refiner.network import Generator, Residual, Shape, grow
from refiner.prune import STEP, main, prune
from refiner.settings import Settings
from refiner.weights import load_generator
from training import checkpoint

SHAPE = Shape(width=16, middle=1, bottom=2, guided_filter=True)  # 32, 64, 64 and 32 inside
ALIVE = 10  # hidden channels a block


def convolutions(block: Residual) -> tuple[nn.Conv2d, nn.Conv2d]:
    first, second = (part for part in block.modules() if isinstance(part, nn.Conv2d))
    return first, second


def with_dead_channels() -> Generator:
    """A generator of which most hidden channels never open, and the others are spread out."""
    torch.manual_seed(4)
    net = Generator(SHAPE).eval()
    with torch.no_grad():
        net.head.weight.normal_(0, 0.02)
        for block in net.modules():
            if isinstance(block, Residual):
                first, second = convolutions(block)
                second.weight.mul_(3)
                dead = torch.randperm(first.out_channels)[ALIVE:]
                first.weight[dead] = 0
                cast(torch.Tensor, first.bias)[dead] = -1.0
    return net


@pytest.fixture(scope="module")
def patches() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.cat([
        torch.from_numpy(export.probe()), torch.rand(4, 4, 128, 128, generator=generator)
    ])  # fmt: skip


def test_dead_channels_go_and_the_answers_stay(patches: torch.Tensor) -> None:
    net = with_dead_channels()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    small = prune(net, patches)
    assert small.shape == replace(SHAPE, hidden=(STEP,) * 4)
    with torch.no_grad():
        others = torch.rand(4, 4, 128, 128, generator=torch.Generator().manual_seed(2))
        torch.testing.assert_close(small(others), net(others), atol=2e-3, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_is_needed_stays(patches: torch.Tensor) -> None:
    torch.manual_seed(5)
    net = Generator(SHAPE).eval()
    for block in net.modules():
        if isinstance(block, Residual):
            convolutions(block)[1].weight.data.mul_(3)
    strict, loose = prune(net, patches, 1e-9), prune(net, patches, 0.5)
    assert strict.shape.inside == SHAPE.inside and loose.shape.inside == (STEP,) * 4
    # Of a block that keeps all it has, nothing is lost either.
    with torch.no_grad():
        torch.testing.assert_close(strict(patches), net(patches), atol=2e-3, rtol=0)


def test_pruned_weights_go_through_a_checkpoint_and_a_file(tmp_path: Path, shards: Path) -> None:
    net = with_dead_channels()
    checkpoint.save(tmp_path / "last.pt", 1, Settings(shape=SHAPE), {"ema": net})
    words = [str(tmp_path / "last.pt"), str(tmp_path / "pruned.pt"), "--data", str(shards)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0 and "16, 16, 16, 16" in result.output, result.output
    file = tmp_path / "refiner.onnx"
    assert export.export([tmp_path / "pruned.pt"], file) <= 2 / 255
    back = load_generator(file)
    assert back.shape == replace(SHAPE, hidden=(STEP,) * 4)
    assert load_generator(tmp_path / "pruned.pt").shape == back.shape


def test_new_channels_begin_as_nothing_and_can_learn(patches: torch.Tensor) -> None:
    small = prune(with_dead_channels(), patches)
    grown = grow(small, replace(SHAPE, hidden=(32, 48, 16, 16)))
    answers = grown(patches)
    with torch.no_grad():
        torch.testing.assert_close(answers, small(patches), atol=1e-5, rtol=0)
    answers.square().mean().backward()
    (_, second), *_ = (convolutions(b) for b in grown.bottom if isinstance(b, Residual))
    assert second.weight.grad is not None
    new = second.weight.grad[:, STEP:]
    assert new.abs().amax((0, 2, 3)).gt(0).float().mean() > 0.5  # dead ones would have none
    assert grow(small, SHAPE).shape == SHAPE
    with pytest.raises(SettingsError, match="another shape"):
        grow(grown, small.shape)


def test_hidden_is_a_number_for_each_block() -> None:
    with pytest.raises(SettingsError, match="of which there are 4, not 3"):
        replace(SHAPE, hidden=(16, 16, 16))
