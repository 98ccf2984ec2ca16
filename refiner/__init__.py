"""Train stage 2: data, losses, generator and discriminator, export.

Nothing heavy is imported here, so that the parts without torch (``refiner.procedural``,
``refiner.subjects``, ``refiner.prepare``) load without it.
"""

import pipeline  # noqa: F401 - before onnxruntime, whose telemetry it turns off
