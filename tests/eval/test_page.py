"""The report's page in a real browser: Chromium, driven by Selenium, with no network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

webdriver = pytest.importorskip("selenium.webdriver", reason="needs pip install selenium")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
if not BROWSER or not DRIVER:
    pytest.skip("chromium and chromedriver are not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, report: tuple[Path, Result]) -> Any:
    """The browser, on the report of the built-in set."""
    browser.set_window_size(1280, 1000)
    browser.get((report[0] / "index.html").as_uri())
    return browser


def methods(page: Any) -> list[str]:
    """The methods in the order of the table."""
    return page.execute_script(
        "return [...document.querySelectorAll('#table tbody tr')]"
        ".map(row => row.cells[0].innerText.split('\\n')[0].replace(/\\d failed/, '').trim())"
    )


def test_nothing_is_asked_of_anyone_and_nothing_fails(page: Any) -> None:
    messages = [json.loads(line["message"])["message"] for line in page.get_log("performance")]
    asked = {
        message["params"]["request"]["url"].partition(":")[0]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    # What the browser asks of itself ("chrome", "chrome-untrusted") differs by version.
    outside = {scheme for scheme in asked if not scheme.startswith("chrome")}
    assert outside <= {"file", "data", "about"}
    assert [line for line in page.get_log("browser") if line["level"] == "SEVERE"] == []


def test_a_heading_sorts_the_table_and_sorts_it_back(page: Any) -> None:
    psnr = page.find_element("css selector", "#table th[data-f=psnr]")
    psnr.click()
    assert methods(page) == ["true", "half<b>"]
    page.find_element("css selector", "#table th[data-f=psnr]").click()
    assert methods(page) == ["half<b>", "true"]
    name = page.find_element("css selector", "#table th[data-f='']")
    name.click()
    assert methods(page) == ["half<b>", "true"]


def test_the_knife_moves_in_every_crop_and_the_ground_changes(page: Any) -> None:
    page.execute_script(
        "const knife = document.querySelector('#edges input');"
        "knife.value = 20; knife.dispatchEvent(new Event('input'));"
    )
    cuts = page.execute_script(
        "return [...document.querySelectorAll('#edges .view')]"
        ".map(view => view.style.getPropertyValue('--cut'))"
    )
    assert cuts == ["20%"] * 3
    grounds = []
    for button in page.find_elements("css selector", "#behind button"):
        page.execute_script("arguments[0].click()", button)
        pane = page.find_element("css selector", "#edges .pane.left")
        grounds.append(pane.value_of_css_property("background-color"))
    assert grounds == ["rgba(31, 166, 74, 1)", "rgba(0, 0, 0, 1)", "rgba(255, 255, 255, 1)"]


def test_a_region_changes_the_table_and_the_charts(page: Any) -> None:
    before = page.find_element("css selector", "#table tbody").text
    for button in page.find_elements("css selector", "#region button"):
        if button.text.startswith("edge"):
            button.click()
    assert page.find_element("css selector", "#table tbody").text != before
    bars = page.find_elements("css selector", "#bars rect")
    assert len(bars) == 10 + 9  # one image failed


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(page: Any, width: int) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    page.refresh()
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    # Charts are drawn pixel for pixel: their writing is not scaled down.
    wide, real = page.execute_script(
        "const chart = document.querySelector('#bars svg');"
        "return [chart.viewBox.baseVal.width, chart.getBoundingClientRect().width];"
    )
    assert wide == pytest.approx(real, abs=1)
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
