"""Make sure that ``pipeline`` is Wisp's, whatever lies in the user's script folder.

``pipeline`` is a common name, and Python looks into the folder of the script that it runs first.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

_OURS = Path(__file__).resolve().parents[1] / "pipeline" / "__init__.py"


def ensure() -> None:
    """Load Wisp's ``pipeline`` unless it is loaded already.

    Raises ``ImportError`` where another module of that name is loaded: it and ours cannot both be.
    Warns (``ImportWarning``) where another one would have been found first and is hidden now.
    """
    loaded = sys.modules.get("pipeline")
    if loaded is not None:
        where = getattr(loaded, "__file__", None)
        if where is None or Path(where).resolve() != _OURS:
            raise ImportError(
                f"wisp needs its own module 'pipeline', but {where or loaded} is loaded under that "
                "name: rename it, or import wisp before it"
            )
        return
    other = importlib.util.find_spec("pipeline")
    if other is not None and other.origin and Path(other.origin).resolve() == _OURS:
        return
    spec = importlib.util.spec_from_file_location(
        "pipeline", _OURS, submodule_search_locations=[str(_OURS.parent)]
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["pipeline"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules["pipeline"]
        raise
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if other is not None and other.origin and other.origin != main:
        warnings.warn(
            f"wisp uses its own module 'pipeline'; {other.origin} is hidden by it: rename that one",
            ImportWarning,
            stacklevel=3,
        )
