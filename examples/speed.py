"""Speed and memory beside the real rembg, at 1920×1080, as ratios from one run.

    python examples/speed.py --rembg ENVIRONMENT/bin/rembg [--model u2netp.onnx] [--repeat 5]

Both tools get the same stage-1 weights, bytes and machine; their runs alternate, so that whatever
else the machine does hits both. Each cold figure is a fresh process from command to file, each
warm one a call in a process of the tool's own that has loaded its models. Peak memory is that of
the process.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from PIL import Image

from pipeline.models import COARSE

WARM = """
import sys, time
tool, photo, model = sys.argv[1:4]
data = open(photo, "rb").read()
if tool == "wisp":
    from pipeline import Cutout, Settings
    from pipeline.compose import rgba
    from pipeline.image_io import encode
    cut = Cutout(Settings(model=model))
    def run():
        result = cut(data)
        encode(rgba(result.foreground, result.alpha), "png")
else:
    from rembg import new_session, remove
    session = new_session("u2net_custom", model_path=model)
    matting = tool == "rembg-matting"
    def run():
        remove(data, session=session, alpha_matting=matting)
run()
print("lap", 0, flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    run()
    print("lap", time.perf_counter() - start, flush=True)
"""


class Warm:
    """A tool that has loaded its models and waits in a process of its own."""

    def __init__(self, python: Path, tool: str, photo: Path, model: Path) -> None:
        self.process = subprocess.Popen(
            [str(python), "-c", WARM, tool, str(photo), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answer()

    def answer(self) -> float:
        """Wait for the next lap: libraries print warnings of their own in between."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("lap "):
                return float(line.split()[1])
        raise click.ClickException("a tool under measurement died: its message is above")

    def __call__(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self.process.communicate()


def cold(command: list[str]) -> tuple[float, float]:
    """Run a command once in a fresh process: seconds, and peak resident MB."""
    probe = (
        "import json, resource, subprocess, sys, time\n"
        "start = time.perf_counter()\n"
        "subprocess.run(sys.argv[1:], check=True)\n"
        "seconds = time.perf_counter() - start\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "print(json.dumps([seconds, peak]))\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", probe, *command], check=True, capture_output=True, text=True
    ).stdout
    seconds, peak = json.loads(out.splitlines()[-1])
    # Linux counts kilobytes, macOS bytes.
    return seconds, peak / (1e6 if sys.platform == "darwin" else 1e3)


def photograph(folder: Path, size: tuple[int, int]) -> Path:
    """A portrait with hair in the given size, as a JPEG."""
    from skimage import data

    portrait = Image.fromarray(data.astronaut())
    scale = max(size[0] / portrait.width, size[1] / portrait.height)
    large = portrait.resize(
        [round(side * scale) for side in portrait.size], Image.Resampling.BICUBIC
    )
    left, top = (large.width - size[0]) // 2, 0
    path = folder / f"{size[0]}x{size[1]}.jpg"
    large.crop((left, top, left + size[0], top + size[1])).save(path, quality=92)
    return path


def table(title: str, rows: dict[str, list[float]], unit: str) -> None:
    ours = statistics.median(rows["wisp"])
    click.echo(f"\n{title}\n\n| tool | {unit}, median | wisp is |\n| --- | --- | --- |")
    for name, values in rows.items():
        middle = statistics.median(values)
        click.echo(f"| {name} | {middle:.2f} | {middle / ours:.2f}× |")


@click.command(help="Compare speed and memory with the real rembg, in one run.")
@click.option(
    "--rembg",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="Its command, in an environment of its own: it pins older packages than the page needs.",
)
@click.option("--model", type=click.Path(exists=True, path_type=Path), default=COARSE["wisp"].path)
@click.option("--repeat", default=5, show_default=True)
def main(rembg: Path, model: Path, repeat: int) -> None:
    bin_ = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["U2NET_HOME"] = name  # rembg takes custom weights from its own folder only
        weights = folder / "bench.onnx"
        weights.write_bytes(model.read_bytes())
        photo = photograph(folder, (1920, 1080))
        out = str(folder / "out.png")
        extra = json.dumps({"model_path": str(weights)})
        plain = [str(rembg), "i", "-m", "u2net_custom", "-x", extra]
        commands = {
            "wisp": [str(bin_ / "wisp"), "cut", str(photo), "-o", out, "--overwrite", "--quiet"]
            + ["--model", str(weights)],
            "rembg": [*plain, str(photo), out],
            "rembg-matting": [*plain, "-a", str(photo), out],
        }
        times: dict[str, list[float]] = {tool: [] for tool in commands}
        peaks: dict[str, list[float]] = {tool: [] for tool in commands}
        for _ in range(repeat):
            for tool, command in commands.items():
                seconds, peak = cold(command)
                times[tool].append(seconds)
                peaks[tool].append(peak)
        table("Cold command, 1920×1080", times, "seconds")
        table("Peak memory of that command", peaks, "MB")

        warm: dict[str, Callable[[], float]] = {
            tool: Warm(
                bin_ / "python" if tool == "wisp" else rembg.with_name("python"),
                tool,
                photo,
                weights,
            )
            for tool in commands
        }
        laps: dict[str, list[float]] = {tool: [] for tool in warm}
        for _ in range(repeat):
            for tool, call in warm.items():
                laps[tool].append(call())
        table("Warm call, bytes to PNG bytes, 1920×1080", laps, "seconds")

        large = photograph(folder, (6000, 4000))
        seconds, peak = cold([*commands["wisp"][:2], str(large), *commands["wisp"][3:]])
        click.echo(f"\n24 megapixels: {seconds:.2f} s, {peak:.0f} MB peak")

        idle = [sys.executable, "-c", "import numpy"]
        loaded = [sys.executable, "-c", "import pipeline"]
        gaps = [cold(loaded)[0] - cold(idle)[0] for _ in range(2 * repeat)]
        click.echo(f"import pipeline: {statistics.median(gaps):.2f} s more than import numpy")


if __name__ == "__main__":
    main()
