"""The settings of one phase of a training of stage 2.

``recipes/refiner/*.toml`` say what differs, phase by phase.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from refiner.losses import Weights
from refiner.network import Shape
from refiner.scenes import Data


@dataclass(frozen=True)
class Settings:
    """One phase. Each default with its reason."""

    #: "reconstruction", or "adversarial", which goes on from another phase with a discriminator.
    phase: str = "reconstruction"
    #: Name of an earlier phase whose weights this one begins with; "": random ones.
    init: str = ""
    #: The generator's widths and depth.
    shape: Shape = field(default_factory=Shape)
    #: What the reconstruction loss is made of.
    weights: Weights = field(default_factory=Weights)
    #: Above 0, the phase trains the global generator: its change of the mask is used smoothed by a
    #: Gaussian of so many pixels (:mod:`pipeline.multiscale`), so the losses are of that.
    smoothing: float = 0.0
    #: 100,000 patches, about an hour of two CPU cores.
    steps: int = 6000
    #: Patches a step and device: small, as few patches can be had in an hour, and each step learns.
    batch: int = 16
    #: Share of a step's patches that are seen twice where ``weights.consistency`` counts: each is
    #: one more to compute, and a quarter steadies the answers, too.
    twins: float = 1.0
    #: Peak rate: SOAP bears twice what Adam did without normalisation.
    lr: float = 2e-3
    #: The cosine ends at this share of ``lr``.
    lr_end: float = 0.02
    #: Steps of linear warm-up.
    warmup: int = 100
    #: Steps in which the adversarial phase's discriminator learns and does not count yet: the first
    #: verdicts of one that knows nothing would only undo what the generator can.
    discriminator_warmup: int = 100
    #: Weights of the adversarial phase's terms: small, they are there for texture only.
    adversarial: float = 0.01
    feature_matching: float = 0.05
    perceptual: float = 0.02  # LPIPS, of the lpips extra
    #: Decay of the averaged weights, which are the ones exported: over about the last 500 steps.
    ema: float = 0.998
    #: Longest gradient; a batch of odd patches must not undo a hundred others.
    clip: float = 1.0
    #: "bf16-mixed" or "32-true"; "auto" is the former where the device computes in bf16.
    precision: str = "auto"
    #: Numbers all randomness.
    seed: int = 0
    #: Steps between validations, each with a checkpoint, and patches used for one.
    validate_every: int = 250
    validate_on: int = 512
    #: What the phase's patches are made of.
    data: Data = field(default_factory=Data)
