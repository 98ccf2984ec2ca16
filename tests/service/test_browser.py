"""The page in a real browser: Chromium, driven by Selenium."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from pipeline.explain.figure import WIDTH
from pipeline.retouch import Stroke, reach
from pipeline.settings import Settings
from tests.service.conftest import encoded, opened
from tests.service.live import Live, import_model
from tests.tiny_u2net import tiny_u2net

webdriver = pytest.importorskip("selenium.webdriver", reason="needs pip install selenium")
pytest.importorskip("gradio", reason="the page needs pip install 'wispcut[serve]'")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
if not BROWSER or not DRIVER:
    pytest.skip("chromium and chromedriver are not installed", allow_module_level=True)

from selenium.webdriver.common.actions.action_builder import ActionBuilder  # noqa: E402
from selenium.webdriver.common.actions.mouse_button import MouseButton  # noqa: E402
from selenium.webdriver.common.actions.pointer_input import PointerInput  # noqa: E402
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin  # noqa: E402
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


# Runs in every page before its own scripts: tells when nothing is being asked, answered or drawn.
_REST = """
performance.setResourceTimingBufferSize(5000);
window.rest = { asked: 0, streams: 0, drawn: 0 };
const ask = window.fetch;
window.fetch = async (...given) => {
  rest.asked += 1;
  try {
    const answer = await ask(...given);
    // A stream ends when every event that it tells of has ended.
    answer.clone().arrayBuffer().catch(() => {}).finally(() => {
      rest.asked -= 1;
      rest.streams += answer.url.includes("/queue/data");
    });
    return answer;
  } catch (error) {
    rest.asked -= 1;
    throw error;
  }
};
new MutationObserver(() => { rest.drawn = performance.now(); }).observe(
  document, { subtree: true, childList: true, attributes: true, characterData: true },
);
// The first stream is the page's own load event: before it, nothing listens to what a user does.
rest.now = () => rest.streams > 0 && rest.asked === 0 && performance.now() - rest.drawn > 300;
"""


class Page:
    """A browser on the page, and patience: it acts when the page has come to rest."""

    def __init__(self, profile: Path, downloads: Path, language: str = "en-US") -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for flag in (*_FLAGS, f"--user-data-dir={profile}", "--window-size=1280,1000"):
            options.add_argument(flag)
        options.add_argument(f"--accept-lang={language}")
        options.add_argument(f"--lang={language}")
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        service = webdriver.ChromeService(DRIVER)
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _REST})
        self.downloads = downloads

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.rest()

    def asked(self) -> set[str]:
        """Every URL that was asked for since the last call, had it an answer or not."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return {
            entry["params"]["request"]["url"]
            for entry in events
            if entry["method"] == "Network.requestWillBeSent"
        }

    def reload(self) -> None:
        self.driver.refresh()
        self.rest()

    def rest(self) -> None:
        self.wait(lambda: self.run("return rest.now()"))

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return " ".join(element.text for element in self.find(selector))

    def toast(self) -> str:
        return self.text("[class*=toast]")

    def shown(self, selector: str) -> list[str]:
        """The classes of what is visible."""
        return [e.get_attribute("class") for e in self.find(selector) if e.is_displayed()]

    def wait(self, condition, seconds: float = 120):
        deadline = time.monotonic() + seconds
        while True:
            try:
                if value := condition():
                    return value
            except Exception as error:  # elements come and go while the page draws itself
                if time.monotonic() > deadline:
                    raise AssertionError(f"it did not come: {self.toast()}") from error
            assert time.monotonic() < deadline, self.toast() + self.driver.page_source[-3000:]
            time.sleep(0.1)

    def tab(self, name: str) -> None:
        self.click(f"#tab-{name}-button")
        self.wait(lambda: self.find(f"#tab-{name}")[0].is_displayed())
        self.rest()

    def click(self, selector: str) -> None:
        # Something may lie over it, and the click is refused.
        def clicked() -> bool:
            element = self.find(selector)[0]
            self.run("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.rest()
        self.wait(clicked)

    def upload(self, box: str, *files: Path) -> None:
        def sent() -> bool:
            self.find(f"{box} input[type=file]")[0].send_keys("\n".join(map(str, files)))
            return True

        self.rest()
        self.wait(sent)

    def segment(self, box: str, value: str) -> None:
        """Choose one of the choices that stand beside each other: its input is not to be seen."""

        def chosen() -> bool:
            self.run("arguments[0].click()", self.find(f"{box} input[value='{value}']")[0])
            return True

        self.rest()
        self.wait(chosen)

    def choose(self, box: str, value: str) -> None:
        """Choose from a list, by its name."""
        self.click(f"{box} input")
        (entry,) = self.find(f"{box} input")
        entry.send_keys(Keys.CONTROL + "a")
        entry.send_keys(value, Keys.ENTER)
        self.wait(lambda: self.find(f"{box} input")[0].get_property("value") == value)

    def download(self, button: str = "#wisp-download") -> bytes:
        """Press a button that hands out the cutout of the astronaut, and return the file."""
        self.wait(lambda: self.find(button)[0].is_enabled())
        for file in self.downloads.glob("astronaut-cutout*"):
            file.unlink()
        self.click(button)
        return self.fetched("astronaut-cutout*")

    def fetched(self, pattern: str) -> bytes:
        """A file that was downloaded, once it is whole."""

        def whole() -> bytes | None:
            if list(self.downloads.glob("*.crdownload")):
                return None
            # The browser reserves the name with an empty file.
            return next(
                (data for p in self.downloads.glob(pattern) if (data := p.read_bytes())), None
            )

        return self.wait(whole)


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
    import_model(place / "data", tiny_u2net(place / "inner.onnx"), "inner")
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
    page.upload("#wisp-photo", place / "astronaut.jpg")
    page.wait(lambda: "512 × 512 px" in page.text("#wisp-status"))
    assert "patches redrawn" in page.text("#wisp-status")
    page.wait(
        lambda: (
            [page.run("return arguments[0].naturalWidth", image) for image in _compared(page)]
            == [512, 512]
        )
    )


def _compared(page: Page):
    return page.find("#wisp-view .pane-compare img")


def test_the_slider_moves_by_keyboard_and_by_mouse(page):
    page.rest()
    (slider,) = page.find(".pane-compare input[type=range]")
    (box,) = page.find(".pane-compare .ba")

    def where() -> float:
        return float(page.run("return parseFloat(arguments[0].style.getPropertyValue('--x'))", box))

    assert where() == 50
    slider.send_keys(Keys.ARROW_RIGHT * 10)
    page.wait(lambda: where() == 55)
    slider.send_keys(Keys.HOME)
    page.wait(lambda: where() == 0)
    page.run("arguments[0].scrollIntoView({block: 'center'})", box)
    width = box.size["width"]

    def moved() -> bool:
        actions = webdriver.ActionChains(page.driver)
        actions.move_to_element_with_offset(slider, round(width * 0.25), 0).click().perform()
        return 65 < where() < 85

    page.wait(moved)


def test_views_are_chosen_and_show_themselves(page):
    for view in ("cutout", "edge", "alpha", "roi", "beside", "compare"):
        page.segment("#wisp-views", view)
        page.wait(lambda view=view: page.shown(".pane") == [f"pane pane-{view}"])


def test_refinement_off_and_on(page):
    page.click("#one-refine input[type=checkbox]")
    page.wait(lambda: "no refinement" in page.text("#wisp-status"))
    page.click("#one-refine input[type=checkbox]")
    page.wait(lambda: "patches redrawn" in page.text("#wisp-status"))


def test_background_and_download(page):
    def result() -> str:
        return page.find("#wisp-view .pane-cutout img")[0].get_attribute("src")

    for box, value in (("#one-background", "blur"), ("#one-format", "jpg")):
        page.rest()
        before = result()
        page.segment(box, value)
        page.wait(lambda before=before: result() != before)
    page.click("#wisp-download")
    picture = opened(page.fetched("*.jpg"))
    assert (picture.format, picture.size, picture.mode) == ("JPEG", (512, 512), "RGB")


def test_errors_are_shown_to_the_user(page, place):
    page.reload()
    page.upload("#wisp-photo", place / "broken.jpg")
    page.wait(lambda: "broken" in page.toast())


class Editor:
    """The editor's canvas, pointed at in shares of the photo."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.segment("#wisp-views", "edit")
        page.wait(lambda: page.run("return Boolean(wispEditor.state.photo)"))
        page.rest()
        self.canvas = page.find("#wisp-editor canvas")[0]
        page.run("arguments[0].scrollIntoView({block: 'center'})", self.canvas)

    def at(self, x: float, y: float) -> tuple[int, int]:
        """From the middle of the canvas: the photo is a square in it."""
        side = min(self.canvas.size.values())
        return round((x - 0.5) * side), round((y - 0.5) * side)

    def on_screen(self, x: float, y: float) -> tuple[float, float]:
        """From the corner of what is seen of the page."""
        middle = """const box = arguments[0].getBoundingClientRect();
        return [box.left + box.width / 2, box.top + box.height / 2];"""
        left, top = self.page.run(middle, self.canvas)
        right, down = self.at(x, y)
        return left + right, top + down

    def drag(
        self,
        *places: tuple[float, float],
        kind: str = "mouse",
        button: int = MouseButton.LEFT,
    ) -> None:
        pointer = PointerInput(kind, kind)
        actions = ActionBuilder(self.page.driver, mouse=pointer, duration=20)
        for number, place in enumerate(places):
            x, y = self.at(*place)
            actions.pointer_action.move_to(self.canvas, x, y)
            if number == 0:
                actions.pointer_action.pointer_down(button)
        actions.pointer_action.pointer_up(button)
        actions.perform()

    def press(self, keys: str) -> None:
        self.canvas.send_keys(keys)

    def edits(self) -> dict:
        return self.page.run("return wispEditor.state.edits")

    def shift(self) -> tuple[float, float]:
        """How far the photo was moved, in CSS pixels."""
        return tuple(self.page.run("return [wispEditor.state.x, wispEditor.state.y]"))

    def farthest(self) -> tuple[float, float]:
        """How far it may be moved: to its border, and a finger's breadth beyond."""
        width, height = self.canvas.size["width"], self.canvas.size["height"]
        side = min(width, height) * self.page.run("return wispEditor.state.zoom")
        return tuple(max(0, (side - whole) / 2) + 40 for whole in (width, height))

    def settled(self, strokes: int) -> None:
        """Wait for the whole answer, the file too."""
        self.page.wait(lambda: self.page.run("return wispEditor.state.done") == strokes)
        self.page.rest()
        shown = "return +document.querySelector('#wisp-view .strokes').dataset.strokes"
        self.page.wait(lambda: self.page.run(shown) == strokes)
        self.page.rest()

    def alpha(self, x: float, y: float) -> int:
        """How opaque the cutout on the canvas is at a place."""
        script = """
        const image = wispEditor.state.cutout, sheet = document.createElement("canvas");
        [sheet.width, sheet.height] = [image.naturalWidth, image.naturalHeight];
        const pen = sheet.getContext("2d");
        pen.drawImage(image, 0, 0);
        const [x, y] = [arguments[0] * sheet.width, arguments[1] * sheet.height];
        return pen.getImageData(x, y, 1, 1).data[3];"""
        return self.page.run(script, x, y)

    def colour(self, x: float, y: float) -> tuple[int, int, int]:
        """What is seen at a place, with what lies behind."""
        self.page.run("arguments[0].scrollIntoView({block: 'center'})", self.canvas)
        seen = opened(self.canvas.screenshot_as_png).convert("RGB")
        right, down = self.at(x, y)
        red, green, blue = np.asarray(seen)[seen.height // 2 + down, seen.width // 2 + right]
        return int(red), int(green), int(blue)


@pytest.fixture
def editor(page, place) -> Editor:
    page.reload()
    page.upload("#wisp-photo", place / "astronaut.jpg")
    page.wait(lambda: "512 × 512 px" in page.text("#wisp-status"))
    return Editor(page)


@pytest.mark.parametrize("kind", ["mouse", "touch"])
def test_a_brush_erases_and_restores_and_is_undone(page, editor, kind):
    page.click("#wisp-editor [data-tool=restore]")
    editor.drag((0.5, 0.72), (0.6, 0.75), (0.7, 0.7), kind=kind)
    editor.settled(1)
    assert editor.alpha(0.6, 0.75) == 255
    page.click("#wisp-editor [data-tool=erase]")
    editor.drag((0.6, 0.7), (0.6, 0.8), kind=kind)
    editor.settled(2)
    assert editor.alpha(0.6, 0.75) == 0 and editor.alpha(0.5, 0.72) == 255
    page.click("#wisp-editor [data-deed=undo]")
    editor.settled(1)
    assert editor.alpha(0.6, 0.75) == 255
    page.click("#wisp-editor [data-deed=redo]")
    editor.settled(2)
    assert editor.alpha(0.6, 0.75) == 0
    # What is downloaded is what was drawn, and the history has it as the photo's one entry.
    file = page.download()
    alpha = np.asarray(opened(file))[..., 3]
    assert alpha[384, 307] == 0 and alpha[369, 256] == 255
    page.tab("history")
    page.wait(lambda: page.find("#wisp-history img"))
    page.rest()
    assert len(page.find("#wisp-history img")) == 1
    page.click("#wisp-history button")
    page.wait(lambda: "astronaut" in page.text("#wisp-chosen"))
    assert page.download("#wisp-fetch") == file
    page.tab("single")
    page.click("#wisp-editor [data-deed=reset]")
    editor.settled(0)


def test_far_from_a_stroke_the_file_stays_bit_for_bit(page, editor):
    before = np.asarray(opened(page.download())).astype(int)
    page.click("#wisp-editor [data-tool=erase]")
    editor.drag((0.4, 0.5), (0.5, 0.55))
    editor.settled(1)
    after = np.asarray(opened(page.download())).astype(int)
    (sent,) = editor.edits()["strokes"]
    stroke = Stroke(tuple(map(tuple, sent["points"])), sent["width"], sent["restore"])
    box = reach(stroke, (512, 512), (320, 320), Settings())
    rest = np.ones((512, 512), bool)
    rest[box.area] = False
    assert rest.mean() > 0.6 and before[rest][:, 3].any()
    assert np.array_equal(after[rest], before[rest])
    assert (after[box.area][..., 3] < before[box.area][..., 3]).any()


def test_strokes_that_follow_at_once_are_all_in_the_file(page, editor):
    page.click("#wisp-editor [data-tool=erase]")
    for y in (0.3, 0.5, 0.7):
        editor.drag((0.4, y), (0.5, y))
    editor.settled(3)
    assert [editor.alpha(0.45, y) for y in (0.3, 0.5, 0.7)] == [0, 0, 0]
    alpha = np.asarray(opened(page.download()))[..., 3]
    assert [alpha[round(512 * y), 230] for y in (0.3, 0.5, 0.7)] == [0, 0, 0]


@pytest.mark.parametrize("kind", ["mouse", "touch"])
def test_what_is_pointed_at_is_kept_or_with_the_other_tool_dropped(page, editor, kind):
    shown = "return wispEditor.state.cutout.src"
    before = page.run(shown)
    editor.drag((0.4, 0.3), kind=kind)
    page.wait(lambda: page.run(shown) != before)
    editor.settled(0)
    assert editor.edits()["keep"] == [pytest.approx([0.4, 0.3], abs=0.01)]
    kept = page.run(shown)
    page.click("#wisp-editor [data-tool=drop]")
    editor.drag((0.75, 0.25), kind=kind)
    page.wait(lambda: page.run(shown) != kept)
    editor.settled(0)
    assert editor.edits()["drop"] == [pytest.approx([0.75, 0.25], abs=0.01)]
    assert len(editor.edits()["keep"]) == 1


def test_alt_click_drops_and_the_right_button_does_nothing(page, editor):
    hand = webdriver.ActionChains(page.driver)
    hand.move_to_element_with_offset(editor.canvas, *editor.at(0.4, 0.3)).context_click().perform()
    hand = webdriver.ActionChains(page.driver).key_down(Keys.ALT)
    hand.move_to_element_with_offset(editor.canvas, *editor.at(0.8, 0.2)).click()
    hand.key_up(Keys.ALT).perform()
    page.wait(lambda: editor.edits()["drop"])
    editor.settled(0)
    assert editor.edits()["drop"] == [pytest.approx([0.8, 0.2], abs=0.01)]
    assert not editor.edits()["keep"]


@pytest.mark.parametrize("kind", ["mouse", "touch"])
@pytest.mark.parametrize("tool", ["keep", "box"])
def test_a_drag_is_a_box(page, editor, kind, tool):
    page.click(f"#wisp-editor [data-tool={tool}]")
    editor.drag((0.2, 0.2), (0.5, 0.5), (0.6, 0.7), kind=kind)
    page.wait(lambda: editor.edits()["box"])
    assert editor.edits()["box"] == pytest.approx([0.2, 0.2, 0.6, 0.7], abs=0.01)
    editor.settled(0)
    page.wait(lambda: editor.alpha(0.8, 0.9) == 0)
    assert not editor.edits()["keep"]


def test_of_what_contradicts_itself_the_later_counts(page, editor):
    def alt_click() -> None:
        alt = webdriver.ActionChains(page.driver).key_down(Keys.ALT)
        alt.move_to_element_with_offset(editor.canvas, *editor.at(0.4, 0.3))
        alt.click().key_up(Keys.ALT).perform()

    def asked(**expected: int) -> None:
        def counted() -> dict[str, int]:
            edits = editor.edits()
            return {name: len(edits[name] or ()) for name in ("keep", "drop", "box")}

        page.wait(lambda: counted() == {"keep": 0, "drop": 0, "box": 0} | expected)
        editor.settled(0)
        assert not page.find(".toast-body.error")

    editor.drag((0.4, 0.3))
    asked(keep=1)
    alt_click()
    asked(drop=1)
    editor.drag((0.4, 0.3))
    asked(keep=1)
    editor.drag((0.5, 0.5), (0.8, 0.8))
    asked(box=4)
    editor.drag((0.6, 0.6))
    asked(keep=1, box=4)
    alt_click()  # where nothing stays anyway
    asked(keep=1, drop=1, box=4)
    editor.drag((0.2, 0.6))
    asked(keep=2, drop=1)
    page.click("#wisp-editor [data-deed=undo]")
    asked(keep=1, drop=1, box=4)


def test_keys_choose_tools_zoom_and_undo(page, editor):
    editor.press("e")
    assert page.run("return wispEditor.state.tool") == "erase"
    editor.press("++")
    assert page.run("return wispEditor.state.zoom") == pytest.approx(2.25)
    before = page.run("return document.querySelector('#wisp-editor .size').value")
    editor.press("]")
    assert int(page.run("return document.querySelector('#wisp-editor .size').value")) > int(before)
    editor.press("0")
    editor.drag((0.5, 0.5), (0.55, 0.5))
    editor.settled(1)
    editor.press(Keys.CONTROL + "z")
    editor.settled(0)
    assert not editor.edits()["strokes"]


def test_two_fingers_zoom_and_draw_nothing(page, editor):
    editor.press("r")
    x, y = editor.on_screen(0.5, 0.5)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        page.driver.execute_cdp_cmd(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
        )

    touch("touchStart", (x - 20, y))
    touch("touchStart", (x - 20, y), (x + 20, y))
    for far in (40, 60):
        touch("touchMove", (x - far, y), (x + far, y))
    touch("touchMove", (x - 40, y + 30), (x + 80, y + 30))
    page.wait(lambda: editor.shift() == pytest.approx((20, 30), abs=1))
    touch("touchEnd", (x - 40, y + 30))
    touch("touchEnd")
    assert page.run("return wispEditor.state.zoom") == pytest.approx(3, abs=0.01)
    assert not editor.edits()["strokes"]


def test_the_wheel_zooms_to_where_it_is_turned(page, editor):
    corner = (0.3, 0.3)
    turned = ScrollOrigin.from_element(editor.canvas, *editor.at(*corner))
    zoom, above = "return wispEditor.state.zoom", "return scrollY"
    page.run("document.activeElement.blur()")
    page.run("arguments[0].scrollIntoView({block: 'center'})", editor.canvas)
    before = page.run(above)
    webdriver.ActionChains(page.driver).scroll_from_origin(turned, 0, -40).perform()
    # The page's own, until one works in the editor; it moves when it comes to it.
    page.wait(lambda: page.run(above) == before - 40)
    assert page.run(zoom) == 1
    page.run("arguments[0].focus({preventScroll: true})", editor.canvas)
    webdriver.ActionChains(page.driver).scroll_from_origin(turned, 0, -200).perform()
    page.wait(lambda: page.run(zoom) > 1)
    page.rest()
    assert page.run(zoom) == pytest.approx(1.65, abs=0.01)
    assert page.run(above) == before - 40
    editor.drag(corner)  # what was under the pointer still is
    page.wait(lambda: editor.edits()["keep"])
    assert editor.edits()["keep"] == [pytest.approx(corner, abs=0.01)]
    webdriver.ActionChains(page.driver).scroll_from_origin(turned, 0, 400).perform()
    page.wait(lambda: page.run(zoom) == 1)
    assert editor.shift() == (0, 0)


@pytest.mark.parametrize("way", ["hand", "hand by touch", "space", "middle", "arrows"])
def test_what_is_zoomed_into_is_moved(page, editor, way):
    editor.press("r++")
    hand = webdriver.ActionChains(page.driver)
    if way == "arrows":
        editor.press(Keys.ARROW_LEFT + Keys.ARROW_UP * 2)
        assert editor.shift() == (40, 80)
        editor.press(Keys.ARROW_RIGHT + Keys.ARROW_DOWN * 2)
    else:
        button = MouseButton.LEFT
        if way == "space":
            hand.key_down(Keys.SPACE).perform()
            assert editor.canvas.value_of_css_property("cursor") == "grab"
        elif way == "middle":
            button = MouseButton.MIDDLE
        else:
            page.click("#wisp-editor [data-tool=hand]")
        kind = "touch" if way.endswith("touch") else "mouse"
        editor.drag((0.5, 0.5), (0.55, 0.55), (0.6, 0.7), kind=kind, button=button)
        moved = editor.at(0.6, 0.7)
        assert editor.shift() == pytest.approx(moved, abs=2)
        # No farther than to the photo's own border.
        for _ in range(4):
            editor.drag((0.1, 0.1), (0.9, 0.9), kind=kind, button=button)
        assert editor.shift() == pytest.approx(editor.farthest(), abs=1)
        if way == "space":
            hand.key_up(Keys.SPACE).perform()
            assert editor.canvas.value_of_css_property("cursor") == "crosshair"
        page.click("#wisp-editor [data-deed=whole]")
    assert editor.shift() == (0, 0)
    edits = editor.edits()
    assert not (edits["strokes"] or edits["keep"] or edits["box"])


def test_the_finished_picture_is_copied(page, editor):
    """With what lies behind: the editor itself shows the cutout alone."""
    allowed = {"origin": page.run("return location.origin")}
    allowed |= {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.driver.execute_cdp_cmd("Browser.grantPermissions", allowed)
    before = page.find("#wisp-view .pane-cutout img")[0].get_attribute("src")
    page.segment("#one-background", "colour")
    shown = "return document.querySelector('#wisp-view .pane-cutout img').src"
    page.wait(lambda: page.run(shown) != before)
    page.rest()
    page.click("#wisp-editor [data-deed=copy]")
    page.wait(lambda: page.text("#wisp-editor [data-deed=copy]") == "✓")
    script = """
    const done = arguments[0];
    (async () => {
      const [item] = await navigator.clipboard.read();
      const image = await createImageBitmap(await item.getType("image/png"));
      const pen = new OffscreenCanvas(image.width, image.height).getContext("2d");
      pen.drawImage(image, 0, 0);
      const { data } = pen.getImageData(0, 0, image.width, image.height);
      let least = 255;
      for (let at = 3; at < data.length; at += 4) least = Math.min(least, data[at]);
      done([image.width, image.height, least]);
    })().catch((error) => done(String(error)));"""
    assert page.driver.execute_async_script(script) == [512, 512, 255]
    page.segment("#one-background", "transparent")


def test_the_background_is_seen_before_the_server_is_asked(page, editor):
    """The file needs the server, the preview does not: what would be asked is held back."""
    page.rest()
    page.run(
        """
        performance.clearResourceTimings();
        const ask = window.fetch, gate = new Promise((open) => { window.openGate = open; });
        window.held = 0;
        window.fetch = async (...given) => { held += 1; await gate; return ask(...given); };"""
    )
    style = "return getComputedStyle(document.querySelector('#wisp-editor .stage'))"
    choose = "document.querySelector(`#one-background input[value='${arguments[0]}']`).click()"
    page.run(choose, "colour")
    page.wait(lambda: page.run(f"{style}.backgroundColor") == "rgb(255, 255, 255)")
    page.run(choose, "gradient")
    page.wait(lambda: "linear-gradient(rgb(255, 255, 255)" in page.run(f"{style}.backgroundImage"))
    assert page.run("return held")  # the file is asked for, and that has come to the gate
    assert page.run("return performance.getEntriesByType('resource').map((one) => one.name)") == []
    page.run("openGate()")
    page.segment("#one-background", "transparent")
    page.wait(lambda: "conic-gradient" in page.run(f"{style}.backgroundImage"))
    page.rest()


def test_a_picture_as_background_is_seen_and_is_in_the_file(page, editor, place):
    wine = (120, 20, 60)
    (place / "wine.png").write_bytes(encoded(np.full((60, 80, 3), wine, np.uint8), "PNG"))
    editor.press("e")
    editor.drag((0.1, 0.1), (0.2, 0.1))
    editor.settled(1)
    editor.press("h")  # without what was cut away
    before = page.find("#wisp-view .pane-cutout img")[0].get_attribute("src")
    page.segment("#one-background", "picture")
    page.upload("#one-picture", place / "wine.png")
    page.wait(lambda: editor.colour(0.15, 0.1) == wine)
    shown = "return document.querySelector('#wisp-view .pane-cutout img').src"
    page.wait(lambda: page.run(shown) != before)
    page.rest()
    picture = opened(page.download()).convert("RGB")
    assert picture.getpixel((77, 51)) == wine
    page.segment("#one-background", "transparent")
    page.wait(lambda: editor.colour(0.15, 0.1) != wine)
    page.rest()


def test_batch_with_one_that_fails(page, place):
    page.tab("batch")
    names = ("astronaut.jpg", "broken.jpg", "coffee.jpg")
    page.upload("#wisp-files", *(place / name for name in names))
    # While they are on their way their names are shown too, elsewhere.
    page.wait(lambda: len(page.find("#wisp-files tr.file")) == 3)
    page.click("#wisp-batch")
    page.wait(lambda: "2 done, 1 failed" in page.text("#wisp-summary"))
    page.wait(lambda: len(page.find("#wisp-rows tr.done")) == 2)
    assert "broken" in page.text("#wisp-rows tr.failed")
    page.wait(lambda: len(page.find("#wisp-rows tr.done a")) == 2)
    loaded = "return [...document.querySelectorAll('#wisp-rows img')].map((i) => i.naturalWidth)"
    page.wait(lambda: all(0 < width <= 112 for width in page.run(loaded)))


def test_a_look_inside(page, place):
    page.reload()
    page.tab("inside")
    page.upload("#inside-photo", place / "astronaut.jpg")
    page.wait(lambda: "needs a U²-Net, and tiny is none" in page.toast())
    page.reload()  # what it said lies over the page for some seconds
    page.tab("inside")
    page.choose("#inside-model", "inner")
    page.upload("#inside-photo", place / "astronaut.jpg")
    page.wait(lambda: "edge patches" in page.text("#inside-status"))

    def width(kind: str) -> int:
        return page.run(f"return arguments[0].{kind}Width", page.find("#inside-view img")[0])

    page.wait(lambda: width("natural") == WIDTH)
    assert width("client") < 1280
    page.click("#inside-view label")  # as large as it is, to be moved about in its frame
    page.wait(lambda: width("client") == WIDTH)
    assert page.run("return document.documentElement.scrollWidth") <= 1280
    page.click("#inside-download")
    assert opened(page.fetched("astronaut-inside.png")).width == WIDTH


def test_history_survives_a_restart_and_deletes(page, nets, place, server):
    port = server.url.rpartition(":")[2]
    server.stop(9)
    again = Live(nets, place / "data", port=port)
    server.process = again.process
    page.open(again.url)
    page.tab("history")
    page.wait(lambda: page.find("#wisp-history img"))
    page.rest()
    pictures = page.find("#wisp-history img")
    page.wait(lambda: all(page.run("return arguments[0].naturalWidth", p) for p in pictures))
    count = len(pictures)
    page.click("#wisp-history button")
    page.wait(lambda: "astronaut" in page.text("#wisp-chosen"))
    page.wait(lambda: page.find("#wisp-delete")[0].is_enabled())
    page.click("#wisp-delete")
    page.wait(lambda: len(page.find("#wisp-history img")) == count - 1)


def test_system_shows_models_and_diagnosis(page):
    page.tab("system")
    page.wait(lambda: "SHA-256" in page.text("#wisp-facts"))
    assert "tiny" in page.text("#wisp-facts")
    page.click("#wisp-diagnose")
    page.wait(
        lambda: "onnxruntime" in page.find("#wisp-findings textarea")[0].get_property("value")
    )


def test_dark_by_button_and_remembered(page):
    def dark() -> bool:
        return page.run("return document.body.classList.contains('dark')")

    page.reload()  # what the page has to say lies over the button for some seconds
    was = dark()
    page.click("#wisp-dark")
    page.wait(lambda: dark() != was)
    page.reload()
    assert dark() != was


@pytest.fixture
def phone(page):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.driver.execute_cdp_cmd(
        "Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 5}
    )
    yield page
    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_phone_needs_no_sideways_scrolling(phone):
    phone.reload()
    for name in ("batch", "inside", "history", "system", "single"):
        phone.tab(name)
        assert phone.run("return document.documentElement.scrollWidth") <= 390


def test_a_stroke_by_touch_on_a_phone(phone, place):
    phone.reload()
    phone.upload("#wisp-photo", place / "astronaut.jpg")
    phone.wait(lambda: "512 × 512 px" in phone.text("#wisp-status"))
    editor = Editor(phone)
    assert editor.alpha(0.45, 0.5) > 0
    phone.click("#wisp-editor [data-tool=erase]")
    phone.run("arguments[0].scrollIntoView({block: 'center'})", editor.canvas)
    above = phone.run("return scrollY")
    editor.drag((0.4, 0.4), (0.45, 0.5), (0.45, 0.6), kind="touch")
    assert phone.run("return scrollY") == above
    editor.settled(1)
    assert editor.alpha(0.45, 0.5) == 0
    assert np.asarray(opened(phone.download()))[256, 230, 3] == 0
    assert phone.run("return document.documentElement.scrollWidth") <= 390
    outside = """
    return [...document.querySelectorAll("#wisp-editor *")].filter((one) => {
      const { left, right, width } = one.getBoundingClientRect();
      return width && (left < 0 || right > 390);
    }).map((one) => one.outerHTML);"""
    assert phone.run(outside) == []


def test_everything_is_reached_by_the_tab_key(page):
    page.reload()
    wanted = {"wisp-photo", "one-refine", "one-background", "wisp-cut", "wisp-views"}
    seen: set[str | None] = set()
    for _ in range(60):
        webdriver.ActionChains(page.driver).send_keys(Keys.TAB).perform()
        seen.add(
            page.run("return document.activeElement.closest('[id^=wisp],[id^=one]')?.id ?? null")
        )
        if wanted <= seen:
            break
    assert wanted <= seen


def test_nothing_is_asked_of_another_site(page, server):
    """In all that the tests above did, and on the pages that explain the API."""
    page.rest()
    asked = page.asked()
    page.click("footer .show-api")
    page.wait(lambda: 'api_name="/cut"' in page.text("body"))
    asked |= page.asked()
    page.driver.get(f"{server.url}/docs")
    page.wait(lambda: "/api/remove-background" in page.text("#swagger-ui"))
    page.driver.find_element(By.CSS_SELECTOR, "#swagger-ui .opblock-summary-control").click()
    page.wait(lambda: "background_file" in page.text("#swagger-ui"))
    asked |= page.asked()
    ours = {url for url in asked if url.startswith(server.url)}
    assert f"{server.url}/openapi.json" in ours and len(ours) > 20
    outside = {url for url in asked - ours if not url.startswith(("data:", "blob:", "chrome"))}
    # Before the history's test the server had another port.
    assert {url for url in outside if not url.startswith("http://127.0.0.1:")} == set()


def test_in_chinese(server, place):
    page = Page(place / "profile-zh", place / "downloads", "zh-CN")
    try:
        page.open(server.url)
        page.wait(lambda: "单张" in page.text("#wisp-tabs"))
        assert "抠图" in page.text("#wisp-cut")
        page.click("#wisp-cut")
        page.wait(lambda: "请先选择一张图片" in page.toast())
        page.tab("inside")
        page.wait(lambda: "查看过程" in page.text("#inside-explain"))
        assert "特征图" in page.text("#inside-info")
    finally:
        page.driver.quit()
