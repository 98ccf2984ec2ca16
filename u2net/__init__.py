"""Trains the first stage: a U²-Net-P student of a published teacher."""

import pipeline  # noqa: F401 - before onnxruntime, whose telemetry it turns off
