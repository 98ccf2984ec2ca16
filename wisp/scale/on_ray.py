"""Many machines by Ray Data: actors that hold the networks, fed as fast as they work.

Ray is imported only where it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

from pipeline import Output, Settings
from pipeline.errors import SettingsError
from wisp.scale.cutter import Cutter
from wisp.scale.hand import Done, Hand, Task
from wisp.scale.rows import WORKER, Row

#: Memory of an actor, in bytes: what a worker needs for photos of 12 megapixels, as it is said to
#: Ray, which does not start more actors on a machine than fit.
MEMORY = 1_500_000_000
_BATCH = 8  # photos a call: a few seconds, so that work is shared out evenly
_TRIES = 3  # restarts of an actor, and tries of its batch, before photos are done alone
_BLOCK = 256  # tasks in a block


def cut_dataset(
    dataset: Any,
    settings: Settings | None = None,
    output: Output | None = None,
    *,
    concurrency: int | tuple[int, int] | None = None,
    batch_size: int = _BATCH,
) -> Any:
    """Cut out a Ray dataset of photos.

    Parameters
    ----------
    dataset
        A ``ray.data.Dataset`` with a column "bytes" (as ``read_binary_files`` makes it) or "image",
        or of addresses alone ("path", "url").
    settings, output
        As for :class:`wisp.Cutout`; an actor uses one processor, or, where ``settings.providers``
        names CUDA, a quarter of a GPU.
    concurrency
        Actors, or the least and the most of them; by default one to as many as the cluster has
        processors.

    Returns
    -------
    A dataset with the columns that :class:`wisp.scale.Cutter` returns. It is computed as it is
    read, and a machine that goes away is made up for.
    """
    cutter = Cutter(settings, output)
    return _mapped(
        dataset, _Batches, {"cutter": cutter}, concurrency, batch_size, _uses_gpu(cutter.settings)
    )


def over_ray(
    address: str | None, jobs: int | None
) -> Callable[[Iterator[Task], Hand], Generator[tuple[Task, Done], None, None]]:
    """Return what does tasks on a cluster, for :func:`wisp.scale.run.cut_all`."""

    def execute(tasks: Iterator[Task], hand: Hand) -> Generator[tuple[Task, Done], None, None]:
        ray = connect(address)
        known: dict[int, Task] = {}
        dataset = ray.data.from_items([{"tasks": block} for block in _blocks(tasks, known)])
        dataset = dataset.flat_map(lambda row: [{"task": task} for task in row["tasks"]])
        settings = getattr(hand.cutter, "settings", Settings())
        results = _mapped(dataset, _Tasks, {"hand": hand}, jobs, _BATCH, _uses_gpu(settings))
        for row in results.iter_rows():
            done = row["done"]
            yield known.pop(row["number"]), done
        for task in list(known.values()):  # of batches that Ray gave up
            yield task, Done(Row(task.item.path, error="Ray gave this photo up", fault=WORKER))

    return execute


def connect(address: str | None) -> Any:
    """Connect to a cluster; None is one on this machine. Raises :class:`SettingsError`."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise SettingsError("Ray is an extra: pip install 'wispcut[ray]'") from None
    if not ray.is_initialized():
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            ray.init(address=address, log_to_driver=False)
        except ConnectionError as error:
            raise SettingsError(f"no Ray cluster at {address}: {error}") from error
    context = ray.data.DataContext.get_current()
    context.actor_task_retry_on_errors = True
    context.enable_progress_bars = False
    return ray


def _mapped(
    dataset: Any,
    worker: type,
    arguments: dict[str, Any],
    concurrency: int | tuple[int, int] | None,
    batch_size: int,
    gpu: bool,
) -> Any:
    import ray

    most = max(1, int(ray.cluster_resources().get("CPU", 1)))
    return dataset.map_batches(
        worker,
        fn_constructor_kwargs=arguments,
        batch_size=batch_size,
        concurrency=concurrency or (1, most),
        num_cpus=1,
        num_gpus=0.25 if gpu else None,
        memory=MEMORY,
        max_restarts=_TRIES,
        max_task_retries=_TRIES,
    )


class _Batches:
    """The actor of :func:`cut_dataset`."""

    def __init__(self, cutter: Cutter) -> None:
        self._cutter = cutter

    def __call__(self, batch: Any) -> dict[str, Any]:
        return self._cutter(batch)


class _Tasks:
    """The actor of :func:`over_ray`."""

    def __init__(self, hand: Hand) -> None:
        hand.cutter.open()
        self._hand = hand

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        done = [self._hand.do(task) for task in batch["task"]]
        return {"number": [task.number for task in batch["task"]], "done": done}


def _blocks(tasks: Iterator[Task], known: dict[int, Task]) -> Iterator[list[Task]]:
    block: list[Task] = []
    for task in tasks:
        known[task.number] = task
        block.append(task)
        if len(block) == _BLOCK:
            yield block
            block = []
    if block:
        yield block


def _uses_gpu(settings: Settings) -> bool:
    return settings.providers[0] == "CUDAExecutionProvider"
