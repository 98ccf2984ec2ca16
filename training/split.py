"""Which pictures are held out of a training, the same every time.

Both rules hash a name, so that a picture's side depends on no list that somebody keeps. There are
two, because the figures of the bundled weights are measured on what each holds out, and another
rule would train on it: stage 1 ranks the scenes of a folder (frames of one video must not lie on
both sides, and every folder has something to measure on), stage 2 takes each picture by itself
(its subjects are prepared one by one).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable

FRAME = re.compile(r"^(.+)[_-]\d{5,}$")  # video frames are named scene_00008


def scene(stem: str) -> str:
    """Return the scene of a video frame's file stem; of any other stem, itself.

    >>> scene("car-turn_00012"), scene("IMG_1234")
    ('car-turn', 'IMG_1234')
    """
    frame = FRAME.match(stem)
    return frame.group(1) if frame else stem


def held_out_scenes(pictures: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the held-out ones of (folder, scene) pairs, one pair a picture (stage 1).

    In each folder the scenes are ranked by a hash of their name, and the first tenth is held out;
    the first quarter where scenes have several frames, since there are few of those.
    """
    scenes: dict[str, list[str]] = defaultdict(list)
    for folder, name in pictures:
        scenes[folder].append(name)
    chosen = set()
    for folder, names in scenes.items():
        unique = sorted(set(names), key=lambda s: hashlib.sha1(f"{folder}/{s}".encode()).digest())
        share = 0.25 if len(names) > 2 * len(unique) else 0.1
        chosen |= {(folder, s) for s in unique[: math.ceil(share * len(unique))]}
    return chosen


def is_held_out(name: str) -> bool:
    """Tell whether the picture of that file name is held out: one in ten is (stage 2)."""
    return int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(), 16) % 10 == 0
