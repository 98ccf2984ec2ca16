"""A million photos: places, shards and manifests, and the engines that do the work.

>>> from wisp.scale import Cutter
>>> Cutter()({"bytes": [open("photo.jpg", "rb").read()]})["status"]  # doctest: +SKIP
array(['done'], dtype=object)

``wisp scale`` is made of these parts; any engine of tables can call :class:`Cutter`.
"""

from wisp.scale.cutter import SPARK, Cutter
from wisp.scale.on_ray import cut_dataset

__all__ = ["SPARK", "Cutter", "cut_dataset"]
