"""What the page says: one file for each language, in ``words``. The browser's language chooses."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: The words by the language's tag, en first, which stands in for a language that is not here.
LANGUAGES: dict[str, dict[str, str]] = {
    file.stem: tomllib.loads(file.read_text("utf-8"))
    for file in sorted(
        Path(__file__).with_name("words").glob("*.toml"), key=lambda file: (file.stem != "en", file)
    )
}


def language(accepted: str) -> dict[str, str]:
    """Choose by an Accept-Language header: the first in it that there is, else English."""
    for entry in accepted.lower().split(","):
        tag = entry.partition(";")[0].strip()
        for name, words in LANGUAGES.items():
            if tag == name or tag.startswith(f"{name}-"):
                return words
    return LANGUAGES["en"]
