"""Planning and running many photos."""

import concurrent.futures
import errno
import io
import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from pipeline import (
    DiskFull,
    ModelMissing,
    Output,
    OutputError,
    Settings,
    SettingsError,
    UnreadableImage,
    batch,
    files,
    image_io,
    render,
)
from pipeline.batch import STREAM, Job, Outcome, State
from pipeline.selection import Selection
from tests import networks
from tests.conftest import encoded, fake_cutout

#: What stands for the default settings since there is `detail`.
DIGEST = "9021e0b2d36a057e"


def fill(folder: Path, *names: str, data: bytes = b"x") -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def names(jobs: list[Job]) -> list[str]:
    return [job.name.as_posix() for job in jobs]


def targets(inputs: list[str], out: str | None, base: Path, ending: str = ".png") -> list[str]:
    jobs = batch.find(inputs, [Path(out)] if out else [])
    planned = batch.plan(inputs, jobs, out, ending)
    return [os.path.relpath(job.target, base) for job in planned]


# -- finding ---------------------------------------------------------------------------------------


def test_a_folder_is_searched_below_for_pictures(tmp_path):
    fill(tmp_path, "b.JPG", "a.png", "sub/deep/c.webp", "notes.txt", ".hidden.png", ".git/d.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    assert names(batch.find([str(tmp_path)])) == ["a.png", "b.JPG", "sub/deep/c.webp"]


def test_loops_of_links_end(tmp_path):
    fill(tmp_path, "a.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert names(batch.find([str(tmp_path)])) == ["a.png"]


def test_a_folder_that_cannot_be_read_is_a_failure_of_its_own(tmp_path, monkeypatch):
    fill(tmp_path, "a.png", "shut/b.png", "z.png")
    scandir = os.scandir

    def scan(path):
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    jobs = batch.find([str(tmp_path)])
    assert [job.source.name for job in jobs if not job.problem] == ["a.png", "z.png"]
    (shut,) = (job for job in jobs if job.problem)
    (outcome,) = batch.run([shut], lambda job: batch.process(job, fake_cutout, Output()))
    assert outcome.status == "failed" and outcome.error == "permission denied"


def test_the_folder_that_is_written_to_is_not_searched(tmp_path):
    fill(tmp_path, "a.png", "out/a.png", "other/out/b.png")
    assert names(batch.find([str(tmp_path)], [tmp_path / "out"])) == ["a.png", "other/out/b.png"]


def test_patterns_are_expanded_and_mirrored(tmp_path):
    fill(tmp_path, "x/a.jpg", "x/b.png", "y/a.jpg")
    assert names(batch.find([f"{tmp_path}/*/a.*"])) == ["x/a.jpg", "y/a.jpg"]
    assert names(batch.find([f"{tmp_path}/**/*.jpg"])) == ["x/a.jpg", "y/a.jpg"]
    assert names(batch.find([f"{tmp_path}/*"])) == ["x/a.jpg", "x/b.png", "y/a.jpg"]
    # What is there under that very name is no pattern; what matches nothing is for the run.
    fill(tmp_path, "[1].png")
    assert names(batch.find([f"{tmp_path}/[1].png"])) == ["[1].png"]
    assert names(batch.find([f"{tmp_path}/none*.png"])) == ["none*.png"]


def test_several_folders_keep_their_names(tmp_path):
    fill(tmp_path, "x/a.jpg", "y/a.jpg")
    assert names(batch.find([f"{tmp_path}/x", f"{tmp_path}/y"])) == ["x/a.jpg", "y/a.jpg"]


def test_each_photo_once(tmp_path, monkeypatch):
    fill(tmp_path, "a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    assert names(batch.find(["a.jpg", "b.jpg", "./a.jpg", f"{tmp_path}/a.jpg"])) == [
        "a.jpg",
        "b.jpg",
    ]


def test_a_hidden_file_or_a_link_named_outright_is_taken_by_its_name(tmp_path):
    fill(tmp_path, ".a.jpg")
    (tmp_path / "link.png").symlink_to(tmp_path / ".a.jpg")
    jobs = batch.find([f"{tmp_path}/.a.jpg", f"{tmp_path}/link.png"])
    assert names(jobs) == [".a.jpg", "link.png"]


def test_names_never_lead_out_of_the_output_folder(tmp_path, monkeypatch):
    fill(tmp_path, "a.jpg", "in/sub/b.jpg")
    monkeypatch.chdir(tmp_path / "in" / "sub")
    for inputs in (["../../a.jpg"], [".."], ["../../*.jpg"], ["."], ["../../in", "../../a.jpg"]):
        for job in batch.find(inputs):
            assert ".." not in job.name.parts and not job.name.is_absolute()


# -- planning --------------------------------------------------------------------------------------


def test_a_folder_is_mirrored(tmp_path):
    fill(tmp_path, "in/a.jpg", "in/sub/b.tar.png")
    out = str(tmp_path / "out")
    assert targets([str(tmp_path / "in")], out, tmp_path) == ["out/a.png", "out/sub/b.tar.png"]


def test_photos_that_share_a_name_keep_their_whole_one(tmp_path):
    fill(tmp_path, "in/a.jpg", "in/a.png", "in/b.jpg", "in/sub/a.jpg", "in/a.jpg.webp")
    assert targets([str(tmp_path / "in")], str(tmp_path / "out"), tmp_path) == [
        "out/a.jpg.png",
        "out/a.jpg.webp.png",
        "out/a.png.png",
        "out/b.png",
        "out/sub/a.png",
    ]


def test_photos_that_cannot_be_told_apart_are_refused(tmp_path):
    fill(tmp_path, "x/a.jpg", "y/a.jpg")
    with pytest.raises(SettingsError, match=r"x/a\.jpg and .*y/a\.jpg would both"):
        targets([f"{tmp_path}/x/a.jpg", f"{tmp_path}/y/a.jpg"], f"{tmp_path}/out", tmp_path)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.builds(
            "{}{}{}".format,
            st.sampled_from(["", "s/"]),
            st.sampled_from(["a", "b", "a.jpg", "a.png"]),
            st.sampled_from([".jpg", ".png", ".webp"]),
        ),
        unique=True,
        min_size=1,
    )
)
def test_no_two_photos_of_a_folder_share_a_target(files):
    jobs = [Job(Path("in", name), name=Path(name)) for name in files]
    planned = batch.plan(["in"], jobs, "out", ".png")
    assert len({job.target for job in planned}) == len(files)
    assert len({job.name for job in planned}) == len(files)
    assert [job.source for job in planned] == [job.source for job in jobs]


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        (None, "a-cutout.png"),
        ("b.png", "b.png"),
        ("new", "new/a.png"),
        ("new/", "new/a.png"),
        ("new.dir/", "new.dir/a.png"),
        ("there.dir", "there.dir/a.png"),
        ("deep/new/b.png", "deep/new/b.png"),
    ],
)
def test_where_one_photo_goes(tmp_path, monkeypatch, out, expected):
    fill(tmp_path, "a.jpg", "there.dir/x")
    monkeypatch.chdir(tmp_path)
    assert targets(["a.jpg"], out, tmp_path) == [expected]


def test_streams(tmp_path):
    fill(tmp_path, "a.jpg", "b.jpg")
    one, two = f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg"

    def ends(inputs, out):
        return [
            (job.source, job.target) for job in batch.plan(inputs, batch.find(inputs), out, ".png")
        ]

    assert ends(["-"], None) == [(STREAM, STREAM)]
    assert ends(["-"], f"{tmp_path}/c.png") == [(STREAM, tmp_path / "c.png")]
    assert ends([one], "-") == [(Path(one), STREAM)]
    with pytest.raises(SettingsError, match="one picture"):
        ends([one, two], "-")


def test_photos_are_never_overwritten(tmp_path, monkeypatch):
    fill(tmp_path, "a.png", "b.jpg")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for inputs, out in [
        (["a.png"], "a.png"),
        (["a.png"], "./link.png"),
        (["a.png"], "."),
        (["a.png", "b.jpg"], "."),
        (["."], "."),
        ([str(tmp_path)], "."),
    ]:
        with pytest.raises(SettingsError, match="overwritten|holds the photos"):
            targets(inputs, out, tmp_path)


def test_wrong_plans(tmp_path):
    fill(tmp_path, "in/a.jpg", "in/b.jpg", "file.png")
    with pytest.raises(SettingsError, match="-o"):
        targets([f"{tmp_path}/in"], None, tmp_path)
    with pytest.raises(SettingsError, match="give a folder"):
        targets([f"{tmp_path}/in"], f"{tmp_path}/file.png", tmp_path)


# -- running ---------------------------------------------------------------------------------------


def finish(tmp_path: Path, photo, settings: str, ending: str = ".png", **output) -> Job:
    """Cut a photo out with settings of that digest."""
    fill(tmp_path, "a.jpg", data=encoded(photo, "JPEG"))
    job = Job(tmp_path / "a.jpg", tmp_path / f"cut{ending}")
    batch.process(job, fake_cutout, Output(**output), settings=settings)
    return job


ONE, OTHER = "1" * 16, "2" * 16


@pytest.mark.parametrize("format", image_io.FORMATS)
def test_finished_is_made_of_this_photo_with_these_settings(tmp_path, photo, format):
    background = "white" if format == "jpg" else None
    job = finish(tmp_path, photo, ONE, f".{format}", format=format, background=background)
    assert batch.state(job, ONE) is State.FINISHED
    assert batch.state(job, OTHER) is State.MISSING
    stat = job.source.stat()
    # Another photo, though older than the cutout, and of the same size.
    os.utime(job.source, ns=(0, 0))
    assert batch.state(job, ONE) is State.MISSING
    os.utime(job.source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert batch.state(job, ONE) is State.FINISHED
    job.target.write_bytes(b"")
    assert batch.state(job, ONE) is State.MISSING
    job.target.unlink()
    assert batch.state(job, ONE) is State.MISSING
    assert batch.state(Job(STREAM, job.target), ONE) is State.MISSING


def test_the_mark_is_found_in_a_large_file_with_metadata_of_its_own(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Software], exif[ExifTags.Base.Artist] = "a camera", "x" * 3000
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 500, 3), np.uint8))
    for format in image_io.FORMATS:
        noise.save(tmp_path / "a.jpg", exif=exif)
        job = Job(tmp_path / "a.jpg", tmp_path / f"cut.{format}")
        background = "white" if format == "jpg" else None
        output = Output(format=format, background=background)
        batch.process(job, fake_cutout, output, settings=ONE)
        assert batch.state(job, ONE) is State.FINISHED
        with Image.open(job.target) as made:
            assert made.getexif()[ExifTags.Base.Artist] == "x" * 3000
            assert made.getexif()[ExifTags.Base.Software].startswith("Wisp")


def test_of_a_file_without_a_mark_only_its_time_is_known(tmp_path, photo):
    job = finish(tmp_path, photo, "")
    assert batch.state(job, ONE) is State.UNKNOWN
    now = time.time_ns()
    os.utime(job.source, ns=(now, now + 10**10))
    assert batch.state(job, ONE) is State.MISSING


def test_a_photo_replaced_while_it_is_cut_is_not_finished(tmp_path, photo):
    fill(tmp_path, "a.jpg", data=encoded(photo, "JPEG"))
    job = Job(tmp_path / "a.jpg", tmp_path / "a.png")

    def cutout(source):
        result = fake_cutout(source)
        new = tmp_path / "new.jpg"
        new.write_bytes(encoded(photo[::-1], "JPEG"))
        os.utime(new, ns=(10**18, 10**18))  # of long ago
        os.replace(new, job.source)
        return result

    batch.process(job, cutout, Output(), settings=ONE)
    assert batch.state(job, ONE) is State.MISSING


def test_the_digest_stands_for_all_that_a_cutout_depends_on(tmp_path):
    model = networks.stage1(tmp_path / "a.onnx")
    digests = [
        batch.settings_digest(Settings(**settings), Output(**output))
        for settings, output in (
            ({}, {}),
            ({"refine": False}, {}),
            ({"model": "wisp-fp32"}, {}),
            ({"model": str(model)}, {}),
            ({"model": "u2netp"}, {}),
            ({"reach": 5.0}, {}),
            ({}, {"background": "white"}),
            ({}, {"background": np.zeros((2, 2, 3), np.uint8)}),
            ({}, {"background": np.ones((2, 2, 3), np.uint8)}),
            ({}, {"crop": True}),
        )
    ]
    assert len(set(digests)) == len(digests)
    neutral = Settings(threads=3, batch_size=2, max_pixels=9, network_seconds=5)
    assert batch.settings_digest(neutral, Output()) == digests[0]
    # Another version of Wisp does not make finished pictures unfinished.
    assert batch.settings_digest(Settings(), Output(format="png")) == DIGEST
    array = Selection(mask=np.ones((2, 2), np.float32))
    assert batch.settings_digest(Settings(), Output(), array) not in digests
    networks.stage1(model, gain=5.0)
    assert batch.settings_digest(Settings(model=str(model)), Output()) not in digests
    with pytest.raises(ModelMissing):
        batch.settings_digest(Settings(model="wips"), Output())


def test_two_pictures_in_a_stream_are_refused(photo, monkeypatch):
    for one, two in (("PNG", "PNG"), ("PNG", "JPEG"), ("WEBP", "PNG")):
        data = encoded(photo, one) + encoded(photo, two)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        with pytest.raises(UnreadableImage, match="more than one picture"):
            batch.process(Job(STREAM), fake_cutout, Output())


def test_process_writes_the_cutout_and_its_stages(tmp_path, photo):
    fill(tmp_path, "in/sub/a.jpg", data=encoded(photo, "JPEG"))
    job = Job(tmp_path / "in/sub/a.jpg", tmp_path / "out/sub/a.webp", Path("sub/a"))
    outcome = batch.process(job, fake_cutout, Output(format="webp"), tmp_path / "stages")
    assert outcome.status == "done" and outcome.size == (96, 64)
    assert {"read", "write"} <= outcome.timings.keys()
    assert image_io.read(job.target).format == "WebP"
    stages = sorted(path.name for path in (tmp_path / "stages/sub").iterdir())
    assert stages == ["a.alpha.png", "a.coarse.png", "a.foreground.png", "a.roi.png"]
    for path in (tmp_path / "stages/sub").iterdir():
        assert image_io.read(path).image.shape == (64, 96, 3)


@pytest.mark.parametrize(
    "looks",
    [
        {},
        {"crop": True},
        {"background": "white"},
        {"background": encoded(np.full((8, 8, 3), 70, np.uint8), "PNG"), "shadow": 0.5},
        {"background": "blur"},
        {"background": "blur", "scale": 0.5},
        {"opaque": True},
        {"binary": True, "only_mask": True},
        {"background": "white", "format": "zip"},
    ],
    ids=lambda looks: " ".join(looks),
)
def test_what_a_file_needs_of_the_photo_is_kept(tmp_path, photo, monkeypatch, looks):
    """The photo's pixels make room for the file's, and the file is as it would be with them."""
    fill(tmp_path, "a.png", data=encoded(photo, "PNG"))
    output, drawn = Output(**looks), []

    def spied(result, *rest):
        drawn.append(result)
        return draw(result, *rest)

    draw = render.to_bytes
    expected = draw(fake_cutout(tmp_path / "a.png"), output)
    monkeypatch.setattr(render, "to_bytes", spied)
    target = tmp_path / f"b{output.ending}"
    batch.process(Job(tmp_path / "a.png", target), fake_cutout, output)
    assert target.read_bytes() == expected
    assert (drawn[0].photo.image.strides == (0, 0, 0)) is not output.shows_photo
    assert output.shows_photo is ("opaque" in looks or looks.get("background") == "blur")


def test_a_photo_without_subject_is_written_and_said_so(tmp_path, photo):
    fill(tmp_path, "a.png", data=encoded(photo, "PNG"))

    def nothing(source):
        result = fake_cutout(source)
        result.coarse[:], result.alpha[:] = 0, 0
        return result

    outcome = batch.process(Job(tmp_path / "a.png", tmp_path / "b.png"), nothing, Output())
    assert "no subject found" in outcome.notes
    alpha = image_io.read(tmp_path / "b.png").alpha
    assert alpha is not None and alpha.max() == 0


def test_a_folder_that_cannot_be_made(tmp_path, photo):
    fill(tmp_path, "a.png", data=encoded(photo, "PNG"))
    job = Job(tmp_path / "a.png", tmp_path / "a.png" / "b.png")
    with pytest.raises(OutputError, match="folder"):
        batch.process(job, fake_cutout, Output())


@pytest.mark.parametrize("workers", [1, 3])
def test_one_failure_does_not_stop_the_rest(workers):
    faults = {
        1: OutputError("photo1: cannot write it\nsecond line"),
        3: MemoryError(),
        5: ZeroDivisionError("ours"),
    }

    def work(job: Job) -> Outcome:
        if fault := faults.get(int(job.source.name[5:])):
            raise fault
        return Outcome(job, "done")

    jobs = [Job(Path(f"photo{i}")) for i in range(8)]
    outcomes = {outcome.job: outcome for outcome in batch.run(jobs, work, workers)}
    assert [outcomes[job].status == "done" for job in jobs] == [i not in faults for i in range(8)]
    assert outcomes[jobs[1]].error == "cannot write it second line"
    assert "memory" in outcomes[jobs[3]].error
    assert "ZeroDivisionError: ours" in outcomes[jobs[5]].error


def test_workers_bound_what_is_in_memory_and_results_come_as_they_are():
    lock, running, most = threading.Lock(), 0, 0
    gate = threading.Event()

    def work(job: Job) -> Outcome:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if job.source.name == "0":
            gate.wait(10)  # the first is the slowest: the others do not wait for it
        with lock:
            running -= 1
        return Outcome(job, "done")

    def jobs():
        for i in range(50):
            taken.append(i)
            yield Job(Path(str(i)))

    taken: list[int] = []
    outcomes = batch.run(jobs(), work, 4)
    first = [next(outcomes).job.source.name for _ in range(20)]
    assert "0" not in first
    assert len(taken) <= 20 + 4
    gate.set()
    assert len(list(outcomes)) == 30
    assert most <= 4


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interruption_begins_no_other_photo(workers):
    begun = []

    def work(job: Job) -> Outcome:
        begun.append(job)
        return Outcome(job, "done")

    outcomes = batch.run([Job(Path(str(i))) for i in range(100)], work, workers)
    next(outcomes)
    with pytest.raises(KeyboardInterrupt):
        outcomes.throw(KeyboardInterrupt())
    assert len(begun) <= 1 + workers


@pytest.mark.parametrize("workers", [1, 3])
def test_a_full_disk_ends_the_run(workers):
    begun = []

    def work(job):
        begun.append(job)
        raise DiskFull("cannot write a.png: no space left on device")

    jobs = [Job(Path(str(number))) for number in range(20)]
    outcomes = list(batch.run(jobs, work, workers))
    assert len(begun) == len(outcomes) <= workers
    assert all(outcome.status == "failed" and outcome.final for outcome in outcomes)


# -- the report ------------------------------------------------------------------------------------


def test_the_report_is_whole_after_each_photo(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("an older and longer one" * 100)
    report = batch.Report(path, 3, {"settings": {"model": "wisp"}})
    for number in range(4):
        document = json.loads(path.read_text())  # as a killed process would leave it
        assert document["settings"] == {"model": "wisp"} and document["interrupted"]
        assert len(document["files"]) == number and document["totals"]["left"] == 3 - number
        if number < 3:
            status = ("done", "failed", "done")[number]
            report.add(Outcome(Job(Path(f"{number}.jpg")), status, error="x" * number))
    report.close(interrupted=False)
    document = json.loads(path.read_text())
    assert not document["interrupted"] and document["totals"]["failed"] == 1
    assert [entry["input"] for entry in document["files"]] == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_report_goes_through_a_pipe_in_the_end(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    report = batch.Report(path, 1, {"versions": {}})
    report.add(Outcome(Job(Path("a.jpg")), "done"))
    report.close(interrupted=False)
    reader.join()
    assert json.loads(read[0])["totals"]["done"] == 1


def test_what_was_under_way_at_an_interruption_is_told_before_it(monkeypatch):
    waits = []

    def wait(*given, **named):
        waits.append(len(given[0]))
        if len(waits) == 2:
            raise KeyboardInterrupt
        return true_wait(*given, **named)

    true_wait = concurrent.futures.wait
    monkeypatch.setattr(concurrent.futures, "wait", wait)
    begun, told = [], []

    def work(job):
        begun.append(job)
        return Outcome(job, "done", 0.0)

    with pytest.raises(KeyboardInterrupt):
        for outcome in batch.run([Job(Path(str(i))) for i in range(100)], work, 2):
            told.append(outcome.job)
    assert set(told) == set(begun) and len(begun) < 10


def test_leftovers_of_killed_runs_are_removed_and_no_file_under_way(tmp_path):
    (tmp_path / ".wisp-0123456789abcdef.part").write_bytes(b"half")
    (tmp_path / "mine.part").write_bytes(b"x")
    with files.replacing(tmp_path / "a.png") as file:
        file.write(b"whole")
        assert files.remove_leftovers(tmp_path) == 1
        assert Path(file.name).exists()
    assert sorted(os.listdir(tmp_path)) == ["a.png", "mine.part"]
    assert files.remove_leftovers(tmp_path / "none") == 0


@pytest.mark.skipif(files.fcntl is None, reason="Windows has no locks of this kind")
def test_where_nothing_can_be_locked_files_are_written_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "function not implemented")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    files.write(tmp_path / "a.png", b"whole")
    assert (tmp_path / "a.png").read_bytes() == b"whole"
    (tmp_path / ".wisp-0123456789abcdef.part").write_bytes(b"somebody's")
    assert files.remove_leftovers(tmp_path) == 0  # whose it is, nobody can tell


def test_without_locks_a_file_gets_its_name_after_it_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)  # as on Windows
    with files.replacing(tmp_path / "a.png") as file:
        file.write(b"whole")
    assert file.closed and (tmp_path / "a.png").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_writes_by_name_writes_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.npy"
    with pytest.raises(ValueError, match="of another"), files.placing(target) as path:
        path.write_bytes(b"half")
        raise ValueError("of another")
    assert list(tmp_path.iterdir()) == []
    with files.placing(target) as path:
        path.write_bytes(b"whole")
        assert files.remove_leftovers(tmp_path) == 0 and not target.exists()
    assert target.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [target]
