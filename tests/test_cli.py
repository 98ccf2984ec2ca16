"""The command: what it says, writes and returns."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pipeline import __version__, cli, image_io
from pipeline.cli import group, terminal
from pipeline.cli import run as running
from tests import networks
from tests.conftest import encoded, fake_cutout

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call ``wisp`` in an empty folder, with a cutout that needs no model."""

    class Fake:
        def __init__(self, settings, for_masks=False) -> None:
            self.limit = settings.max_pixels
            loaded.append(settings)

        def cut(self, source, wanted):
            asked.append(wanted)
            return fake_cutout(source, self.limit)

    loaded: list = []
    asked: list = []
    monkeypatch.setattr(running, "Cutout", Fake)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, stdin: bytes = b"") -> Result:
        result = CliRunner().invoke(cli.main, list(arguments), input=stdin, prog_name="wisp")
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        assert "Traceback" not in result.output
        return result

    call.loaded = loaded  # type: ignore[attr-defined]
    call.asked = asked  # type: ignore[attr-defined]
    return call


@pytest.fixture
def jpeg(photo) -> bytes:
    return encoded(photo, "JPEG")


def wisp(*arguments: str, **options) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "wisp", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, timeout=60, **options)


# -- one photo -------------------------------------------------------------------------------------


def test_one_photo(run, jpeg):
    Path("a.jpg").write_bytes(jpeg)
    result = run("cut", "a.jpg")
    assert result.exit_code == 0 and result.stdout == ""
    assert "a.jpg → a-cutout.png" in result.stderr
    assert Image.open("a-cutout.png").mode == "RGBA"
    assert Path("a.jpg").read_bytes() == jpeg


@pytest.mark.parametrize(
    ("options", "format", "mode"),
    [
        (["-o", "b.webp"], "WEBP", "RGBA"),
        (["-o", "b.tif"], "TIFF", "RGBA"),
        (["-o", "b.jpg", "--background", "white"], "JPEG", "RGB"),
        (["-o", "b.jpg", "--background", "blur", "--quality", "50"], "JPEG", "RGB"),
        (["-o", "b.png", "--background", "a.jpg"], "PNG", "RGB"),
        (["-o", "b.png", "--only-mask"], "PNG", "L"),
        (["-o", "b.webp", "--format", "webp"], "WEBP", "RGBA"),
    ],
)
def test_formats(run, jpeg, options, format, mode):
    Path("a.jpg").write_bytes(jpeg)
    assert run("cut", "a.jpg", *options).exit_code == 0
    opened = Image.open(options[1])
    assert (opened.format, opened.mode, opened.size) == (format, mode, (96, 64))


@pytest.mark.parametrize("format", ["JPEG", "jpeg", "JPG"])
def test_the_name_of_a_format_in_any_spelling(run, jpeg, format):
    Path("a.jpg").write_bytes(jpeg)
    assert run("cut", "a.jpg", "--format", format).exit_code == 0
    assert Image.open("a-cutout.jpg").format == "JPEG"


def test_several_photos_are_not_one_file(run, jpeg):
    for name in ("a.jpg", "b.jpg"):
        Path(name).write_bytes(jpeg)
    result = run("cut", "a.jpg", "b.jpg", "-o", "one.png")
    assert result.exit_code == 2 and "one picture's name" in result.stderr
    assert not Path("one.png").exists()


def test_a_photo_alone_is_cut(run, jpeg):
    Path("a.jpg").write_bytes(jpeg)
    assert run("a.jpg").exit_code == 0 and Path("a-cutout.png").exists()
    assert run("-", stdin=jpeg).stdout_bytes.startswith(b"\x89PNG")
    Path("doctor").mkdir()  # the name of a command goes first
    assert "Check the installation" in run("doctor", "--help").output
    assert run("nonsense").exit_code == 2


def test_a_photo_whose_name_begins_with_a_dash(run, jpeg):
    Path("-dash.jpg").write_bytes(jpeg)
    for arguments in (("--", "-dash.jpg"), ("cut", "--", "-dash.jpg")):
        assert run(*arguments).exit_code == 0
        Path("-dash-cutout.png").unlink()
    assert run("-", "-o", "-out.png", stdin=jpeg).exit_code == 0 and Path("-out.png").exists()


@pytest.mark.parametrize("option", [
    "background", "box", "format", "id-photo", "jobs", "margin", "mask", "model", "shadow", "size",
    "smallest-hole",
])  # fmt: skip
def test_a_very_long_value_is_not_repeated_whole(run, jpeg, option):
    Path("a.jpg").write_bytes(jpeg)
    crop = ["--crop"] if option == "margin" else []
    result = run("cut", "a.jpg", *crop, f"--{option}", "xy" * 3000)
    assert result.exit_code == 2 and "xyxyxy" in result.stderr and len(result.stderr) < 500


def test_crop(run, jpeg):
    Path("a.jpg").write_bytes(jpeg)
    run("cut", "a.jpg", "-o", "b.png", "--crop")
    run("cut", "a.jpg", "-o", "c.png", "--crop", "--margin", "3px")
    (w, h), (wide, high) = Image.open("b.png").size, Image.open("c.png").size
    assert (wide, high) == (w + 6, h + 6) and wide < 96


def test_a_size(run, jpeg):
    Path("a.jpg").write_bytes(jpeg)
    run("cut", "a.jpg", "-o", "shop.jpg", "--size", "ebay")
    assert Image.open("shop.jpg").size == (1600, 1600)
    run("cut", "a.jpg", "-o", "own.png", "--size", "120x60", "--margin", "5px", "--scale", "50%")
    box = Image.open("own.png").getchannel("A").getbbox()
    assert box
    left, top, right, bottom = box
    assert bottom - top == pytest.approx(25, abs=3)
    assert (left + right) / 2 == pytest.approx(60, abs=2)


def test_a_pipe(run, jpeg):
    result = run("cut", "-", stdin=jpeg)
    assert result.exit_code == 0
    picture = Image.open(io.BytesIO(result.stdout_bytes))
    assert picture.size == (96, 64) and picture.mode == "RGBA"
    assert "standard input → standard output" in result.stderr
    assert run("cut", "-", "-o", "b.webp", "-q", stdin=jpeg).output == ""
    assert Image.open("b.webp").format == "WEBP"
    empty = run("cut", "-")
    assert empty.exit_code == 1 and empty.stdout_bytes == b""
    assert "standard input: the file is empty" in empty.stderr


def test_settings_reach_the_cutout(run, jpeg):
    Path("a.jpg").write_bytes(jpeg)
    networks.stage1(Path("m.onnx"))
    run(
        "cut",
        "a.jpg",
        "--no-refine",
        "--model",
        "m.onnx",
        "--refiner",
        "r.onnx",
        "--max-pixels=7",
        "--decode-seconds=3",
    )
    (settings,) = run.loaded
    assert (settings.model, settings.refiner, settings.refine) == ("m.onnx", "r.onnx", False)
    assert (settings.max_pixels, settings.decode_seconds) == (7, 3)


# -- folders ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(jpeg, tmp_path) -> Path:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        (tmp_path / "in" / name).write_bytes(jpeg)
    (tmp_path / "in" / "broken.png").write_bytes(jpeg[:200])
    return tmp_path / "in"


def test_a_folder(run, folder):
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    result = run("cut", "in", "-o", "out", "--report", "report.json", "--save-stages", "st")
    assert result.exit_code == 1 and result.stdout == ""
    written = sorted(str(path) for path in Path("out").rglob("*.*"))
    assert written == ["out/a.png", "out/b.png", "out/sub/c.png"]
    assert len(list(Path("st").rglob("*.png"))) == 12
    lines = result.stderr.splitlines()
    assert len(lines) == 5
    assert lines[2].startswith("[3/4] in/broken.png: the JPEG is broken or truncated")
    assert lines[-1] == "3 done, 0 skipped, 1 failed"
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before

    report = json.loads(Path("report.json").read_text())
    totals = report["totals"]
    assert (totals["done"], totals["skipped"], totals["failed"], totals["left"]) == (3, 0, 1, 0)
    assert report["versions"]["numpy"] == np.__version__
    files = {entry["input"]: entry for entry in report["files"]}
    assert files["in/a.jpg"]["status"] == "done" and files["in/a.jpg"]["size"] == [96, 64]
    assert files["in/a.jpg"]["output"] == "out/a.png" and files["in/a.jpg"]["error"] is None
    assert "write" in files["in/a.jpg"]["timings"]
    assert "broken" in files["in/broken.png"]["error"]


def test_the_same_command_goes_on(run, folder):
    run("cut", "in", "-o", "out")
    old = Path("out/a.png").stat().st_mtime_ns
    Path("out/b.png").unlink()
    Path("in/broken.png").write_bytes(Path("in/a.jpg").read_bytes())
    result = run("cut", "in", "-o", "out", "--report", "report.json")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == "2 done, 2 skipped, 0 failed"
    assert Path("out/a.png").stat().st_mtime_ns == old
    status = {e["input"]: e["status"] for e in json.loads(Path("report.json").read_text())["files"]}
    assert status["in/a.jpg"] == "skipped" and status["in/b.jpg"] == "done"
    result = run("cut", "in", "-o", "out", "--overwrite")
    assert result.stderr.splitlines()[-1] == "4 done, 0 skipped, 0 failed"


def test_when_all_is_finished_no_model_is_loaded(run, folder):
    run("cut", "in/a.jpg", "-o", "out.png")
    run.loaded.clear()
    result = run("cut", "in/a.jpg", "-o", "out.png")
    assert result.exit_code == 0 and not run.loaded
    assert "out.png is finished already" in result.stderr


def test_what_was_made_with_other_settings_is_made_anew(run, folder):
    Path("in/broken.png").unlink()
    run("cut", "in", "-o", "out")
    result = run("cut", "in", "-o", "out", "--background", "white")
    assert result.stderr.splitlines()[-1] == "3 done, 0 skipped, 0 failed"
    assert Image.open("out/a.png").mode == "RGB"
    result = run("cut", "in", "-o", "out", "--background", "#ffffff", "--jobs", "2")
    assert result.stderr.splitlines()[-1] == "0 done, 3 skipped, 0 failed"


def test_a_file_that_nobody_knows_is_left_and_named(run, folder):
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"somebody's own")
    result = run("cut", "in/a.jpg", "in/b.jpg", "-o", "out")
    assert result.exit_code == 0 and Path("out/a.png").read_bytes() == b"somebody's own"
    assert "out/a.png is left as it is" in result.stderr and "--overwrite" in result.stderr


def test_leftovers_of_a_killed_run_are_removed(run, folder):
    Path("out").mkdir()
    Path("out/.wisp-0123456789abcdef.part").write_bytes(b"half")
    run("cut", "in/a.jpg", "-o", "out/")
    assert os.listdir("out") == ["a.png"]


@pytest.mark.parametrize("report", ["none/report.json", "in", "in/a.jpg", "out/a.png"])
def test_a_report_that_cannot_be_written_is_refused_before_any_work(run, folder, report):
    before = Path("in/a.jpg").read_bytes()
    result = run("cut", "in", "-o", "out", "--report", report)
    assert result.exit_code in (1, 2) and "report" in result.stderr
    assert not Path("out").exists() and not run.loaded
    assert Path("in/a.jpg").read_bytes() == before


def test_jobs_at_a_time(run, folder):
    result = run("cut", "in", "-o", "out", "--jobs", "3")
    assert result.stderr.splitlines()[-1] == "3 done, 0 skipped, 1 failed"


def test_quiet_says_nothing_but_errors(run, folder):
    assert run("cut", "in/a.jpg", "in/b.jpg", "-o", "out", "--quiet").output == ""
    result = run("cut", "in", "-o", "out", "-q")
    assert result.stderr.count("\n") == 1 and "broken.png" in result.stderr


def test_quoted_patterns(run, folder):
    assert run("cut", "in/**/*.jpg", "-o", "out").exit_code == 0
    assert Path("out/sub/c.png").exists()


def test_a_missing_photo_does_not_stop_the_rest(run, folder):
    result = run("cut", "in/none.jpg", "in/a.jpg", "-o", "out")
    assert result.exit_code == 1
    assert "in/none.jpg: no such file or directory" in result.stderr
    assert Path("out/a.png").exists()


def test_names_that_are_no_text(run, jpeg):
    os.mkdir("in")
    for name in (b"in/\xff.jpg", "in/ü \n→.jpg".encode()):
        Path(os.fsdecode(name)).write_bytes(jpeg)
    result = run("cut", "in", "-o", "out", "--report", "report.json")
    assert result.exit_code == 0 and result.stderr.count("\n") == 3
    assert "in/ü �→.jpg → out/ü �→.png" in result.stderr
    assert set(os.listdir(b"out")) == {b"\xff.png", "ü \n→.png".encode()}
    inputs = {entry["input"] for entry in json.loads(Path("report.json").read_text())["files"]}
    assert inputs == {os.fsdecode(b"in/\xff.jpg"), "in/ü \n→.jpg"}


def test_an_empty_folder(run):
    Path("in").mkdir()
    result = run("cut", "in", "-o", "out")
    assert result.exit_code == 0 and "no pictures in in" in result.stderr


def test_a_bar_on_a_terminal(run, folder, monkeypatch):
    monkeypatch.setattr(terminal, "on_terminal", lambda *_: True)
    result = run("cut", "in", "-o", "out")
    assert "4/4" in result.stderr and "photo/s" in result.stderr
    assert "in/broken.png: the JPEG is broken" in result.stderr
    assert "a.jpg →" not in result.stderr


# -- wrong usage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "INPUT"),
        (["a.jpg", "--jobs", "0"], "jobs"),
        (["a.jpg", "--format", "gif"], "gif"),
        (["a.jpg", "-o", "b.gif"], "b.gif: cannot write .gif"),
        (["a.jpg", "-o", "b.png", "--format", "webp"], "contradicts"),
        (["a.jpg", "--quality", "5"], "lossless"),
        (["a.jpg", "--margin", "5px"], "--crop and for --size"),
        (["a.jpg", "--size", "amazone"], "did you mean amazon?"),
        (["a.jpg", "--size", "poster"], "nor one of amazon"),
        (["a.jpg", "-o", ""], "a name is empty"),
        (["a.jpg", ""], "a name is empty"),
        (["a.jpg", "--background", "none.jpg"], "no file none.jpg"),
        (["a.jpg", "--report", "-"], "--json writes to standard output"),
        (["a.jpg", "--report", "a.jpg"], "no report of before"),
        (["a.jpg", "--crop", "--margin", "5em"], "20px or 5%"),
        (["https://example.org/a.jpg"], "is an address"),
        (["a.jpg", "--model", "u2nett"], "did you mean 'u2net'"),
        (["a.jpg", "--background", "whiteish"], "no colour"),
        (["a.jpg", "--background", "/dev/null"], "empty"),
        (["a.jpg", "--only-mask", "--background", "white"], "one of the two"),
        (["a.jpg", "-o", "a.jpg", "--background", "white"], "overwritten"),
        (["a.jpg", "--max-pixels", "0"], "max_pixels"),
        (["a.jpg", "--decode-seconds", "0"], "decode_seconds"),
        (["."], "-o"),
        ([".", "-o", "."], "holds the photos"),
        (["a.jpg", "--nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_2_and_one_line(run, jpeg, arguments, says):
    Path("a.jpg").write_bytes(jpeg)
    result = run("cut", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr.splitlines()[-1]
    assert os.listdir() == ["a.jpg"]


def test_a_model_that_is_not_there(run, jpeg):
    Path("a.jpg").write_bytes(jpeg)
    assert run("cut", "a.jpg").exit_code == 0
    for option in ("--model", "--refiner"):  # said though all is finished
        result = run("cut", "a.jpg", option, "none")
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: no model 'none': Give a path")


def test_a_picture_is_not_written_to_a_terminal(run, jpeg, monkeypatch):
    monkeypatch.setattr(terminal, "on_terminal", lambda *_: True)
    result = run("cut", "-", stdin=jpeg)
    assert result.exit_code == 2 and "terminal" in result.stderr


# -- subcommands of other packages -----------------------------------------------------------------


def plugins(monkeypatch, **values: str) -> None:
    points = {name: EntryPoint(name, value, "wisp.commands") for name, value in values.items()}
    monkeypatch.setattr(group, "_plugins", lambda: points)


@click.command()
def hello() -> None:
    """Say hello."""
    click.echo("hello")


@click.command()
def lacking() -> None:
    raise ModuleNotFoundError("No module named 'no_such_package'")


def test_another_packages_command(run, monkeypatch):
    plugins(monkeypatch, hello=f"{__name__}:hello", cut="nowhere:cut")
    assert run("hello").output == "hello\n"
    assert "INPUT" in run("cut", "--help").output  # ours cannot be taken over


def test_a_broken_one_is_told_only_when_called(run, jpeg, monkeypatch):
    plugins(monkeypatch, lost="no_such_package.cli:lost", number=f"{__name__}:ROOT")
    result = run("--help")
    assert (
        result.exit_code == 0 and "lost" in result.output and "no_such_package.cli" in result.output
    )
    Path("a.jpg").write_bytes(jpeg)
    assert run("cut", "a.jpg").exit_code == 0
    for name, says in (("lost", "no_such_package"), ("number", "no click command")):
        result = run(name)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: the command") and says in result.stderr
        assert result.stderr.count("\n") == 1
    assert run("nonsense").exit_code == 2


@pytest.mark.parametrize("name, value, extra", [
    ("bench", "eval.cli:bench", "eval"),
    ("mcp", "wisp.mcp.command:mcp", "mcp"),
    ("scale", "wisp.scale.command:scale", "scale"),
    ("serve", "service.cli:serve", "serve"),
    ("video", "wisp.video.command:video", "video"),
])  # fmt: skip
def test_without_its_extra_a_command_says_what_to_install(run, monkeypatch, name, value, extra):
    plugins(monkeypatch, **{name: value})
    assert "from " + value.partition(":")[0] not in run("--help").output  # its line of help
    for target in (f"{__name__}:lacking", "no_such_package:main"):  # when it runs, or is loaded
        plugins(monkeypatch, **{name: target})
        result = run(name)
        assert result.exit_code == 1 and result.stderr == (
            f"Error: `wisp {name}` needs more packages: pip install 'wispcut[{extra}]' "
            "(No module named 'no_such_package')\n"
        )


def test_cut_does_not_look_for_others(run, jpeg, monkeypatch):
    def never():
        raise AssertionError("looked for plugins")

    monkeypatch.setattr(group, "_plugins", never)
    Path("a.jpg").write_bytes(jpeg)
    assert run("cut", "a.jpg").exit_code == 0


def test_version(run):
    result = run("--version")
    assert result.exit_code == 0 and result.output == f"wisp {__version__}\n"


# -- the real thing --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    coarse, refiner = networks.stage1(folder / "c.onnx"), networks.stage2(folder / "r.onnx")
    return ["--model", str(coarse), "--refiner", str(refiner)]


def test_a_real_pipe(models, photo):
    done = wisp("cut", "-", *models, input=encoded(photo, "PNG"))
    assert done.returncode == 0, done.stderr
    assert image_io.read(done.stdout).image.shape == photo.shape
    assert done.stderr.decode().count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
def test_a_full_disk(models, photo):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wisp", "cut", "-", *models],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            input=encoded(photo, "PNG"),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr == b"standard input: cannot write standard output: no space left on device\n"


def test_a_reader_that_has_seen_enough(models, photo):
    process = subprocess.Popen(
        [sys.executable, "-m", "wisp", "cut", "-", *models],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stdin.write(encoded(photo, "PNG"))
    process.stdin.close()
    assert b"Traceback" not in process.stderr.read()
    assert process.wait(60) == 1


def test_start_up_loads_only_what_it_needs(models, photo, tmp_path):
    Path(tmp_path / "a.png").write_bytes(encoded(photo, "PNG"))
    code = (
        "import sys; from pipeline.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    arguments = ["cut", str(tmp_path / "a.png"), "-q", *models]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = set(done.stderr.split())
    assert "pipeline.cutout" in loaded, done.stderr
    assert not loaded & {"tqdm", "eval", "pipeline.doctor", "PIL.ImageCms", "PIL.WebPImagePlugin"}


SLOW = """
import sys, time
from pipeline import cli
from pipeline.cli import run
from tests.conftest import fake_cutout

class Slow:
    def __init__(self, settings, for_masks=False): pass
    def cut(self, source, wanted):
        time.sleep(0.1)
        return fake_cutout(source)

run.Cutout = Slow
cli.main(sys.argv[1:], prog_name="wisp")
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interruption_ends_cleanly_and_says_how_to_go_on(tmp_path, jpeg, sent, jobs):
    (tmp_path / "in").mkdir()
    for number in range(60):
        (tmp_path / "in" / f"{number:02}.jpg").write_bytes(jpeg)
    report = tmp_path / "report.json"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "cut", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
        + ["--jobs", jobs, "--report", str(report)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background inherits a SIGINT that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert "[1/60]" in process.stderr.readline()
    time.sleep(0.05)
    process.send_signal(sent)
    rest = process.stderr.read()
    assert process.wait(20) == 130
    assert "Traceback" not in rest
    assert "the same command goes on from here" in rest.splitlines()[-1]
    document = json.loads(report.read_text())
    assert document["interrupted"] and 0 < document["totals"]["left"] < 60
    for path in (tmp_path / "out").iterdir():
        assert path.suffix == ".png" and Image.open(path).size == (96, 64)  # whole, no leftovers


def test_a_killed_run_leaves_its_report_and_goes_on(tmp_path, jpeg):
    (tmp_path / "in").mkdir()
    for number in range(30):
        (tmp_path / "in" / f"{number:02}.jpg").write_bytes(jpeg)
    report = tmp_path / "report.json"
    command = [sys.executable, "-c", SLOW, "cut", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    command += ["--report", str(report)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "[3/30]" not in process.stderr.readline():
            pass
        process.kill()
    document = json.loads(report.read_text())
    assert document["interrupted"] and len(document["files"]) >= 3
    assert all(Path(entry["output"]).is_file() for entry in document["files"])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert len(list((tmp_path / "out").iterdir())) == 30
    document = json.loads(report.read_text())
    assert not document["interrupted"] and document["totals"]["skipped"] >= 3


def test_json_is_a_line_for_each_photo(run, jpeg):
    Path("a.jpg").write_bytes(jpeg)
    Path("b.jpg").write_bytes(b"no picture")
    result = run("cut", "a.jpg", "b.jpg", "-o", "out", "--json", "-q")
    assert result.exit_code == 1
    good, bad = map(json.loads, result.stdout.splitlines())
    assert good["status"] == "done" and good["output"] == str(Path("out/a.png"))
    assert bad["status"] == "failed" and bad["error"]
    again = json.loads(run("cut", "a.jpg", "-o", "out/", "--json", "-q").stdout)
    assert again["status"] == "skipped"
    assert "give -o FILE" in run("cut", "-", "--json", stdin=jpeg).stderr


@pytest.mark.parametrize(("words", "expected"), [
    ("wisp mod", {"models"}),
    ("wisp cut --wat", {"--watch"}),
    ("wisp cut --format w", {"webp"}),
    ("wisp models dow", {"download"}),
])  # fmt: skip
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(shell, words, expected):
    *_, begun = words.split()
    environment = {"_WISP_COMPLETE": f"{shell}_complete", "COMP_WORDS": words}
    environment["COMP_CWORD"] = begun if shell == "fish" else str(len(words.split()) - 1)
    done = CliRunner().invoke(cli.main, [], env=environment, prog_name="wisp")
    shown = {part for line in done.output.splitlines() for part in line.replace(",", " ").split()}
    assert expected <= shown and "--version" not in shown


def test_the_documented_script_for_a_shell_is_there():
    done = CliRunner().invoke(cli.main, [], env={"_WISP_COMPLETE": "zsh_source"}, prog_name="wisp")
    assert "#compdef wisp" in done.output


def test_a_typo_in_the_model_is_said_also_where_the_output_is_finished(models, jpeg, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg)
    arguments = ["cut", str(tmp_path / "a.jpg"), "-o", str(tmp_path / "b.png")]
    assert wisp(*arguments, *models).returncode == 0
    before = (tmp_path / "b.png").read_bytes()
    again = wisp(*arguments, "--model", "u2netq")
    assert again.returncode == 2 and b"did you mean 'u2net" in again.stderr
    assert (tmp_path / "b.png").read_bytes() == before


def test_one_picture_that_is_there_already_is_an_error_and_stays(run, jpeg):
    Path("a.jpg").write_bytes(jpeg)
    Path("b.png").write_bytes(b"precious")
    result = run("cut", "a.jpg", "-o", "b.png", "-q")
    assert result.exit_code == 2 and "b.png is there already" in result.stderr
    assert Path("b.png").read_bytes() == b"precious"


def test_a_report_replaces_reports_alone(run, jpeg):
    Path("a.jpg").write_bytes(jpeg)
    Path("mask.png").write_bytes(encoded(Image.new("L", (64, 64), 255), "PNG"))
    Path("other.png").write_bytes(b"precious")
    for name in ("mask.png", "other.png"):
        before = Path(name).read_bytes()
        result = run("cut", "a.jpg", "-o", "b.png", "--mask", "mask.png", "--report", name)
        assert result.exit_code == 2 and "no report of before" in result.stderr
        assert Path(name).read_bytes() == before


def test_the_report_of_an_empty_folder_is_written(run):
    Path("none").mkdir()
    assert run("cut", "none", "-o", "out", "--report", "r.json").exit_code == 0
    assert json.loads(Path("r.json").read_text())["files"] == []


def test_a_photo_in_a_folder_without_permission_is_one_line(run, jpeg, monkeypatch):
    asked = os.stat

    def refuse(path, *more, **named):
        if str(path).endswith("shut/a.jpg"):
            raise PermissionError(errno.EACCES, "permission denied", path)
        return asked(path, *more, **named)

    monkeypatch.setattr(os, "stat", refuse)
    result = run("cut", "shut/a.jpg", "-o", "b.png")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("closed", "words", "says"),
    [("stdin", ["-", "-o", "b.png"], "input"), ("stdout", ["a.jpg", "-o", "-"], "output")],
)
def test_a_stream_that_was_closed_is_named(tmp_path, jpeg, closed, words, says):
    (tmp_path / "a.jpg").write_bytes(jpeg)
    code = f"import sys; sys.{closed} = None; from pipeline import cli; cli.main({['cut', *words]})"
    ran = python(code, cwd=tmp_path)
    assert ran.returncode == 2 and f"standard {says} is closed" in ran.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_a_full_standard_output_is_said():
    with open("/dev/full", "w") as full:
        ran = python("from pipeline import cli; cli.main(['models', '--json'])", stdout=full)
    assert ran.returncode == 1 and "No space left" in ran.stderr
    assert "Traceback" not in ran.stderr


def python(code: str, **options) -> subprocess.CompletedProcess[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, text=True, timeout=60, check=False, **streams)


def test_a_folder_with_one_photo_is_a_folder(run, jpeg):
    Path("in").mkdir()
    Path("in/a.jpg").write_bytes(jpeg)
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"precious")
    result = run("cut", "in", "-o", "out")
    assert result.exit_code == 0 and "left as it is" in result.stderr
    assert Path("out/a.png").read_bytes() == b"precious"
