"""Keep the graphs of small networks as onnxruntime has made them ready, in the user's cache.

Most of the time that it takes to open one goes into fusing its operators for the processor, which
comes out alike every time: from the graph that came out it opens in a quarter of the time, 45 ms
less for a command. Such a graph is of use to one version of onnxruntime and one kind of processor
alone, so its name says of what it was made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import files

if TYPE_CHECKING:
    import onnxruntime

#: Bytes of a file of which it is worth it: a smaller one opens as fast as its copy would, and a
#: larger one takes its time for its weights.
LEAST, MOST = 500_000, 16_000_000
KEPT = 8  # graphs: two models in two versions, on two kinds of machine that share a home
_CPUINFO = Path("/proc/cpuinfo")


def opened(
    model: Path, options: Callable[[], onnxruntime.SessionOptions]
) -> onnxruntime.InferenceSession | None:
    """Open a network on the CPU by its ready graph, which is made and kept where there is none.

    None where that is not worth it, or did not work: then the file itself is to be opened, which
    says what is wrong with it. ``options`` returns new ones.
    """
    import onnxruntime

    graph, cpu = place(model, onnxruntime.__version__), ["CPUExecutionProvider"]
    if graph is None:
        return None
    with suppress(Exception):  # of a graph that was cut off, and of onnxruntime's many types
        if graph.is_file():
            as_it_is = options()
            as_it_is.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            return onnxruntime.InferenceSession(graph, as_it_is, providers=cpu)
    session = None
    with suppress(Exception):
        with files.placing(graph) as part:
            kept = options()
            kept.optimized_model_filepath = str(part)
            session = onnxruntime.InferenceSession(model, kept, providers=cpu)
        tidy(graph.parent)
    return session


def place(model: Path, version: str) -> Path | None:
    """Return where the ready graph of a network lies, or is to be put.

    ``version`` is onnxruntime's. None where it is not worth it, or nobody can tell what processor
    this is (Linux says so), or there is no cache folder.
    """
    from platformdirs import user_cache_path

    with suppress(OSError, RuntimeError):
        if LEAST <= model.stat().st_size <= MOST:
            key = hashlib.sha256(model.read_bytes())
            key.update(f"{version} {_processor()}".encode())
            folder = user_cache_path("wisp", appauthor=False) / "graphs"
            folder.mkdir(parents=True, exist_ok=True)
            return folder / f"{model.stem}-{key.hexdigest()[:24]}.onnx"
    return None


def tidy(folder: Path) -> None:
    """Remove all but the newest :data:`KEPT` graphs, and what a killed process left behind."""
    with suppress(OSError):
        files.remove_leftovers(folder)
        graphs = sorted(folder.glob("*.onnx"), key=lambda path: path.stat().st_mtime)
        for path in graphs[:-KEPT]:
            path.unlink()


def _processor() -> str:
    """Return what tells the processor's kind: its name, and which instructions it has."""
    with open(_CPUINFO, "rb") as file:  # of hundreds of cores, the first
        first = file.read(16_384).partition(b"\n\n")[0].decode(errors="replace")
    told = ("model name", "flags", "Features", "CPU part", "CPU implementer")
    return "\n".join(line for line in first.splitlines() if line.startswith(told))
