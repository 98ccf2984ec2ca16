"""The settings of one phase of a training of stage 1, and of the data that it learns from.

``recipes/u2net/*.toml`` say what differs, phase by phase.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: The side of the network's square view in use, px.
SIZE = 320


@dataclass(frozen=True)
class Data:
    """What a training is drawn from."""

    #: Cutouts put over backgrounds, made once; their alpha is exact by construction.
    composites: int = 1600
    #: Numbers the composites.
    seed: int = 0
    #: How often each source is drawn (``training.sampling``); one that is not named weighs 1.
    sampling: dict[str, float] = field(default_factory=dict)
    #: How much the truth of a source counts, 0..1; one that is not named counts 1.
    trust: dict[str, float] = field(default_factory=dict)
    #: A regular expression of the names that are held out of a source, where the rule for all
    #: (``training.split``) does not know what belongs together.
    held_out: dict[str, str] = field(default_factory=dict)
    #: One of the names of backgrounds that show desks and rooms: four scenes in ten stand there.
    rooms: str = ""


@dataclass(frozen=True)
class Settings:
    """One phase. Each default with its reason."""

    #: "blocks": each fed by the teacher; "chain": each fed by the student; "inner": those of low
    #: resolution, on prepared features; "whole": end to end (``u2net.phases``); "guided": all but
    #: the first, on targets that lie ready, with hints (``u2net.guided``); "relearn": those that
    #: were narrowed, on the maps of the network that they come from (``u2net.relearn``).
    phase: str = "whole"
    #: ``u2net.network.WIDTHS``; "p" has the teacher's channels, as the loss on features needs.
    widths: str = "p"
    #: Side of the training views, px; 160 costs a quarter of the 320 in use.
    size: int = 160
    steps: int = 2000
    #: Several steps matter more than smooth ones in so short a training.
    batch: int = 8
    #: Peak rate: Adam's usual 1e-3 and a bit, which batch normalisation bears.
    lr: float = 1.5e-3
    #: The cosine ends at this share of ``lr``.
    lr_end: float = 0.02
    #: Steps of linear warm-up.
    warmup: int = 40
    #: "adamw", or "soap": Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., 2024),
    #: at the same cost; end to end it went on where AdamW was level.
    optimizer: str = "adamw"
    weight_decay: float = 1e-4
    #: Largest norm of the gradient.
    clip: float = 5.0
    #: Inner phase: only its blocks at a 16th and a 32nd of the size, a third of the cost.
    deepest_only: bool = False
    #: Inner phase: samples whose features are prepared, 0.75 MB and 0.4 core-seconds each.
    feature_samples: int = 12_800
    #: Blocks and chain: share of the batch that the two full-size blocks see; guided: that the last
    #: one sees. They are 70 % of the cost and have most pixels to learn from; but with a single
    #: photo their batch normalisation takes away its level, and they learn badly.
    full_size_share: float = 0.375
    #: Whole and inner: weight of the loss on the features.
    hint: float = 1.0
    #: Share of the truth in the target, where there is some; the rest is the teacher's map.
    truth_weight: float = 0.9
    #: Sharpening of the teacher's maps in the target: their logits are multiplied by it.
    teacher_gain: float = 1.0
    #: Weight of the soft IoU. Cross-entropy alone makes an unsure map grey.
    overlap: float = 0.0
    #: Guided: share of the samples with truth that are hinted. The network has inputs for hints
    #: where it is above 0, and needs ``folded``.
    hinted: float = 0.0
    #: Guided: share of the hinted samples that get one to three clicks on the network's mistakes,
    #: as a person sets them; each of these costs a forward pass more.
    corrected: float = 0.25
    #: Strength of the augmentation, 0..1.
    strength: float = 0.6
    #: Share of pictures made of two, on a GPU (``u2net.gpu_augment``).
    collage: float = 0.0
    #: Train without normalisations, folded into the convolutions as in use: the statistics of four
    #: photos are far from those in use, and end to end that adds up.
    folded: bool = False
    #: Decay of the averaged weights, which are the ones exported.
    ema: float = 0.998
    #: Parts of a step side by side, one thread each: on a machine that is used otherwise too,
    #: threads that wait for one another in every operation are four times slower. In the whole
    #: phase each part has its own batch statistics, so the result depends on it.
    workers: int = 2
    #: Numbers all randomness.
    seed: int = 0
    #: Steps between validations, each with a checkpoint and a preview.
    validate_every: int = 200
