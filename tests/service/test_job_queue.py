"""The queue: bounded, shared, and free of work nobody waits for."""

import asyncio
import hashlib
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from pipeline import Output, explain, models
from pipeline.errors import ImageTooSlow, ModelInvalid, ModelMissing, UnreadableImage
from pipeline.image_io import Photo
from pipeline.models import own, store
from service import job_queue as queue_module
from service.cache import Cache
from service.engine import Engine, Opened
from service.errors import Busy, TimedOut, Unsupported
from service.job import LOOK_STAGES, STAGES, Abandoned, Answer, Job, Watch
from service.job_queue import JobQueue
from service.monitoring import Metrics
from tests.service.conftest import encoded, opened
from tests.tiny_u2net import tiny_u2net

ANSWER = Answer(
    b"picture", "png", 2, 1, (0, 0, 2, 1), False, "tiny", True, 3, {"total": 0.01}, ("note",)
)


class Slow(Engine):
    """An engine whose jobs take until they are let go, and look in as the real one does."""

    def __init__(self, settings):
        super().__init__(settings)
        self.done, self.begun, self.ended = [], [], []
        self.go = threading.Event()

    def read(self, job, watch):
        return Opened(Photo(np.zeros((1, 1, 3), np.uint8)), None, 0.0)

    def run(self, job, opened, watch):
        self.begun.append(job.image)
        try:
            while not self.go.is_set():
                watch.step("refine", 0.5)
                time.sleep(0.005)
        finally:
            self.ended.append(job.image)
        self.done.append(job.image)
        return replace(ANSWER, data=job.image)


def run(settings, story, cache=None, **changes):
    """Tell a story in an event loop, with a queue over a slow engine."""

    async def main():
        changed = settings.model_copy(update=changes)
        engine = Slow(changed)
        queue = JobQueue(changed, engine, cache or Cache(None), Metrics())
        try:
            return await asyncio.wait_for(story(queue, engine), 60)
        finally:
            engine.go.set()
            await queue.close()

    return asyncio.run(main())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


def test_identical_requests_in_flight_are_computed_once(settings):
    async def story(queue, engine):
        tasks = [asyncio.create_task(queue.cut(Job(b"same"))) for _ in range(20)]
        other = asyncio.create_task(queue.cut(Job(b"same", output=Output(crop=True))))
        await until(lambda: sum(flight.waiters for flight in queue._flights.values()) == 21)
        engine.go.set()
        answers = await asyncio.gather(*tasks, other)
        assert {answer.data for answer in answers} == {b"same"}
        assert engine.done == [b"same", b"same"]

    run(settings, story)


def test_a_full_queue_refuses_at_once_and_says_when_to_return(settings):
    async def story(queue, engine):
        tasks = [asyncio.create_task(queue.cut(Job(bytes([i])))) for i in range(3)]
        await until(lambda: queue.queued == 2 and queue.running == 1)
        with pytest.raises(Busy) as caught:  # while nothing goes on
            await queue.cut(Job(b"one too many"))
        assert (caught.value.retry_after or 0) >= 1
        joined = asyncio.create_task(queue.cut(Job(bytes([1]))))  # no new work: let in
        await asyncio.sleep(0.02)
        engine.go.set()
        assert (await joined).data == bytes([1])
        await asyncio.gather(*tasks)

    run(settings, story, queue=2)


def test_no_more_run_at_a_time_than_allowed(settings):
    async def story(queue, engine):
        tasks = [asyncio.create_task(queue.cut(Job(bytes([i])))) for i in range(6)]
        await until(lambda: len(engine.begun) == 2)
        await asyncio.sleep(0.05)
        assert len(engine.begun) == 2
        engine.go.set()
        await asyncio.gather(*tasks)

    run(settings, story, concurrency=2)


def test_slow_pictures_step_aside_and_of_too_many_some_are_given_up(settings, monkeypatch):
    monkeypatch.setattr(queue_module, "_PATIENCE", 0.05)
    decoded, start = threading.Event(), time.monotonic()

    async def story(queue, engine):
        def read(job, watch):
            while job.image.startswith(b"slow") and not decoded.is_set():
                watch.worked = time.monotonic() - start
                watch.check()
                time.sleep(0.005)
            return Opened(Photo(np.zeros((1, 1, 3), np.uint8)), None, 0.0)

        engine.read = read
        engine.go.set()
        slow = [asyncio.create_task(queue.cut(Job(b"slow%d" % i))) for i in range(8)]
        await asyncio.sleep(0)
        assert (await queue.cut(Job(b"quick"))).data == b"quick"
        await until(lambda: sum(task.done() for task in slow) == 8 - queue_module._ASIDE)
        assert all(isinstance(t.exception(), ImageTooSlow) for t in slow if t.done())
        left = [task for task in slow if not task.done()]
        decoded.set()
        answers = await asyncio.gather(*left)
        assert len(answers) == queue_module._ASIDE and queue._aside == 0
        assert (await queue.cut(Job(b"again"))).data == b"again"

    run(settings, story)


def test_who_leaves_after_a_slow_picture_gives_back_no_more_than_it_had(settings, monkeypatch):
    monkeypatch.setattr(queue_module, "_PATIENCE", 0.05)
    decoded = threading.Event()

    async def story(queue, engine):
        def read(job, watch):
            if job.image == b"slow":
                decoded.wait(60)
            return Opened(Photo(np.zeros((1, 1, 3), np.uint8)), None, 0.0)

        engine.read = read
        permits = queue._reading._value
        first = asyncio.create_task(queue.cut(Job(b"first")))
        await until(lambda: engine.begun)
        slow = asyncio.create_task(queue.cut(Job(b"slow")))
        await until(lambda: queue._aside)
        waiting = [asyncio.create_task(queue.cut(Job(bytes([i])))) for i in range(permits)]
        await until(queue._reading.locked)
        decoded.set()
        await until(lambda: not queue._aside)  # it waits for its permit, which all others have
        slow.cancel()
        await until(lambda: queue.queued == permits)
        engine.go.set()
        await asyncio.gather(first, *waiting)
        assert queue._reading._value == permits

    run(settings, story)


def test_a_client_that_leaves_ends_the_decoding(settings):
    async def story(queue, engine):
        ended = threading.Event()

        def read(job, watch):
            try:
                while True:
                    watch.check()
                    time.sleep(0.005)
            finally:
                ended.set()

        engine.read = read
        task = asyncio.create_task(queue.cut(Job(b"slow")))
        await until(lambda: queue.queued)
        await asyncio.sleep(0.02)
        task.cancel()
        await until(ended.is_set)
        await until(lambda: not queue.queued)

    run(settings, story)


def test_a_client_that_leaves_frees_its_place_in_the_queue(settings):
    async def story(queue, engine):
        first = asyncio.create_task(queue.cut(Job(b"first")))
        await until(lambda: engine.begun)
        second = asyncio.create_task(queue.cut(Job(b"second")))
        await until(lambda: queue.queued == 1)
        second.cancel()
        await until(lambda: queue.queued == 0)
        engine.go.set()
        await first
        assert engine.begun == [b"first"]

    run(settings, story)


def test_a_client_that_leaves_ends_its_running_job(settings):
    async def story(queue, engine):
        task = asyncio.create_task(queue.cut(Job(b"long")))
        await until(lambda: engine.begun)
        task.cancel()
        await until(lambda: engine.ended)
        assert engine.done == []
        engine.go.set()
        assert (await queue.cut(Job(b"next"))).data == b"next"

    run(settings, story)


def test_one_of_two_who_leaves_takes_nothing_from_the_other(settings):
    async def story(queue, engine):
        one = asyncio.create_task(queue.cut(Job(b"shared")))
        two = asyncio.create_task(queue.cut(Job(b"shared")))
        await until(lambda: engine.begun)
        one.cancel()
        await asyncio.sleep(0.05)
        engine.go.set()
        assert (await two).data == b"shared"

    run(settings, story)


def test_time_is_bounded_running_and_waiting(settings):
    async def story(queue, engine):
        tasks = [asyncio.create_task(queue.cut(Job(bytes([i])))) for i in range(2)]
        for task in tasks:
            with pytest.raises(TimedOut):
                await task

    run(settings, story, timeout=0.2)


def test_who_joins_late_has_as_much_time_as_the_first(settings):
    async def story(queue, engine):
        first = asyncio.create_task(queue.cut(Job(b"shared")))
        await until(lambda: queue._flights)
        queue.settings = queue.settings.model_copy(
            update={"timeout": 60.0}
        )  # as if the first had come long ago
        second = asyncio.create_task(queue.cut(Job(b"shared")))
        with pytest.raises(TimedOut):
            await first
        engine.go.set()
        assert (await second).data == b"shared"
        assert len(engine.begun) == 1

    run(settings, story, timeout=1.0)


def test_closing_tells_those_who_wait(settings):
    async def story(queue, engine):
        running = asyncio.create_task(queue.cut(Job(b"x")))
        await until(lambda: engine.begun)
        waiting = [asyncio.create_task(queue.cut(Job(b"y"))) for _ in range(2)]
        await until(lambda: queue.queued == 1)
        await queue.close()
        for task in (running, *waiting):
            with pytest.raises(Busy, match="stopping"):
                await task
        assert queue.queued == queue.running == 0

    run(settings, story)


def test_progress_is_reported_by_stage(settings):
    async def story(queue, engine):
        seen = []
        task = asyncio.create_task(queue.cut(Job(b"x"), lambda *step: seen.append(step)))
        await until(lambda: seen)
        engine.go.set()
        await task
        assert seen[0] == ("refine", 0.5)

    run(settings, story)


def test_stopping_finishes_what_is_in_work_and_takes_no_more(settings):
    async def story(queue, engine):
        task = asyncio.create_task(queue.cut(Job(b"x")))
        await until(lambda: engine.begun)
        drained = asyncio.create_task(queue.drain(5))
        await asyncio.sleep(0.02)
        with pytest.raises(Busy):
            await queue.cut(Job(b"y"))
        engine.go.set()
        await drained
        assert (await task).data == b"x"

    run(settings, story)


def test_errors_reach_everyone_who_waits_and_nothing_stays_behind(settings):
    async def story(queue, engine):
        tasks = [asyncio.create_task(queue.cut(Job(b"broken"))) for _ in range(3)]
        for task in tasks:
            with pytest.raises(UnreadableImage):
                await task
        assert queue.queued == queue.running == 0

    async def main():
        queue = JobQueue(settings, Engine(settings), Cache(None), Metrics())
        try:
            await story(queue, None)
        finally:
            await queue.close()

    asyncio.run(main())


# -- the engine ------------------------------------------------------------------------------------


def done(engine, job, watch):
    return engine.run(job, engine.read(job, watch), watch)


def test_the_real_engine_looks_in_before_every_network_call(settings, photo):
    engine = Engine(settings)
    stages = []
    watch = Watch(60, lambda stage, share: stages.append(stage))
    answer = done(engine, Job(photo), watch)
    assert list(dict.fromkeys(stages)) == [stage for stage in STAGES if stage != "wait"]
    assert stages.count("refine") == 1 + -(-answer.patches // 8)
    gone = Watch(60)
    gone.reports.append(lambda stage, share: gone.gone.set())
    with pytest.raises(Abandoned):
        done(engine, Job(photo), gone)
    with pytest.raises(TimedOut):
        done(engine, Job(photo), Watch(-1))


def test_a_look_inside_is_a_job_like_others(settings, photo, nets):
    model = tiny_u2net(nets / "inner.onnx")
    stages = []
    watch = Watch(60, lambda stage, share: stages.append(stage))
    engine = Engine(settings.model_copy(update={"model": str(model)}))
    answer = done(engine, Job(photo, inside=True), watch)
    assert opened(answer.data).format == answer.format.upper() == "PNG"
    assert opened(answer.data).size == (answer.width, answer.height)
    assert list(dict.fromkeys(stages)) == [stage for stage in LOOK_STAGES if stage != "wait"]
    with pytest.raises(Unsupported, match="tiny is none"):
        done(Engine(settings), Job(photo, inside=True), Watch(60))
    with pytest.raises(TimedOut):
        done(engine, Job(photo, inside=True), Watch(-1))


def test_a_look_inside_reduces_a_large_photo(settings, nets, monkeypatch):
    seen = []
    inspect = explain.inspect

    def spy(array, cutout, progress):
        seen.append(array.shape)
        return inspect(array, cutout, progress=progress)

    monkeypatch.setattr(explain, "inspect", spy)
    engine = Engine(settings.model_copy(update={"model": str(tiny_u2net(nets / "inner.onnx"))}))
    done(engine, Job(encoded(np.zeros((1600, 3200, 3), np.uint8)), inside=True), Watch(60))
    ((height, width, _),) = seen
    assert height * width <= 1920 * 1080 < 1.01 * height * width
    assert width == pytest.approx(2 * height, abs=2)


def test_panes(settings, photo):
    answer = done(Engine(settings), Job(photo, previews=True), Watch(60))
    assert set(answer.previews) == {"photo", "alpha", "coarse", "unrefined", "refined", "roi"}


def test_only_known_models(settings):
    engine = Engine(settings)
    for name in ("nope", "/etc/passwd", "../tiny", settings.model):
        with pytest.raises(ModelMissing):
            engine.resolve(name)


def test_at_most_two_models_stay_open(settings, nets, tmp_path, monkeypatch):
    monkeypatch.setenv("WISP_HOME", str(tmp_path / "home"))
    for name in ("a", "b", "c"):
        own.take_in(nets / "tiny.onnx", "u2netp", name)
    engine = Engine(settings)
    for name in ("", "a", "b", "c", "a"):
        engine.load(name)
    assert engine.loaded() == ["tiny", "a"] or set(engine.loaded()) == {"tiny", "a"}


def test_a_downloaded_model_can_be_asked_for(settings, nets, tmp_path, monkeypatch):
    monkeypatch.setenv("WISP_HOME", str(tmp_path / "home"))
    engine = Engine(settings)
    assert "u2net" not in engine.names()
    content = (nets / "tiny.onnx").read_bytes()
    store.model_path("u2net").parent.mkdir(parents=True)
    store.model_path("u2net").write_bytes(content)
    published = replace(
        models.PUBLIC["u2net"],
        length=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        md5="",
    )
    monkeypatch.setitem(models.PUBLIC, "u2net", published)
    assert engine.names()["u2net"] == str(store.model_path("u2net"))
    assert engine.load("u2net").model.licence == published.licence


def test_what_is_not_the_published_model_is_not_served_by_its_name(
    settings, nets, tmp_path, monkeypatch
):
    monkeypatch.setenv("WISP_HOME", str(tmp_path / "home"))
    file = store.model_path("u2netp")
    file.parent.mkdir(parents=True)
    engine = Engine(settings)
    for content in (bytes(155), (nets / "tiny.onnx").read_bytes()):
        file.write_bytes(content)
        assert "u2netp" not in engine.names()
        with pytest.raises(ModelMissing):
            engine.resolve("u2netp")
        with pytest.raises(ModelInvalid):  # as the command says
            models.coarse_model("u2netp")


def test_answers_pack_and_unpack_and_torn_ones_are_noticed():
    answer = replace(ANSWER, previews={"alpha": b"grey"})
    block = answer.pack()
    assert Answer.unpack(block) == replace(answer, cached=True)
    assert Answer.unpack(block[:-1]) is None
    assert Answer.unpack(block[:50] + b"?" + block[51:]) is None
    assert Answer.unpack(b"") is None


def test_a_job_is_named_by_all_that_its_answer_depends_on():
    job = Job(b"x")
    others = [
        Job(b"y"),
        Job(b"x", model="m"),
        Job(b"x", refine=False),
        Job(b"x", previews=True),
        Job(b"x", inside=True),
        Job(b"x", output=Output(crop=True)),
        Job(b"x", output=Output(background=(1, 2, 3))),
        Job(b"x", output=Output(background=b"picture")),
        Job(b"x", output=Output(background="blur")),
    ]
    assert len({job.key, *(other.key for other in others)}) == 10
    assert Job(b"x").key == job.key
