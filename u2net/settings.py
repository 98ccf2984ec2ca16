"""The settings of a training of stage 1, the presets, and how to change them by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import SettingsError


@dataclass(frozen=True)
class Settings:
    """One training run. Each preset below is one of these."""

    phase: str = "whole"  # "blocks": each fed by the teacher; "chain": each fed by the student;
    # "inner": those of low resolution, on prepared features; "whole": end to end
    widths: str = "p"  # u2net.network.WIDTHS; "p" has the teacher's channels, as hints need
    size: int = 160  # px; 160 costs a quarter of the 320 in use
    steps: int = 2000
    batch: int = 8  # several steps matter more than smooth ones in so short a training
    lr: float = 1.5e-3  # Adam's usual 1e-3 and a bit: batch normalisation bears it
    lr_end: float = 0.02  # the cosine ends at this share of lr
    warmup: int = 40  # steps of linear warm-up
    soap: bool = False  # Adam in the eigenbasis of Shampoo's preconditioner (SOAP; Vyas et al.,
    # 2024) instead of AdamW, at the same cost: end to end it went on where AdamW was level
    weight_decay: float = 1e-4
    clip: float = 5.0  # norm of the gradient
    deep: bool = False  # inner phase: its blocks at a 16th and a 32nd alone, a third of the cost
    full_size_share: float = 0.375  # blocks phase: share of the batch that the two full-size
    # blocks see. They are 70 % of the cost and have most pixels to learn from; but with a single
    # photo their batch normalisation takes away its level, and they learn badly.
    hint: float = 1.0  # whole phase: weight of the features' loss
    trust: float = 0.9  # whole phase: share of the truth in the target, the rest is the teacher
    gain: float = 1.0  # sharpening of the teacher's maps in the target
    overlap: float = 0.0  # weight of the soft IoU
    strength: float = 0.6  # of the augmentation, 0..1
    joined: float = 0.0  # share of pictures made of two, on a GPU: see u2net.views
    folded: bool = False  # without normalisations, folded into the convolutions as in use: those
    # of a batch of four photos are far from what they are in use, and end to end that adds up
    ema: float = 0.998  # decay of the averaged weights, which are the ones exported
    workers: int = 2  # parts of a step side by side, one thread each: on a machine that is used
    # otherwise too, threads that wait for one another in every operation are 4 times slower.
    # In the whole phase each part has its own batch statistics, so the result depends on it.
    seed: int = 0
    every: int = 200  # steps between checkpoints, with a preview and the held-out error


# At the size in use, with the truth. The hints weigh most: they are many and steady, where the
# maps' gradient, through all blocks, is mostly noise. Cross-entropy alone makes an unsure map
# grey; the overlap and the sharpening decide it.
FINISH = Settings(
    folded=True,
    size=320,
    steps=300,
    batch=4,
    soap=True,
    lr=1.5e-3,
    weight_decay=0.0,
    warmup=10,
    hint=30.0,
    trust=0.9,
    gain=1.5,
    overlap=1.0,
    strength=0.5,
    ema=0.98,
    every=50,
)

PRESETS = {
    # Not below 288 px: the teacher's own error is 0.030 there, and 0.042 at 224 px.
    "blocks": Settings(
        phase="blocks",
        size=288,
        steps=1300,
        lr=2e-3,
        warmup=20,
        strength=0.9,
        ema=0.99,
        every=100,
    ),
    "whole": Settings(
        steps=380, lr=1.2e-3, warmup=15, hint=1.0, gain=1.5, overlap=0.25, ema=0.99, every=40
    ),
    # The teacher's maps alone: its features do not tell what the truth of a composite is.
    "chain": Settings(
        phase="chain",
        folded=True,
        size=288,
        steps=900,
        lr=2e-3,
        warmup=10,
        trust=0.0,
        strength=0.7,
        ema=0.98,
        every=50,
    ),
    # The five blocks that decide, on features that lie ready: so cheap that a batch can be large,
    # and a step ten times as long as end to end. The deep three alone bear 8e-2.
    "inner": replace(
        FINISH, phase="inner", steps=750, batch=32, lr=1.5e-2, warmup=20, ema=0.99, every=250
    ),
    "finish": FINISH,
    # Three minutes of a GPU, where views cost nothing and a batch can be large: all blocks learn
    # together again. After 120 steps, three times the rate was behind, and eight times far behind.
    "gpu": replace(
        FINISH,
        steps=500,
        batch=64,
        lr=5e-3,
        warmup=100,
        strength=0.6,
        joined=0.3,
        ema=0.998,
        workers=1,
        every=250,
    ),
    "tiny": Settings(widths="tiny", size=64, steps=4, batch=2, hint=0.0, every=2, warmup=1),
}

# The chance of each source in a batch; a folder that is not named weighs 1.
SOURCES = {"photos": 8.0, "people": 2.0, "humans": 1.2, "objects": 1.5, "fur": 0.3}
SOURCES |= {"composites": 1.5}

# From the text of a setting to its value.
READ: dict[type, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: {"yes": True, "no": False}.__getitem__,
}


def changed(settings: Settings, changes: tuple[str, ...]) -> Settings:
    """``settings`` with NAME=VALUE changes. Raises ``SettingsError`` for what is no setting."""
    values = {}
    for change in changes:
        name, _, value = change.partition("=")
        if not hasattr(settings, name):
            raise SettingsError(f"There is no setting {name!r} to set.")
        try:
            values[name] = READ[type(getattr(settings, name))](value)
        except (ValueError, KeyError) as error:
            raise SettingsError(f"{change!r}: {error}") from error
    return replace(settings, **values)
