"""Accelerators by the names that people use, and the promise that what was asked for is used."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ModelInvalid, OutOfMemory, ProviderMissing, SettingsError, quoted
from pipeline.memory import enough_memory
from pipeline.models import ready

if TYPE_CHECKING:
    import onnxruntime

_CPU = "CPUExecutionProvider"

#: Execution providers of onnxruntime for each device, best first. The CPU stands last in each:
#: an accelerator leaves it the few operators that it has no kernel for.
DEVICES: dict[str, tuple[str, ...]] = {
    "cpu": (_CPU,),
    "cuda": ("CUDAExecutionProvider", _CPU),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", _CPU),
    "openvino": ("OpenVINOExecutionProvider", _CPU),
    "coreml": ("CoreMLExecutionProvider", _CPU),
    "directml": ("DmlExecutionProvider", _CPU),
}

#: Which package brings a provider.
_PACKAGES = {
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu, with TensorRT",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "CoreMLExecutionProvider": "onnxruntime, on a Mac",
    "DmlExecutionProvider": "onnxruntime-directml, on Windows",
}

#: How a provider is set up where its own default would not compute in FP16 on a GPU.
_OPTIONS = {
    "TensorrtExecutionProvider": {"trt_fp16_enable": "1"},
    "OpenVINOExecutionProvider": {"device_type": "AUTO:GPU,CPU"},
}


def providers(device: str) -> tuple[str, ...]:
    """Return the execution providers of a device, for ``Settings.providers``.

    Raises :class:`SettingsError` for a device that is none of :data:`DEVICES`.
    """
    if device not in DEVICES:
        raise SettingsError(f"device must be one of {', '.join(DEVICES)}, not {quoted(device)}")
    return DEVICES[device]


#: The same for a network that FP16 would break.
_FULL_PRECISION = {**_OPTIONS, "TensorrtExecutionProvider": {}}


def open_session(
    path: Path | bytes, providers: Sequence[str], threads: int, allow_fp16: bool = True
) -> onnxruntime.InferenceSession:
    """Open an ONNX file, or the bytes of one, with all of the given providers.

    TensorRT computes in FP16 only where ``allow_fp16``.

    Raises :class:`ProviderMissing` where one of them is not installed, or onnxruntime gives it up
    while the session is made (it falls back to the CPU then, and says so only in its log);
    :class:`ModelInvalid` where the file is no network; :class:`OutOfMemory`.
    """
    with enough_memory("not enough memory to load onnxruntime"):
        import onnxruntime  # here, so that what needs no network does not wait for it

    there = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in there]
    if missing:
        raise ProviderMissing(
            f"onnxruntime has no {', '.join(missing)} here: install {_source(missing)}, "
            f"or choose {', '.join(d for d, names in DEVICES.items() if set(names) <= set(there))}"
        )
    set_up = _OPTIONS if allow_fp16 else _FULL_PRECISION

    what = path if isinstance(path, Path) else "this model"
    try:
        with enough_memory(f"not enough memory to open {what}"):
            session = None
            if isinstance(path, Path) and tuple(providers) == (_CPU,):
                session = ready.opened(path, partial(_options, threads))
            if session is None:
                chosen = [(name, set_up.get(name, {})) for name in providers]
                session = onnxruntime.InferenceSession(path, _options(threads), providers=chosen)
    except OutOfMemory:
        raise
    except Exception as error:  # onnxruntime's own types are private, and many
        reason = str(error).splitlines()[0]
        raise ModelInvalid(f"{what} cannot be opened as an ONNX network: {reason}") from error
    lost = [name for name in providers if name not in session.get_providers()]
    if lost:
        raise ProviderMissing(
            f"{', '.join(lost)} is installed but does not start here, most often because the "
            f"driver or its libraries are absent or of another version: see {_source(lost)}"
        )
    return session


def _options(threads: int) -> onnxruntime.SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # By itself onnxruntime counts the cores of the machine, not those of the container.
    options.intra_op_num_threads = threads or usable_cores()
    # A thread that waits for work sleeps: one that spins takes the time of the threads that it
    # waits for, where others compute too (see docs/deploying.md for the figures).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # its errors are raised; to log them too is to say them twice
    # The arena keeps the largest memory it ever needed; without it a server stays small.
    options.enable_cpu_mem_arena = False
    # A pattern lays out all of a run in one block beforehand. Without an arena that is a block of
    # 100 MB to fetch and give back each time: slower, and half as much again at the peak.
    options.enable_mem_pattern = False
    return options


def usable_cores() -> int:
    """Count the cores that this process may use: less than there are in many a container."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no control groups, or "max"
        pass
    return max(1, cores)


def _source(names: Sequence[str]) -> str:
    return "; ".join(_PACKAGES.get(name, f"the onnxruntime with {name}") for name in names)
