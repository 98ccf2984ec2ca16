"""The description of an output, and the text that it is made from."""

import dataclasses

import numpy as np
import pytest

from pipeline import Output, SettingsError, UnreadableImage, UnsupportedFormat, output
from pipeline.cli import options


@pytest.mark.parametrize(
    ("spec", "colour"),
    [
        ("white", (255, 255, 255)),
        ("#1e90ff", (30, 144, 255)),
        ("#fff", (255, 255, 255)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
        ("rgb(999, -5, 300)", (255, 0, 255)),  # as CSS has it
        ("rgb(1 2 3)", (1, 2, 3)),
        ("rgb(30 144 255 / 50%)", (30, 144, 255, 128)),
        ("rgba(30, 144, 255, 0.5)", (30, 144, 255, 128)),
        ("rgba(30, 144, 255, 128)", (30, 144, 255, 128)),
        ("hsl(0, 500%, 50%)", (255, 0, 0)),
        ("hsl(-240deg 100% 50%)", (0, 255, 0)),
        ("rgb(50.4%, 0%, 150%)", (128, 0, 255)),
        ("hsla(120deg 100% 50% / 0.5)", (0, 255, 0, 128)),
        ((4, 5, 6), (4, 5, 6)),
    ],
)
def test_colours(spec, colour):
    assert output.layer(spec) == colour


def test_wrong_backgrounds(tmp_path):
    with pytest.raises(SettingsError, match="no colour"):
        output.layer("whiteish")
    assert output.layer("#ffffff00") is output.layer("transparent") is None
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(UnreadableImage, match=r"notes\.txt"):
        output.layer(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize("margin", ["px", "-5px", "5em", "", "1e3px", "٥px%"])
def test_wrong_margins(margin):
    with pytest.raises(SettingsError, match="20px or 5%"):
        Output(margin=margin)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"format": "gif"}, "png, webp, tiff, jpg"),
        ({"quality": 50, "format": "png"}, "lossless"),
        ({"format": "webp", "quality": 0}, "1..100"),
        ({"format": "webp", "quality": 101}, "1..100"),
        ({"only_mask": True, "background": "white"}, "one of the two"),
        ({"only_mask": True, "format": "zip"}, "ask for png"),
        ({"background": "whiteish"}, "no colour"),
    ],
)
def test_wrong_outputs(wrong, says):
    with pytest.raises(SettingsError, match=says):
        Output(**wrong)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"fit": "stretch"}, "fit must be one of fill, fit, tile"),
        ({"shadow": 2, "background": "white"}, "shadow must lie within"),
        ({"crop": True, "scale": 0.5}, "leaves no room"),
        ({"scale": 2}, "10%..100%"),
        ({"scale": "5%"}, "10%..100%"),
        ({"margin": 5}, "text such as 20px"),
        ({"size": 5}, "1600x1200"),
        ({"size": ("a", "b")}, "1600x1200"),
        ({"position": "up"}, "percentage"),
        ({"background": (1, 2, 300)}, "three levels of 0..255"),
        ({"background": "whit"}, "did you mean white"),
        ({"background": "rgb(" + " " * 100_000 + "x"}, "too long"),
        ({"background": ("a", "b", "c")}, "three levels of 0..255"),
        ({"position": (0.5, 1.5)}, "0..1"),
        ({"linear": True}, "needs a background"),
        ({"size": "9x9"}, "10..10000 px"),
        ({"size": "amazone"}, "did you mean amazon"),
        ({"size": "poster"}, "1600x1200, nor one of amazon"),
        ({"size": "eu"}, "ask for the ID photo eu"),
        ({"size": "٥٥٥x٥٥٥"}, "1600x1200"),
        ({"size": "amazon", "crop": True}, "without crop"),
        ({"size": (600, 600), "id_photo": "eu"}, "without crop and id_photo"),
        ({"size": "600x400", "margin": "50%"}, "leaves no room in 600x400"),
        ({"size": "600x400", "margin": "0 300px"}, "leaves no room"),
        ({"id_photo": "mars"}, "an ID photo is one of eu, us"),
        ({"id_photo": "eu", "crop": True}, "its own size"),
        ({"id_photo": "eu", "only_mask": True}, "its own size"),
    ],
)
def test_outputs_that_cannot_be(wrong, message):
    with pytest.raises(SettingsError, match=message):
        Output(**wrong)


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.PNG", "png"), ("b.c.jpeg", "jpg"), ("x/y.tif", "tiff"), ("a.webp", "webp")],
)
def test_format_of_a_name(name, format):
    assert output.format_of(name) == format


@pytest.mark.parametrize("name", ["a.gif", "a", ".png"])
def test_format_of_a_name_that_has_none(name):
    with pytest.raises(UnsupportedFormat, match="png, "):
        output.format_of(name)


def test_every_field_is_an_option_of_the_command():
    names = {parameter for option in options.OPTIONS for parameter in option_names(option)}
    assert names == {field.name for field in dataclasses.fields(Output)} - {"format"}


def option_names(option) -> set[str]:
    @option
    def command() -> None: ...

    return {parameter.name for parameter in command.__click_params__}


def test_auto_is_png_where_something_is_transparent():
    assert Output(format="auto").file_format == "png"
    assert Output(format="auto", background="white").file_format == "jpg"
    assert Output(format="auto", background="#ffffff80").file_format == "png"
    assert Output(format="auto", only_mask=True).ending == ".jpg"


def test_a_size_brings_what_a_shop_asks_for():
    shop = Output(size=" Amazon")
    assert shop.canvas == (2000, 2000) and shop.scale == 0.9
    assert shop.background == (255, 255, 255)
    own = Output(size="amazon", background="blur", scale=0.5)
    assert own.background == "blur" and own.scale == 0.5
    assert Output(size="amazon", only_mask=True).background is None
    assert Output(size="1600x400").key == Output(size=(1600, 400)).key != Output().key
    assert Output(size=(1600, 400)).scale == 1
    assert dataclasses.replace(shop, background="red").canvas == (2000, 2000)
    assert Output(id_photo="us").canvas == (602, 602) and Output().canvas is None


def test_equal_outputs_have_equal_keys():
    tile = np.zeros((2, 2, 3), np.uint8)
    assert Output(background=tile).key == Output(background=tile.copy()).key
    others = [
        Output(),
        Output(background=tile),
        Output(background=tile + 1),
        Output(background=b"picture"),
        Output(background="white"),
        Output(crop=True),
        Output(position=(0.5, 0.5)),
    ]
    assert len({one.key for one in others}) == len(others)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("center", (0.5, 0.5)),
        ("10% 20%", (0.1, 0.2)),
        ("10%,20%", (0.1, 0.2)),
        ("left", (0.0, 0.5)),
        ("top", (0.5, 0.0)),
        ("bottom right", (1.0, 1.0)),
        ("center top", (0.5, 0.0)),
        ("20% left", (0.0, 0.2)),
        ("original", None),
        ("", None),
    ],
)
def test_positions(text, shares):
    assert output.position(text) == shares


@pytest.mark.parametrize("text", ["10", "110%", "-1%", "1% 2% 3%", "up", "left left", "nan%"])
def test_what_is_no_position(text):
    with pytest.raises(SettingsError):
        output.position(text)
