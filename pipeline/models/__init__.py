"""The models: which there are, how one is found by its name or path, and how it is opened."""

from pipeline.models.catalogue import (
    COARSE,
    DECODERS,
    HINTS,
    PUBLIC,
    REFINERS,
    WEIGHTS,
    CoarseModel,
    RefinerModel,
)
from pipeline.models.listing import listing
from pipeline.models.lookup import coarse_model, refiner_model
from pipeline.models.opening import Prompted, Refiner, open_coarse, open_refiner
from pipeline.models.session import Network, Session
from pipeline.models.store import checksum
from pipeline.models.watch import watched, within

__all__ = [
    "COARSE",
    "DECODERS",
    "HINTS",
    "PUBLIC",
    "REFINERS",
    "WEIGHTS",
    "CoarseModel",
    "Network",
    "Prompted",
    "Refiner",
    "RefinerModel",
    "Session",
    "checksum",
    "coarse_model",
    "listing",
    "open_coarse",
    "open_refiner",
    "refiner_model",
    "watched",
    "within",
]
