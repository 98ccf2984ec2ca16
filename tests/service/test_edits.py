"""What the editor sends, and what the controls of the page make of an output."""

import asyncio
import json
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs pip install 'wispcut[serve]'")

from pipeline import Output
from pipeline.errors import WispError
from pipeline.retouch import Stroke
from pipeline.selection import EVERYTHING, Selection
from service.edits import parse, parse_strokes
from service.web import options_form

STROKE = {"points": [[0.1, 0.2], [0.3, 0.4]], "width": 0.05, "restore": True}


def test_edits_are_a_selection_and_strokes():
    assert parse("") == parse(None) == parse("{}") == (EVERYTHING, ())
    sent = {"keep": [[0.1, 0.2]], "drop": [[0.5, 0.5]], "box": [0, 0, 0.5, 1], "strokes": [STROKE]}
    wanted, strokes = parse(json.dumps(sent))
    assert wanted == Selection(box=(0, 0, 0.5, 1), points=((0.1, 0.2),), not_points=((0.5, 0.5),))
    assert strokes == (Stroke(((0.1, 0.2), (0.3, 0.4)), 0.05, restore=True, exact=False),)


@pytest.mark.parametrize(
    "sent",
    [
        "[]",
        "nothing",
        "[" * 5000,
        '{"keep": 1}',
        '{"keep": [[1]]}',
        '{"keep": [["x", 0]]}',
        '{"keep": [[-1, 0]]}',
        '{"box": [1, 1, 0, 0]}',
        '{"box": [0, 0, NaN, 1]}',
        json.dumps({"keep": [[10**400, 0]]}),
        json.dumps({"box": [0, 0, 10**400, 1]}),
        json.dumps({"strokes": [{**STROKE, "width": 10**400}]}),
        '{"keep": [[%s, 0]]}' % ("1" * 5000),
        '{"strokes": [{}]}',
        '{"strokes": [{"points": [], "width": 0.1, "restore": true}]}',
        '{"strokes": [{"points": [[0, Infinity]], "width": 0.1, "restore": true}]}',
        json.dumps({"strokes": [{**STROKE, "width": 7}]}),
        json.dumps({"strokes": [STROKE] * 101}),
        json.dumps({"strokes": [{**STROKE, "restore": "false"}]}),
        json.dumps({"strokes": [{**STROKE, "exact": 0}]}),
        json.dumps({"strokes": STROKE}),
        json.dumps({"keep": [[0.5, 0.5]] * 21}),
        json.dumps({"strokes": [{**STROKE, "points": [[0.123456, 0.123456]] * 9000}]}),
    ],
)
def test_what_are_no_edits_is_refused(sent):
    with pytest.raises(WispError):
        parse(sent)


def test_strokes_alone_are_a_list():
    assert parse_strokes("[]") == ()
    assert parse_strokes(json.dumps([STROKE])) == parse(json.dumps({"strokes": [STROKE]}))[1]
    huge = json.dumps([{**STROKE, "points": [[10**400, 0]]}])
    for wrong in ("{}", '""', "1", "x", "[1]", '[{"points": [[0, 0]], "width": 0.1}]', huge):
        with pytest.raises(WispError, match="list"):
            parse_strokes(wrong)


PLAIN = {
    "refine": True,
    "model": "wisp",
    "background": "transparent",
    "colour": "#ffffff",
    "picture": None,
    "crop": False,
    "margin": 5,
    "format": "png",
    "second_colour": "#c8d0d8",
    "fit": "fill",
    "scale": 0,
    "position": "original",
    "shadow": 0,
    "size": "",
    "id_photo": "",
    "quality": 0,
    "linear": False,
    "opaque": False,
    "binary": False,
    "only_mask": False,
    "largest": False,
    "filled": False,
}


def test_the_controls_begin_with_what_is_usual():
    import gradio as gr

    engine: Any = SimpleNamespace(names=lambda: {"wisp": "wisp"}, default="wisp")
    page: Any = SimpleNamespace(engine=engine)
    with gr.Blocks():
        controls = options_form.controls(page, "x")
    assert {name: one.value for name, one in controls.items()} == PLAIN
    assert list(controls)[:8] == list(PLAIN)[:8]  # as clients have always sent them
    assert len(options_form.changes(controls)) == len(controls)


def output(**changes) -> Output:
    nobody: Any = None
    return asyncio.run(options_form.output(nobody, {**PLAIN, **changes}, nobody, nobody))


#: For each field of an output, the controls that change it.
CONTROLS: dict[str, dict[str, Any]] = {
    "format": {"format": "webp"},
    "quality": {"format": "webp", "quality": 50},
    "background": {"background": "blur"},
    "fit": {"fit": "tile"},
    "shadow": {"shadow": 0.4},
    "linear": {"background": "colour", "linear": True},
    "size": {"size": "ebay"},
    "id_photo": {"id_photo": "cn"},
    "crop": {"crop": True},
    "margin": {"crop": True, "margin": 12},
    "scale": {"scale": 80},
    "position": {"position": "bottom"},
    "only_mask": {"only_mask": True},
    "binary": {"binary": True},
    "opaque": {"opaque": True},
}


@pytest.mark.parametrize("name", [field.name for field in fields(Output)])
def test_every_field_of_an_output_has_a_control(name):
    assert getattr(output(**CONTROLS[name]), name) != getattr(output(), name)
    assert set(CONTROLS[name]) <= set(PLAIN)


def test_backgrounds():
    assert output(background="colour", colour="#ff0000").background == (255, 0, 0)
    mixed = output(background="gradient", colour="#ff0000", second_colour="rgba(0, 0, 255, 1)")
    assert output(background="gradient").background != mixed.background
    assert output().background is None
    for wrong in ({"background": "x"}, {"background": "picture"}, {"position": "x"}):
        with pytest.raises(WispError):
            output(**wrong)
    for colour in ("rgb(1.5", "rgb(a.b, 0, 0)", "rgb(1e999, 0.5, 0)", "rgb(nan, 0.5, 0)"):
        for wrong in ({"colour": colour}, {"second_colour": colour}):
            with pytest.raises(WispError, match="no colour"):
                output(background="gradient", **wrong)


def test_pieces_and_holes_go_with_what_was_pointed_at():
    box = Selection(box=(0, 0, 0.5, 1))
    assert options_form.selection(PLAIN, box) == box
    asked = options_form.selection({**PLAIN, "largest": True, "filled": True}, box)
    assert asked == Selection(box=(0, 0, 0.5, 1), keep="largest", holes="fill")
