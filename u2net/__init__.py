"""Train stage 1, a U²-Net-P student of a published teacher: data, phases, export."""

import pipeline  # noqa: F401 - before onnxruntime, whose telemetry it turns off
