"""Train stage 2: data, losses, generator and discriminator, export.

Nothing is imported here, so that the parts without torch (``refiner.procedural``,
``refiner.subjects``, ``refiner.prepare``) load without it.
"""
