"""Sizes for shops, and a user's own in a file."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import Output, SettingsError, layout, render, sizes
from tests.conftest import ellipse
from tests.test_render import cut


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write the user's file."""
    monkeypatch.setenv("WISP_HOME", str(tmp_path))
    return lambda text: (tmp_path / "sizes.toml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", sizes.SHOPS)
def test_a_shops_picture_has_its_size_and_its_subject(name, own):
    preset = sizes.SHOPS[name]
    picture = render.render(cut(ellipse(64, 96)), Output(size=name))
    width, height = preset.size
    assert picture.shape == (height, width, 3 if preset.background else 4)
    if preset.background:
        assert picture[0, 0].tolist() == [255, 255, 255]
        seen = (picture != 255).any(2).astype(np.float32)
    else:
        seen = np.asarray(picture[..., 3] / 255, np.float32)
    left, top, right, bottom = layout.subject_box(seen)
    assert max((right - left) / width, (bottom - top) / height) == pytest.approx(
        preset.scale, abs=0.01
    )
    assert left + right == pytest.approx(width, abs=0.02 * width)


def test_a_users_own_sizes(own):
    own('[Banner]\nsize = "1200x400"\nscale = "80%"\n[ebay]\nsize = "500x500"\n')
    assert sizes.preset("banner") == sizes.Preset((1200, 400), 0.8)
    assert sizes.preset("ebay").size == (500, 500)  # in place of the shop's
    assert sizes.preset("amazon") == sizes.SHOPS["amazon"]
    own('[night]\nsize = "600x600"\nbackground = "gradient:#000,#00f"\n')
    picture = render.render(cut(ellipse(64, 96)), Output(size="night"))
    assert picture[0, 0, 2] < 20 and picture[-1, -1, 2] > 230


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[banner", "sizes.toml"),
        ("banner = 3", "a table of texts"),
        ("[banner]\nsize = 1200", "a table of texts"),
        ('[banner]\nscale = "80%"', "has a size"),
        ('[banner]\nsize = "2x2"', "10..10000"),
        ('[banner]\nsize = "amazon"', "1200x400"),
        ('[banner]\nsize = "900x900"\nscale = "much"', "percentage"),
        ('[banner]\nsize = "900x900"\nbackground = "/etc/passwd"', "no colour"),
        ('[banner]\nsize = "900x900"\nshadow = "1"', "background, scale, size"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(own, text, says):
    own(text)
    with pytest.raises(SettingsError, match=says):
        sizes.preset("banner")
    assert sizes.preset("900x600").size == (900, 600)  # which needs no file


def test_without_a_home_there_are_the_shops(monkeypatch):
    def nowhere():
        raise SettingsError("no home")

    monkeypatch.setattr("pipeline.models.store.home", nowhere)
    assert sizes.presets() == sizes.SHOPS
