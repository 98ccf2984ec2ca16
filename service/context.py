"""What the application holds, in one place."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from service.budget import Budget
from service.core import Core
from service.engine import Engine
from service.observe import Metrics
from service.settings import ServiceSettings
from service.shelf import Shelf


@dataclass
class Context:
    """Everything that a face needs."""

    settings: ServiceSettings
    engine: Engine
    core: Core
    shelf: Shelf
    metrics: Metrics
    #: What requests hold in memory: uploads, jobs and answers, by visitor and in all.
    memory: Budget
    #: Where names and answers come from when URLs are fetched; for tests.
    fetch_options: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    ready: bool = False
