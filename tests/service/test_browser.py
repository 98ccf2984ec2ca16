"""The page in a real browser: Chromium, driven by Selenium."""

import os
import shutil
import time
from pathlib import Path

import pytest
from skimage import data

from tests.service.conftest import encoded, opened
from tests.service.live import Live

webdriver = pytest.importorskip("selenium.webdriver", reason="needs pip install selenium")
pytest.importorskip("gradio", reason="the page needs pip install 'wisp[serve]'")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
if not BROWSER or not DRIVER:
    pytest.skip("chromium and chromedriver are not installed", allow_module_level=True)

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Everything but this machine is nowhere: what the page needs from outside would be missing.
_FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]


class Page:
    """A browser on the page, and patience."""

    def __init__(self, profile: Path, downloads: Path, language: str = "en-US") -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for flag in (*_FLAGS, f"--user-data-dir={profile}", "--window-size=1280,1000"):
            options.add_argument(flag)
        options.add_argument(f"--accept-lang={language}")
        options.add_argument(f"--lang={language}")
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        service = webdriver.ChromeService(DRIVER)
        self.driver = webdriver.Chrome(options=options, service=service)
        self.downloads = downloads

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.wait(lambda: self.find("#wisp-photo input[type=file]"))

    def find(self, selector: str):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return " ".join(element.text for element in self.find(selector))

    def wait(self, condition, seconds: float = 60):
        deadline = time.monotonic() + seconds
        while True:
            try:
                if found := condition():
                    return found
            except Exception as error:  # elements come and go while the page draws itself
                if time.monotonic() > deadline:
                    raise AssertionError("it did not come") from error
            assert time.monotonic() < deadline, self.driver.page_source[-3000:]
            time.sleep(0.1)

    def tab(self, number: int) -> None:
        self.click("#wisp-tabs button[role=tab]", number)

    def click(self, selector: str, number: int = 0) -> None:
        # While the page is laid out the button may be drawn anew, or something may lie over it and
        # the click is refused.
        def clicked() -> bool:
            element = self.find(selector)[number]
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.wait(clicked)

    def segment(self, box: str, value: str) -> None:
        (choice,) = self.find(f"{box} input[value='{value}']")
        self.driver.execute_script("arguments[0].click()", choice)

    def files(self) -> list[Path]:
        return [path for path in self.downloads.iterdir() if path.suffix != ".crdownload"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, photo) -> Path:
    place = tmp_path_factory.mktemp("browser")
    (place / "astronaut.jpg").write_bytes(photo)
    (place / "coffee.jpg").write_bytes(encoded(data.coffee()))
    (place / "broken.jpg").write_bytes(photo[:1000])
    (place / "downloads").mkdir()
    return place


@pytest.fixture(scope="module")
def server(nets, place):
    server = Live(nets, place / "data")
    yield server
    server.stop(9)


@pytest.fixture(scope="module")
def page(server, place):
    page = Page(place / "profile", place / "downloads")
    page.open(server.url)
    yield page
    page.driver.quit()


def test_upload_shows_the_cutout_before_and_after(page, place):
    page.find("#wisp-photo input[type=file]")[0].send_keys(str(place / "astronaut.jpg"))
    page.wait(lambda: page.find("#wisp-view .ba"))
    page.wait(lambda: "512 × 512 px" in page.text("#wisp-status"))
    assert "patches redrawn" in page.text("#wisp-status")
    before, after = page.find("#wisp-view .pane-compare img")
    assert page.driver.execute_script("return arguments[0].naturalWidth", before) == 512
    assert page.driver.execute_script("return arguments[0].naturalWidth", after) == 512


def test_the_slider_moves_by_keyboard_and_by_mouse(page):
    (slider,) = page.find(".pane-compare input[type=range]")
    (box,) = page.find(".pane-compare .ba")

    def where() -> float:
        return float(
            page.driver.execute_script(
                "return parseFloat(arguments[0].style.getPropertyValue('--x'))", box
            )
        )

    assert where() == 50
    slider.send_keys(Keys.ARROW_RIGHT * 10)
    assert where() == 55
    slider.send_keys(Keys.HOME)
    assert where() == 0
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    width = box.size["width"]
    actions = webdriver.ActionChains(page.driver)
    actions.move_to_element_with_offset(slider, round(width * 0.25), 0).click().perform()
    assert 65 < where() < 85


def test_views_are_chosen_and_show_themselves(page):
    for view in ("cutout", "edge", "alpha", "roi", "beside", "compare"):
        page.segment("#wisp-views", view)
        page.wait(lambda view=view: page.find(f".pane-{view}")[0].is_displayed())
        shown = [pane for pane in page.find(".pane") if pane.is_displayed()]
        assert len(shown) == 1


def test_refinement_off_and_on(page):
    page.click("#one-refine input[type=checkbox]")
    page.wait(lambda: "no refinement" in page.text("#wisp-status"))
    page.click("#one-refine input[type=checkbox]")
    page.wait(lambda: "patches redrawn" in page.text("#wisp-status"))


def test_background_and_download(page):
    page.segment("#one-background", "blur")
    page.segment("#one-format", "jpg")
    page.wait(lambda: page.find("#wisp-download")[0].is_enabled())
    time.sleep(1)

    def fetched():
        page.click("#wisp-download")
        time.sleep(1)
        return [path for path in page.files() if path.suffix == ".jpg"]

    (file,) = page.wait(fetched)[:1]
    picture = opened(file.read_bytes())
    assert (picture.format, picture.size, picture.mode) == ("JPEG", (512, 512), "RGB")


def test_errors_are_shown_to_the_user(page, place):
    page.driver.refresh()
    page.wait(lambda: page.find("#wisp-photo input[type=file]"))
    page.find("#wisp-photo input[type=file]")[0].send_keys(str(place / "broken.jpg"))
    page.wait(lambda: "broken" in page.text(".toast-body, .toast-text, [class*=toast]"))


def test_batch_with_one_that_fails(page, place):
    page.tab(1)
    names = [str(place / name) for name in ("astronaut.jpg", "broken.jpg", "coffee.jpg")]
    (box,) = page.wait(lambda: page.find("#wisp-files input[type=file]"))
    box.send_keys("\n".join(names))
    page.wait(lambda: "coffee" in page.text("#wisp-files"))
    page.click("#wisp-batch")
    page.wait(lambda: "2 done, 1 failed" in page.text("#wisp-summary"))
    assert len(page.find("#wisp-rows tr.done")) == 2
    assert "broken" in page.text("#wisp-rows tr.failed")


def test_history_survives_a_restart_and_deletes(page, nets, place, server):
    port = server.url.rpartition(":")[2]
    server.stop(9)
    again = Live(nets, place / "data", port=port)
    server.process = again.process
    page.open(again.url)
    page.tab(2)
    page.wait(lambda: page.find("#wisp-history img"))
    count = len(page.find("#wisp-history img"))
    page.click("#wisp-history button")
    page.wait(lambda: "astronaut" in page.text("#wisp-chosen"))
    page.wait(lambda: page.find("#wisp-delete")[0].is_enabled())
    page.click("#wisp-delete")
    page.wait(lambda: len(page.find("#wisp-history img")) == count - 1)


def test_system_shows_models_and_diagnosis(page):
    page.tab(3)
    page.wait(lambda: "SHA-256" in page.text("#wisp-facts"))
    assert "tiny" in page.text("#wisp-facts")


def test_dark_by_button_and_remembered(page):
    def dark() -> bool:
        return "dark" in page.find("body")[0].get_attribute("class")

    was = dark()
    page.driver.refresh()  # what the page has to say lies over the button for some seconds
    page.wait(lambda: page.find("#wisp-photo input[type=file]"))
    page.click("#wisp-dark")
    page.wait(lambda: dark() != was)
    page.driver.refresh()
    page.wait(lambda: page.find("#wisp-photo input[type=file]"))
    time.sleep(1)
    assert dark() != was


def test_a_phone_needs_no_sideways_scrolling(page):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for number in range(4):
        page.tab(number)
        time.sleep(0.5)
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 390
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_everything_is_reached_by_the_tab_key(page):
    page.tab(0)
    page.driver.execute_script("document.activeElement.blur()")
    body = page.find("body")[0]
    seen: set[str | None] = set()
    for _ in range(40):
        body.send_keys(Keys.TAB) if not seen else page.driver.switch_to.active_element.send_keys(
            Keys.TAB
        )
        active = page.driver.switch_to.active_element
        holder = page.driver.execute_script(
            "return arguments[0].closest('[id^=wisp],[id^=one]')?.id", active
        )
        seen.add(holder)
    assert {"wisp-photo", "one-refine", "one-background", "wisp-cut", "wisp-views"} <= seen


def test_nothing_is_fetched_from_elsewhere(page):
    names = page.driver.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert names
    outside = [name for name in names if "127.0.0.1" not in name and not name.startswith("data:")]
    assert outside == []


def test_in_chinese(server, place):
    page = Page(place / "profile-zh", place / "downloads", "zh-CN")
    try:
        page.open(server.url)
        page.wait(lambda: "单张" in page.text("#wisp-tabs"))
        assert "抠图" in page.text("#wisp-cut")
        page.click("#wisp-cut")
        page.wait(lambda: "请先选择一张图片" in page.text("[class*=toast]"))
    finally:
        page.driver.quit()
    assert os.path.isdir(place)
