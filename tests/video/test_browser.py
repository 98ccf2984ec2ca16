"""The WebM in a real browser, over a coloured page: Chromium, driven by Selenium."""

from __future__ import annotations

import shutil
from fractions import Fraction

import numpy as np
import pytest

from tests.video.conftest import av  # noqa: F401 (skips where clips cannot be made)
from wisp.video.clip import Colour
from wisp.video.coding import Encoder, Picture, coding_for

webdriver = pytest.importorskip("selenium.webdriver", reason="needs pip install selenium")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
if not BROWSER or not DRIVER:
    pytest.skip("chromium and chromedriver are not installed", allow_module_level=True)

SIDE = 128
PAGE = """<!doctype html>
<body style="margin:0; background:rgb(0,0,255)">
<video src="clip.webm" muted></video>
<script>
window.shown = false;
const video = document.querySelector("video");
video.requestVideoFrameCallback(() => { window.shown = true; });
</script>"""


def test_alpha_shows_over_a_coloured_page(tmp_path):
    alpha = np.zeros((SIDE, SIDE), np.float32)
    alpha[:, SIDE // 4 :] = 0.5
    alpha[:, SIDE // 2 :] = 1
    red = np.zeros((SIDE, SIDE, 3), np.uint8)
    red[...] = (220, 40, 30)
    path = tmp_path / "clip.webm"
    coding = coding_for(path, alpha=True)
    encoder = Encoder(path, coding, (SIDE, SIDE), Fraction(25), Fraction(1, 1000), Colour())
    for number in range(5):
        encoder.write(Picture(red, alpha), 40 * number)
    encoder.close()
    (tmp_path / "page.html").write_text(PAGE)

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--no-first-run", "--disable-background-networking", "--disable-component-update",
                 "--window-size=400,300", f"--user-data-dir={tmp_path / 'profile'}"):  # fmt: skip
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get((tmp_path / "page.html").as_uri())
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(driver, 60).until(lambda d: d.execute_script("return window.shown"))
        shot = _pixels(driver.get_screenshot_as_png())
    finally:
        driver.quit()
    for x, wanted in (
        (16, (0, 0, 255)),  # nothing of the clip
        (48, (110, 20, 142)),  # half of the clip, half of the page: straight, not premultiplied
        (96, (220, 40, 30)),
        (200, (0, 0, 255)),
    ):
        colour = shot[40:90, x - 4 : x + 4].reshape(-1, 3).mean(0)
        assert np.abs(colour - wanted).max() < 8, (x, colour)


def _pixels(png: bytes) -> np.ndarray:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.float32)
