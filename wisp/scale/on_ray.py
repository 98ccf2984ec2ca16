"""Many machines by Ray Data: actors that hold the networks, fed as fast as they work.

Ray is imported only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Any

from pipeline import Output, Settings
from pipeline.errors import SettingsError
from pipeline.memory import compact
from wisp.scale.cutter import Cutter
from wisp.scale.hand import Done, Hand, Task
from wisp.scale.rows import WORKER, Row

#: Memory of an actor, in bytes, as it is said to Ray, which does not start more actors on a machine
#: than fit: 565 MiB were measured for photos of 12 megapixels, Ray's own part with them.
MEMORY = 700_000_000
_BATCH = 8  # photos a call: a few seconds, so that work is shared out evenly
_TRIES = 2  # further tries of a batch that ended its actor, before its photos are done alone
_BLOCK = 64  # tasks in a block
_WINDOW = 200_000  # tasks that are handed to Ray at a time


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
        while window := list(islice(tasks, _WINDOW)):
            if any(task.item.data is not None for task in window):
                raise SettingsError(
                    "Ray takes photos by their addresses: for a table of pictures see "
                    "wisp.scale.cut_dataset, or leave --engine out"
                )
            connect(address)
            left = {task.number: task for task in window}
            for number, done in _together(window, hand, jobs):
                yield left.pop(number), done
            for task, done in _alone(list(left.values()), hand):  # whose batches Ray gave up
                yield task, done

    return execute


def connect(address: str | None) -> Any:
    """Connect to a cluster; None is one on this machine. Raises :class:`SettingsError`."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise SettingsError("Ray is an extra: pip install 'wispcut[ray]'") from None
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False)
        except ConnectionError as error:
            raise SettingsError(f"no Ray cluster at {address}: {error}") from error
    context = ray.data.DataContext.get_current()
    context.actor_task_retry_on_errors = True
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # what is lost is missed, and done again
    return ray


def _mapped(
    dataset: Any,
    worker: type,
    arguments: dict[str, Any],
    concurrency: int | tuple[int, int] | None,
    batch_size: int,
    gpu: bool,
) -> Any:
    return dataset.map_batches(
        worker,
        fn_constructor_kwargs=arguments,
        batch_size=batch_size,
        concurrency=concurrency or (1, _processors()),
        num_cpus=1,
        num_gpus=0.25 if gpu else None,
        memory=MEMORY,
        max_restarts=-1,
        max_task_retries=_TRIES,
    )


class _Batches:
    """The actor of :func:`cut_dataset`."""

    def __init__(self, cutter: Cutter) -> None:
        compact()
        self._cutter = cutter

    def __call__(self, batch: Any) -> dict[str, Any]:
        return self._cutter(batch)


class _Tasks:
    """The actor of :func:`over_ray`."""

    def __init__(self, hand: Hand) -> None:
        compact()
        hand.cutter.open()
        self._hand = hand

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        done = [self._hand.do(task) for task in batch["task"]]
        return {"number": [task.number for task in batch["task"]], "done": done}


def _together(tasks: list[Task], hand: Hand, jobs: int | None) -> Iterator[tuple[int, Done]]:
    import ray

    # A block is what an actor is given: several for each, also where there are few photos.
    blocks = max(len(tasks) // _BLOCK, min(len(tasks), 4 * (jobs or _processors())))
    dataset = ray.data.from_items([{"task": task} for task in tasks], override_num_blocks=blocks)
    gpu = _uses_gpu(getattr(hand.cutter, "settings", Settings()))
    for row in _mapped(dataset, _Tasks, {"hand": hand}, jobs, _BATCH, gpu).iter_rows():
        yield int(row["number"]), row["done"]


def _alone(tasks: list[Task], hand: Hand) -> Iterator[tuple[Task, Done]]:
    """Do each task in a process that has no other; yield them in their order."""
    import ray
    from ray.exceptions import RayError

    # They ask for no processor: an actor of a lost machine that Ray wants to start again may hold
    # one for ever, and they would wait for it. There are never more than processors instead.
    do = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy="SPREAD")(_do)
    where, most = ray.put(hand), _processors()
    for first in range(0, len(tasks), most):
        some = tasks[first : first + most]
        for task, result in [(task, do.remote(where, task)) for task in some]:
            try:
                yield task, ray.get(result)
            except RayError:
                error = "the process ended over this photo, also when it had no other: most likely "
                error += "there was too little memory"
                yield task, Done(Row(task.item.path, error=error, fault=WORKER))


def _do(hand: Hand, task: Task) -> Done:
    return hand.do(task)


def _processors() -> int:
    """Of the whole cluster."""
    import ray

    cluster: Any = ray
    return max(1, int(cluster.cluster_resources().get("CPU", 1)))


def _uses_gpu(settings: Settings) -> bool:
    return settings.providers[0] == "CUDAExecutionProvider"
