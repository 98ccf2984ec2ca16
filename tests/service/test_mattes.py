"""What a visitor is at work on is kept in memory, bounded, and drawn from without the networks."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline import Cutout, Output, Result
from pipeline.image_io import Photo
from pipeline.models import Network
from pipeline.retouch import Patch, Stroke
from pipeline.selection import Selection
from pipeline.views import Box
from service import mattes as module
from service.engine import Engine
from service.job import Abandoned, Job, Watch
from service.mattes import Matte, Mattes

A, B, C = (Stroke(((x, 0.5),), 0.1, restore=True) for x in (0.1, 0.5, 0.9))


def result(side: int = 10) -> Result:
    grey = np.zeros((side, side), np.float32)
    image = np.zeros((side, side, 3), np.uint8)
    tiles = np.empty((0, 2), np.intp)
    return Result(Photo(image), grey, image, grey, grey > 1, tiles, {})


class Brush:
    """Adds 1 at a place of its own for each stroke, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.strokes: list[Stroke] = []

    def __call__(self, result: Result, stroke: Stroke, refine: bool) -> Patch:
        self.strokes.append(stroke)
        at = int(stroke.points[0][0] * 10)
        box = Box(5, at, 6, at + 1)
        area = result.alpha[box.area]
        return Patch(
            box,
            area + 1 + at,
            result.foreground[box.area],
            box,
            area,
            result.roi[box.area],
            result.tiles,
        )


def drawn(matte: Matte, strokes: tuple[Stroke, ...], brush: Brush, most: int = 10**6) -> Matte:
    return matte.with_strokes(strokes, brush, True, most, lambda share: None)


def test_only_what_is_new_is_drawn_and_what_is_taken_back_is_undone():
    brush = Brush()
    plain = Matte(result())
    two = drawn(plain, (A, B), brush)
    three = drawn(two, (A, B, C), brush)
    assert brush.strokes == [A, B, C]
    back = drawn(three, (A,), brush)
    assert brush.strokes == [A, B, C]
    assert back.result.alpha.sum() == 2 and three.result.alpha.sum() == 2 + 6 + 10
    other = drawn(three, (B,), brush)
    assert brush.strokes == [A, B, C, B] and other.result.alpha.sum() == 6
    assert not drawn(three, (), brush).result.alpha.any()
    assert not plain.result.alpha.any()


def test_what_was_there_before_the_oldest_strokes_is_dropped_where_there_is_no_room_for_it():
    brush, plain = Brush(), Matte(result())
    area = drawn(plain, (A,), brush).size - plain.size
    room = plain.size + 2 * area
    three = drawn(plain, (A, B, C), brush, room)
    assert three.size == room and three.result.alpha.sum() == 2 + 6 + 10
    assert three.leads_to((A,)) and three.leads_to((A, B, C, A))
    assert not three.leads_to(()) and not three.leads_to((B,))
    assert drawn(three, (A,), brush, room).result.alpha.sum() == 2
    bare = drawn(plain, (A, B), brush, 0)
    assert bare.before == () and bare.leads_to((A, B, C)) and not bare.leads_to((A,))


@pytest.mark.parametrize(
    ("begun", "wanted", "shares"), [((), (A, B, C), [0, 1 / 3]), ((A, B, C), (), [0, 0])]
)
def test_strokes_are_called_off_between_one_and_the_next(begun, wanted, shares):
    brush, asked = Brush(), []

    def step(share: float) -> None:
        asked.append(share)
        if len(asked) == 2:
            raise Abandoned

    matte = drawn(Matte(result()), begun, brush)
    brush.strokes.clear()
    with pytest.raises(Abandoned):
        matte.with_strokes(wanted, brush, True, 10**6, step)
    assert asked == shares and brush.strokes == list(wanted[:1])


def test_the_longest_unused_goes_first_the_visitors_own_before_others():
    size = Matte(result()).size
    kept = Mattes(total=3 * size, each=2 * size)
    for visitor, name in (("one", "a"), ("one", "b"), ("two", "a")):
        kept.keep(visitor, name, Matte(result()))
    assert kept.used == 3 * size
    assert kept.get("one", "a")  # used: "b" is older now
    kept.keep("one", "c", Matte(result()))
    assert kept.get("one", "b") is None and kept.get("one", "a") and kept.get("one", "c")
    kept.keep("three", "a", Matte(result()))
    assert kept.get("two", "a") is None and kept.get("one", "a")
    assert kept.used == 3 * size


def test_what_is_too_large_is_not_kept_and_takes_nobodys_place():
    size = Matte(result()).size
    kept = Mattes(total=3 * size, each=2 * size)
    kept.keep("one", "a", Matte(result()))
    kept.keep("one", "b", Matte(result(20)))
    assert kept.get("one", "b") is None and kept.get("one", "a")
    kept.keep("", "a", Matte(result()))
    assert kept.get("", "a") is None and kept.used == size
    assert Mattes(0, 0).get("one", "a") is None


def test_nobody_sees_anothers_and_all_goes_in_time(monkeypatch):
    kept = Mattes(10**6, 10**6)
    kept.keep("one", "a", Matte(result()))
    assert kept.get("two", "a") is None
    now = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 4000)
    assert kept.get("one", "a") is None and kept.used == 0


@pytest.fixture
def engine(settings) -> Engine:
    return Engine(settings.model_copy(update={"web": True}))


def done(engine: Engine, job: Job):
    watch = Watch(60)
    return engine.run(job, engine.read(job, watch), watch)


def test_another_output_and_a_stroke_do_not_run_the_networks_again(engine, photo, monkeypatch):
    job = Job(photo, visitor="one")
    first = done(engine, job)
    monkeypatch.setattr(engine, "_seen", None)  # whoever asks for it fails
    white = done(engine, replace(job, output=Output(format="jpg")))
    assert white.format == "jpg" and "coarse" not in white.seconds
    assert done(engine, job).data == first.data
    stroke = Stroke(((0.5, 0.5), (0.6, 0.5)), 0.2, restore=False)
    drawn = done(engine, replace(job, strokes=(stroke,)))
    assert drawn.data != first.data
    assert done(engine, job).data == first.data
    pane = done(engine, replace(job, strokes=(stroke,), pane="refined"))
    assert pane.format == "webp" and pane.data.startswith(b"RIFF")
    for other in (
        replace(job, visitor="two"),
        replace(job, visitor=""),
        replace(job, refine=False),
    ):
        with pytest.raises(TypeError):
            done(engine, other)


def test_a_click_and_a_box_do_not_look_at_the_whole_again(engine, photo, monkeypatch):
    shown = []
    run = Network.run

    def counted(network, outputs, inputs):
        if "input" in inputs:  # stage 1
            shown.append(1)
        return run(network, outputs, inputs)

    monkeypatch.setattr(Network, "run", counted)
    job = Job(photo, visitor="one")
    done(engine, job)
    assert len(shown) == 2
    done(engine, replace(job, wanted=Selection(points=((0.5, 0.5),))))
    assert len(shown) == 4  # the looks around the point
    done(engine, replace(job, wanted=Selection(box=(0.1, 0.1, 0.8, 0.8))))
    assert len(shown) == 5  # the look at the box
    done(engine, Job(photo))  # nobody at work on it: nothing is remembered for it
    assert len(shown) == 7


def test_without_a_place_for_mattes_strokes_are_drawn_all_the_same(settings, photo):
    stroke = Stroke(((0.5, 0.5), (0.6, 0.5)), 0.2, restore=False)
    with_, without = Engine(settings), Engine(settings.model_copy(update={"matte_bytes": 0}))
    job = Job(photo, visitor="one", strokes=(stroke,))
    done(with_, replace(job, strokes=()))
    assert done(with_, job).data == done(without, job).data
    assert without.mattes.used == 0 < with_.mattes.used


def test_strokes_beyond_what_can_be_taken_back_start_anew(engine, photo, monkeypatch):
    seen, see = [], engine._seen

    def counted(*asked) -> Result:
        seen.append(1)
        return see(*asked)

    monkeypatch.setattr(engine, "_seen", counted)
    job = Job(photo, visitor="one", refine=False)
    one, two = (Stroke(((x, 0.5),), 0.2, restore=False, exact=True) for x in (0.4, 0.6))
    plain, drawn = done(engine, job), done(engine, replace(job, strokes=(one,)))
    engine.mattes = Mattes(engine.mattes.used, engine.mattes.used)  # room for one such stroke
    assert done(engine, replace(job, strokes=(one, two))).data != drawn.data
    assert len(seen) == 2
    assert done(engine, replace(job, strokes=(one,))).data == drawn.data
    assert len(seen) == 2
    assert done(engine, job).data == plain.data
    assert len(seen) == 3


def test_a_job_that_is_called_off_draws_no_further_stroke(engine, photo, monkeypatch):
    watch, drawn = Watch(60), []
    strokes = tuple(Stroke(((x, 0.5),), 0.2, restore=False) for x in (0.2, 0.5, 0.8))

    def stroked(*asked) -> None:
        drawn.append(1)
        watch.gone.set()

    monkeypatch.setattr(Cutout, "stroked", stroked)
    job = Job(photo, visitor="one", refine=False, strokes=strokes)
    with pytest.raises(Abandoned):
        engine.run(job, engine.read(job, watch), watch)
    assert len(drawn) == 1


def test_jobs_are_told_apart_by_their_strokes_and_not_by_their_visitor():
    job = Job(b"photo", strokes=(A,))
    assert job.key != replace(job, strokes=(B,)).key != replace(job, strokes=()).key
    assert job.key == replace(job, visitor="one").key
    assert job.key != replace(job, pane="refined").key
    assert job.matte == replace(job, strokes=(), output=Output(format="webp")).matte
