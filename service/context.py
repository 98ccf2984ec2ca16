"""What the application holds, in one place."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from service.budget import Budget
from service.clips.queue import Clips
from service.engine import Engine
from service.files import Files
from service.job_queue import JobQueue
from service.monitoring import Metrics
from service.result_store import ResultStore
from service.settings import ServiceSettings


@dataclass
class Context:
    """Everything that a face needs."""

    settings: ServiceSettings
    engine: Engine
    queue: JobQueue
    results: ResultStore
    metrics: Metrics
    #: What requests hold in memory: uploads, jobs and answers, by visitor and in all.
    memory: Budget
    #: What visitors sent to the disk, and what they are handed out from it.
    files: Files
    clips: Clips
    #: Where names and answers come from when URLs are fetched; for tests.
    fetch_options: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    ready: bool = False
