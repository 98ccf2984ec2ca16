"""What the page says, in each language."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.web import html, text

ENGLISH = text.LANGUAGES["en"]
WEB = Path(text.__file__).parent


@pytest.mark.parametrize("name", text.LANGUAGES)
def test_every_language_says_the_same_things(name):
    words = text.LANGUAGES[name]
    assert words.keys() == ENGLISH.keys()
    for key, said in words.items():
        assert said.strip(), key
        assert set(re.findall(r"{\w*}", said)) == set(re.findall(r"{\w*}", ENGLISH[key])), key
    html.editor(words)  # which needs some of them


def test_each_file_is_a_language_and_english_stands_in():
    files = {file.stem for file in (WEB / "words").iterdir()}
    assert files == set(text.LANGUAGES) >= {"en", "zh", "es"}
    assert list(text.LANGUAGES)[0] == "en"


@pytest.mark.parametrize(
    ("accepted", "name"),
    [
        ("zh-CN,en;q=0.8", "zh"),
        ("es-MX,es;q=0.9,en;q=0.8", "es"),
        ("de,en;q=0.8,zh;q=0.5", "en"),
        ("EN-us", "en"),
        ("est", "en"),
        ("", "en"),
    ],
)
def test_the_browser_chooses(accepted, name):
    assert text.language(accepted) is text.LANGUAGES[name]


def test_no_word_is_left_over():
    """Each is named by the page's code; choices, stages and tools elsewhere."""
    code = "".join(file.read_text("utf-8") for file in WEB.glob("*.py"))
    built = r"(stage|at|edit|laid)_\w+"
    unused = [
        key
        for key in ENGLISH
        if not re.search(rf"""["']{key}["']""", code) and not re.fullmatch(built, key)
    ]
    assert unused == []
