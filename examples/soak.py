"""A public service under attack, in one gigabyte: does every other visitor get his answer?

    python examples/soak.py [--minutes 10] [--out soak.json]

Quiet turns and turns under attack (``examples/attacks.py``) follow each other, so that whatever
else the machine does hits both. All the time two visitors send photos, no two the same, open the
page and ask for the service's health. Fails where one answer of theirs is lost, where the 95th
percentile of their times more than doubles, where memory (of the server and all its children, PSS,
ten times a second) passes one gibibyte, or where it grows. Linux only.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import httpx
from attacks import ATTACKS, Harm, Target
from PIL import Image
from tqdm import tqdm

_LIMIT = 1 << 30  # bytes
_TURN = 20.0  # seconds
_GROWTH = 1.15  # of the memory at rest, from the first third to the last


@dataclass
class Seen:
    """What was seen of the normal visitors and of the server's memory."""

    quiet: list[float] = field(default_factory=list)
    attacked: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    harm: list[str] = field(default_factory=list)
    other: int = 0  # requests that were no photo
    memory: list[tuple[float, int, bool]] = field(default_factory=list)  # seconds, bytes, attacked
    under_attack: bool = False


def start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a public service with the settings that the documentation has for one gigabyte."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WISP_")} | {
        "WISP_DATA": str(folder / "data"),
        "WISP_PUBLIC": "1",
        "WISP_MAX_PIXELS": "12000000",
        "WISP_RATE": "240/minute",
    }
    serve = "from service.cli import serve; serve()"
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", serve, "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
        )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while True:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return process, url
        except httpx.HTTPError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise click.ClickException(f"no start:\n{(folder / 'log').read_text()}")
        time.sleep(0.2)


def resident(process: int) -> int:
    """Return the memory of a process and all below it, in bytes; what they share counts once."""
    total = 0
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        total *= 1024
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text(encoding="ascii").split():
                total += resident(int(child))
    except (OSError, StopIteration):  # it has just ended
        pass
    return total


def visit(
    target: Target, host: str, photos: list[bytes], seen: Seen, stop: threading.Event
) -> None:
    """Be a normal visitor."""
    with target.client(host, patience=90) as client:
        while not stop.is_set():
            for photo in photos:
                if stop.is_set():
                    return
                attacked, begun = seen.under_attack, time.perf_counter()
                _ask(client, seen, "POST", "/api/remove-background", photo)
                seconds = time.perf_counter() - begun
                if attacked == seen.under_attack:  # not across the end of a turn
                    (seen.attacked if attacked else seen.quiet).append(seconds)
                stop.wait(0.3)
            for path in ("/", "/healthz", "/readyz", "/api/models"):
                _ask(client, seen, "GET", path)
                seen.other += 1


def _ask(client: httpx.Client, seen: Seen, method: str, path: str, photo: bytes = b"") -> None:
    try:
        answer = client.request(
            method,
            path,
            files={"file": photo + os.urandom(8)} if photo else None,
            headers={"Accept": "image/png"} if photo else None,
        )
        whole = answer.status_code == 200
        if photo and whole:
            with Image.open(io.BytesIO(answer.content)) as image:
                image.load()
                whole = image.mode == "RGBA"
        outcome = f"{answer.status_code} {answer.text[:200] if answer.status_code != 200 else ''}"
    except (httpx.HTTPError, OSError) as error:
        whole, outcome = False, repr(error)
    if not whole:
        seen.lost.append(f"{method} {path}: {outcome}")


def attack(target: Target, name: str, seen: Seen, stop: threading.Event) -> None:
    """Run an attack until it is stopped. That it is refused, or cut off, is as it should be."""
    while not stop.is_set():
        try:
            ATTACKS[name](target, stop)
        except Harm as harm:
            seen.harm.append(str(harm))
        except (httpx.HTTPError, OSError):
            pass
        stop.wait(0.5)


def watch(process: int, seen: Seen, stop: threading.Event) -> None:
    """Look at the server's memory ten times a second."""
    begun = time.monotonic()
    while not stop.wait(0.1):
        seen.memory.append((time.monotonic() - begun, resident(process), seen.under_attack))


def soak(
    target: Target, process: int, minutes: float, photos: list[bytes], attacks: tuple[str, ...]
) -> Seen:
    """Let visitors and attackers at a server, in turns of quiet and attack."""
    seen, stop = Seen(), threading.Event()
    people = [
        threading.Thread(target=visit, args=(target, f"127.0.0.{n}", photos, seen, stop))
        for n in (11, 12)
    ]
    people.append(threading.Thread(target=watch, args=(process, seen, stop)))
    for one in people:
        one.start()
    turns = max(1, round(minutes * 60 / (2 * _TURN)))
    for _ in tqdm(range(turns), unit="turn", disable=None):
        time.sleep(_TURN)
        over = threading.Event()
        attackers = [
            threading.Thread(target=attack, args=(target, name, seen, over)) for name in attacks
        ]
        seen.under_attack = True
        for one in attackers:
            one.start()
        time.sleep(_TURN)
        over.set()
        for one in attackers:
            one.join()
        seen.under_attack = False
    stop.set()
    for one in people:
        one.join()
    return seen


def report(seen: Seen) -> tuple[dict[str, float], list[str]]:
    """Return the figures, and what is wrong with them."""

    def p95(times: list[float]) -> float:
        return round(sorted(times)[int(0.95 * len(times))], 3) if times else float("inf")

    rest = [size for _, size, attacked in seen.memory if not attacked]
    third = max(1, len(rest) // 3)
    early, late = statistics.median(rest[:third]), statistics.median(rest[-third:])
    figures = {
        "photos in quiet": len(seen.quiet),
        "photos under attack": len(seen.attacked),
        "other requests": seen.other,
        "lost": len(seen.lost),
        "p50 in quiet, s": round(statistics.median(seen.quiet or [0]), 3),
        "p50 under attack, s": round(statistics.median(seen.attacked or [0]), 3),
        "p95 in quiet, s": p95(seen.quiet),
        "p95 under attack, s": p95(seen.attacked),
        "most memory, MB": round(max(size for _, size, _ in seen.memory) / 1e6),
        "memory in quiet, first third, MB": round(early / 1e6),
        "memory in quiet, last third, MB": round(late / 1e6),
    }
    wrong = [*seen.harm[:5], *seen.lost[:5]]
    if not seen.quiet or not seen.attacked:
        wrong.append("too few photos were answered to say anything: let it run longer")
    if figures["p95 under attack, s"] > 2 * figures["p95 in quiet, s"]:
        wrong.append("the times more than doubled under attack")
    if figures["most memory, MB"] > _LIMIT / 1e6:
        wrong.append("more than a gibibyte was used")
    if late > _GROWTH * early:
        wrong.append("memory grew")
    return figures, wrong


def _photos() -> list[bytes]:
    from skimage import data

    photos = []
    for shot in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket()):
        buffer = io.BytesIO()
        Image.fromarray(shot).resize((800, 600)).save(buffer, "JPEG", quality=92)
        photos.append(buffer.getvalue())
    return photos


@click.command()
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--attack", "attacks", multiple=True, type=click.Choice(list(ATTACKS)))
@click.option("--out", type=click.Path(path_type=Path), help="JSON with the curve of memory.")
def main(minutes: float, attacks: tuple[str, ...], out: Path | None) -> None:
    """Attack a public service, in all ways or those given, and see whether others notice."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        secret = folder / "secret.png"
        Image.new("RGB", (8, 8)).save(secret)
        process, url = start(folder)
        try:
            seen = soak(
                Target(url, secret), process.pid, minutes, _photos(), attacks or tuple(ATTACKS)
            )
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(45)
            except subprocess.TimeoutExpired:
                process.kill()
                raise click.ClickException("SIGTERM did not end the server") from None
            if out:
                (out.with_suffix(".log")).write_bytes((folder / "log").read_bytes())
    figures, wrong = report(seen)
    for label, value in figures.items():
        click.echo(f"{label:36}{value:>10}")
    if out:
        curve = [(round(at, 1), round(size / 1e6)) for at, size, _ in seen.memory[::10]]
        summary = {"figures": figures, "wrong": wrong, "lost": seen.lost, "memory": curve}
        out.write_text(json.dumps(summary, indent=1), encoding="utf-8")
    if wrong:
        raise click.ClickException("\n".join(wrong))


if __name__ == "__main__":
    main()
