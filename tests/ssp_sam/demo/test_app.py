# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The page of the demo: its steps without a browser, and in headless Chromium as a visitor uses it."""

import atexit
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from ssp_sam.cli.main import main
from ssp_sam.demo.session import DemoSegmenter, DemoState
from tests.helpers.models import make_image, make_pipeline
from tests.helpers.processes import start_processes

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def gradio():
    return pytest.importorskip("gradio", reason="gradio is not installed: pip install ssp-sam[demo]")


@pytest.fixture(scope="module")
def tiny_pipeline():
    return make_pipeline()


@pytest.fixture(scope="module")
def image_file(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("images") / "image.png"
    make_image(64, 48).save(path)
    return str(path)


# ---- steps ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def steps(gradio, tiny_pipeline):
    from ssp_sam.demo.app import DemoSteps

    return DemoSteps(gradio, DemoSegmenter(tiny_pipeline))


def test_a_step_shows_image_legend_and_choices(steps, image_file):
    asked = DemoState(), image_file, "a dog\na cat", None
    state, shown, legend, notice, target, refine, undoing, saving = steps.segment(*asked)
    assert state.expressions == ["a dog", "a cat"] and shown.size == (640, 480)
    assert legend.count("<li") == 2 and not notice.visible
    assert (target.value, refine.visible, undoing.visible, saving.visible) == ("a dog", True, False, True)
    clicked = steps.click(state, "a cat", "inside", (100, 100))
    assert clicked[4].value == "a cat" and clicked[6].visible
    assert not np.array_equal(np.asarray(clicked[1]), np.asarray(shown))


def test_a_failed_step_leaves_the_page_and_adds_a_notice(steps, image_file):
    state = steps.segment(DemoState(), image_file, "a dog", None)[0]
    after, _, legend, notice, *_ = steps.segment(state, image_file, "  ", "a dog")
    assert after is state and "a dog" in legend
    assert notice.visible and "nothing to look for yet" in notice.value and 'role="alert"' in notice.value


def test_a_fault_of_the_program_is_admitted_without_a_traceback(steps, image_file, monkeypatch, caplog):
    monkeypatch.setattr(steps.segmenter, "segment", lambda *_: 1 / 0)
    notice = steps.segment(DemoState(), image_file, "a dog", None)[3]
    assert "Something went wrong" in notice.value and "ZeroDivisionError" in caplog.text


def test_a_new_image_is_read_even_if_its_upload_was_missed(steps, image_file, tmp_path):
    make_image(30, 40, seed=5).save(tmp_path / "second.png")
    state = steps.segment(DemoState(), image_file, "a dog", None)[0]
    assert steps.segment(state, str(tmp_path / "second.png"), "a dog", None)[0].image.size == (30, 40)
    assert steps.segment(state, None, "a dog", None)[3].visible  # it was taken away


def test_clicks_stay_where_the_same_image_comes_as_another_file(steps, image_file, tmp_path):
    state = steps.segment(DemoState(), image_file, "a dog", None)[0]
    state = steps.click(state, "a dog", "inside", (100, 100))[0]
    copy = shutil.copy(image_file, tmp_path)
    assert steps.segment(state, copy, "a dog", None)[0].marks == state.marks


def test_an_unreadable_image_takes_the_old_prediction_away(steps, image_file, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    state, shown, legend, notice, *_ = steps.open(str(tmp_path / "notes.png"))
    assert (state, shown, legend) == (DemoState(), None, "") and "cannot be read as an image" in notice.value


def test_examples_are_images_with_expressions(gradio, tmp_path):
    from ssp_sam.demo.app import find_examples

    examples = find_examples(str(tmp_path))
    assert len(examples) >= 2
    for path, expressions in examples:
        assert Image.open(path).width >= 300 and all(line.startswith("the ") for line in expressions.splitlines())


def test_the_page_reports_to_nobody_and_leaves_no_files_in_the_package(gradio, tiny_pipeline, monkeypatch):
    from ssp_sam.demo.app import build_demo

    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    page = build_demo(tiny_pipeline)
    assert not page.analytics_enabled and not gradio.analytics.analytics_enabled()
    assert list((ROOT / "ssp_sam").glob("*.pyi")) == []


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_names_the_extra_where_gradio_is_missing(tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)  # importing it raises ImportError
    assert main(["demo", "--model", tiny_checkpoint]) == 2
    assert capsys.readouterr().err == (
        "ssp-sam: the demo needs gradio, which is not installed: pip install ssp-sam[demo]\n"
    )


def serve_in(words: list[str]):
    """Runs the command with a folder for temporary files of its own."""
    tempfile.tempdir = words.pop(0)
    code = main(["demo", *words])
    atexit._run_exitfuncs()  # as any process does that was not forked
    return code


@pytest.mark.long
def test_files_of_visitors_are_private_and_gone_afterwards(gradio, tiny_checkpoint, image_file, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scratch = tmp_path / "scratch"
    killed = scratch / "ssp-sam-demo-of-one-that-was-killed"
    killed.mkdir(parents=True)
    os.utime(killed, (1, 1))
    words = [scratch, "--model", tiny_checkpoint, "--port", port]
    demo = start_processes(serve_in, words, tmp_path / "said")
    try:
        said = tmp_path / "said" / "0.out"
        while not (said.is_file() and "Open http" in said.read_text()) and demo.members[0].is_alive():
            time.sleep(0.1)
        address = f"http://127.0.0.1:{port}/gradio_api/upload"
        sent = httpx.post(address, files={"files": ("image.png", Path(image_file).read_bytes())}, timeout=60)
        assert sent.status_code == 200, demo.said(stream="err")
        written = list(scratch.rglob("*"))
        assert killed not in written
        assert Path(sent.json()[0]) in written
        written = [path for path in written if path.name != ".writing"]  # the empty lock
        assert {(path.is_dir(), path.stat().st_mode & 0o777) for path in written} == {(True, 0o700), (False, 0o600)}
        demo.members[0].terminate()
        demo.wait()
        assert list(scratch.iterdir()) == []
    finally:
        demo.kill()


@pytest.mark.parametrize("port", ["0", "70000", "http"])
def test_the_command_refuses_what_is_no_port(port, capsys):
    assert main(["demo", "--port", port]) == 2
    assert f"expected a port from 1 to 65535, got '{port}'" in capsys.readouterr().err


def test_the_command_says_when_a_port_is_taken(gradio, tiny_checkpoint, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--model", tiny_checkpoint, "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"ssp-sam: cannot serve on 127.0.0.1:{port}: ") and error.count("\n") == 1


def test_the_space_is_the_same_page():
    text = (ROOT / "scripts/space/app.py").read_text("utf-8")
    assert "build_demo(" in text and "launch_demo(page" in text and len(text.splitlines()) < 20
    compile(text, "app.py", "exec")


# ---- the browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(gradio, tiny_pipeline):
    from ssp_sam.demo.app import build_demo, launch_demo

    page = build_demo(tiny_pipeline)
    yield launch_demo(page, quiet=True, prevent_thread_lock=True)
    page.close(verbose=False)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        pytest.skip("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    yield Visitor(driver)
    driver.quit()


class Visitor:
    """What a person does with the page."""

    def __init__(self, driver):
        self.driver = driver

    def visit(self, address: str, width: int = 1400):
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(address)
        self.wait(lambda: self.all("#segment") and self.all("#image input[type=file]"))

    def all(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def wait(self, condition, seconds: float = 60):
        """Waits until a condition is true, over the moments in which the page replaces its parts."""
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                value = condition()
            except StaleElementReferenceException:
                value = None
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"waited {seconds} s in vain; the page says {self.notice()!r}, {self.legend()}")

    def press(self, selector: str):
        element = self.all(selector)[0]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def upload(self, path: str):
        self.all("#image input[type=file]")[0].send_keys(path)

    def write(self, text: str):
        field = self.all("#expressions textarea")[0]
        field.clear()
        field.send_keys(text)

    def legend(self) -> list[str]:
        return [item.text.replace("\n", " ") for item in self.all(".ssp-legend li")]

    def notice(self) -> str:
        return " ".join(item.text for item in self.all(".ssp-notice"))

    def shown(self) -> str:
        """The address of the shown image_file, another one for each prediction; empty before it is loaded."""
        images = self.all("#prediction img")
        loaded = images and self.driver.execute_script("return arguments[0].naturalWidth > 0", images[0])
        return images[0].get_attribute("src") if loaded else ""

    def click_image(self, x: float, y: float):
        """Clicks at fractions of the width and height of the image, and waits for the next one."""
        from selenium.webdriver.common.action_chains import ActionChains

        before, image = self.shown(), self.all("#prediction img")[0]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", image)
        offset = round((x - 0.5) * image.size["width"]), round((y - 0.5) * image.size["height"])
        ActionChains(self.driver).move_to_element_with_offset(image, *offset).click().perform()
        self.wait(lambda: self.shown() not in ("", before))

    def click_spot(self, x: float, y: float):
        """Clicks at fractions of the image, which may be larger than what is seen of it."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder

        before, image = self.shown(), self.all("#prediction img")[0]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'start', inline: 'start'})", image)
        box = self.driver.execute_script("return arguments[0].getBoundingClientRect().toJSON()", image)
        spot = round(box["x"] + x * box["width"]), round(box["y"] + y * box["height"])
        builder = ActionBuilder(self.driver)
        builder.pointer_action.move_to_location(*spot).click()
        builder.perform()
        self.wait(lambda: self.shown() not in ("", before))

    def hosts(self) -> set[str]:
        """Whom the page has talked to since this was last asked."""
        log = [entry["message"] for entry in self.driver.get_log("performance")]
        request = re.compile(r'Network\.requestWillBeSent".*?"url":"(?:https?|wss?)://([^/"]+)')
        return {match[1] for match in map(request.search, log) if match}


def test_a_visitor_gets_masks_and_refines_them(browser, address, image_file):
    browser.visit(address)
    browser.upload(image_file)
    browser.wait(browser.shown)
    browser.write("a dog\nthe red car")
    plain = browser.shown()
    browser.press("#segment")
    browser.wait(lambda: len(browser.legend()) == 2)
    legend = browser.legend()
    assert legend[0].startswith("1 a dog found 0.") and legend[1].startswith("2 the red car found 0.")
    browser.wait(lambda: browser.shown() not in ("", plain))
    browser.click_image(0.3, 0.4)
    browser.wait(lambda: browser.legend() != legend)
    assert browser.legend()[1] == legend[1]  # the click was for the dog
    browser.press("#undo")
    browser.wait(lambda: browser.legend() == legend)
    assert browser.notice() == ""


def ask(browser, address: str, image_file: str, text: str = "a dog\nthe red car"):
    """Visits the page and writes expressions, which are answered when typing rests."""
    browser.visit(address)
    browser.upload(image_file)
    browser.wait(browser.shown)
    plain = browser.shown()
    browser.write(text)
    browser.wait(lambda: len(browser.legend()) == len(text.splitlines()) and browser.shown() not in ("", plain))


def test_typing_is_answered_when_it_rests(browser, address, image_file):
    ask(browser, address, image_file)
    assert [line[:3] for line in browser.legend()] == ["1 a", "2 t"] and browser.notice() == ""
    browser.all("#expressions textarea")[0].send_keys("\na cat")
    browser.wait(lambda: len(browser.legend()) == 3)


def test_what_is_written_while_an_answer_is_computed_is_answered_after_it(browser, address, image_file, monkeypatch):
    browser.visit(address)
    browser.upload(image_file)
    browser.wait(browser.shown)
    asked, may_end, segment = [], threading.Event(), DemoSegmenter.segment

    def wait_and_segment(self, state, text):
        asked.append(text)
        may_end.wait(60)
        return segment(self, state, text)

    monkeypatch.setattr(DemoSegmenter, "segment", wait_and_segment)
    browser.write("a dog")
    browser.wait(lambda: asked == ["a dog"])
    browser.all("#expressions textarea")[0].send_keys("\na cat")
    time.sleep(2)  # typing rests, and the page asks
    may_end.set()
    browser.wait(lambda: len(browser.legend()) == 2, seconds=20)


@pytest.fixture
def asked(monkeypatch) -> list[tuple]:
    """What the page asks of the segmenter: the name of the step, the expression, and what came with it."""
    steps = []

    def recording(name: str, step):
        def record(self, state, *words):
            steps.append((name, *words))
            return step(self, state, *words)

        return record

    for name in ("click", "undo"):
        monkeypatch.setattr(DemoSegmenter, name, recording(name, getattr(DemoSegmenter, name)))
    return steps


def test_a_click_on_the_zoomed_image_is_where_it_is_without(browser, address, image_file, asked):
    ask(browser, address, image_file)
    width = browser.all("#prediction img")[0].rect["width"]
    browser.click_spot(0.3, 0.4)
    browser.press("#zoom-in")
    browser.wait(lambda: browser.all("#prediction img")[0].rect["width"] > 1.4 * width)
    browser.click_spot(0.3, 0.4)
    browser.press("#zoom-out")
    browser.wait(lambda: browser.all("#prediction img")[0].rect["width"] == width)
    assert [step[:3] for step in asked] == [("click", "a dog", "inside")] * 2
    for xy in (step[3] for step in asked):
        assert tuple(xy) == pytest.approx((0.3 * 640, 0.4 * 480), abs=3), asked


def test_mask_cutout_and_json_are_downloaded(browser, address, image_file, tmp_path):
    ask(browser, address, image_file)
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    for kind, name in (("mask", "mask.png"), ("cutout", "cutout.png"), ("json", "results.json")):
        browser.press(f"#save-{kind}")
        browser.wait(lambda name=name: (tmp_path / name).is_file())
    with Image.open(tmp_path / "mask.png") as mask, Image.open(tmp_path / "cutout.png") as cut:
        assert mask.size == (64, 48) and cut.mode == "RGBA"
    assert '"label": "the red car"' in (tmp_path / "results.json").read_text("utf-8")


def test_keys_do_what_the_page_says(browser, address, image_file, asked):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(key: str):
        ActionChains(browser.driver).send_keys(key).perform()

    ask(browser, address, image_file)
    press(Keys.ESCAPE)
    press("2")
    browser.wait(lambda: browser.all("#target input")[1].is_selected())
    browser.click_spot(0.3, 0.4)
    browser.wait(lambda: browser.all("#undo"))
    press("u")
    browser.wait(lambda: len(asked) == 2)
    assert [step[:2] for step in asked] == [("click", "the red car"), ("undo", "the red car")]
    press("/")
    assert browser.driver.switch_to.active_element.tag_name == "textarea"


def test_the_page_has_a_dark_look(browser, address):
    browser.visit(address)
    ground = "return getComputedStyle(document.querySelector('#expressions')).backgroundColor"
    light = browser.driver.execute_script(ground)
    browser.press("#dark")
    browser.wait(lambda: browser.driver.execute_script(ground) != light)
    browser.press("#dark")
    browser.wait(lambda: browser.driver.execute_script(ground) == light)


def test_the_page_says_which_model_is_loaded(browser, address):
    browser.visit(address)
    assert "Model:" in browser.all("#model")[0].text and "million parameters" in browser.all("#model")[0].text


def test_an_empty_expression_gets_a_message(browser, address, image_file):
    browser.visit(address)
    browser.press("#segment")
    browser.wait(lambda: "There is no image yet" in browser.notice())
    browser.upload(image_file)
    browser.wait(lambda: browser.shown() and not browser.notice())
    browser.press("#segment")
    browser.wait(lambda: "There is nothing to look for yet" in browser.notice())
    assert browser.legend() == []


def test_a_file_that_is_no_image_gets_a_message(browser, address, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    browser.visit(address)
    browser.upload(str(tmp_path / "notes.png"))
    browser.wait(lambda: "cannot be read as an image" in browser.notice())


def test_an_example_is_segmented_and_can_be_looked_behind(browser, address, tmp_path):
    browser.visit(address)
    browser.wait(lambda: browser.all("#examples tbody tr"))
    browser.press("#examples tbody td")
    browser.wait(browser.legend)
    browser.press("button[role=tab]:nth-of-type(2)")
    browser.wait(lambda: browser.all("#maps img"))
    # After an example, files of one's own are read as before.
    (tmp_path / "notes.png").write_text("no image")
    browser.press("#image button[aria-label='Remove Image']")
    browser.wait(lambda: browser.all("#image input[type=file]") and not browser.legend())
    browser.upload(str(tmp_path / "notes.png"))
    browser.wait(lambda: "cannot be read as an image" in browser.notice())


@pytest.mark.parametrize("width", [1400, 420])
def test_nothing_hangs_over_the_edge_of_wide_and_narrow_windows(browser, address, image_file, width):
    browser.visit(address, width)
    browser.upload(image_file)
    browser.wait(browser.shown)
    browser.write("a dog\n" + "the red car on the left of the green apple " * 3)
    browser.press("#segment")
    browser.wait(browser.legend)
    page, window = browser.driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert page <= window == width
    for selector in ("#image", "#expressions", "#segment", "#prediction", "#legend", "#target", "#kind"):
        box = browser.all(selector)[0].rect
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] > 0, selector


def test_no_button_covers_the_image_and_each_chip_is_beside_the_first_line_of_its_words(browser, address, image_file):
    browser.visit(address, 420)
    browser.upload(image_file)
    browser.wait(browser.shown)
    browser.write("the red car on the left of the green apple " * 3)
    browser.press("#segment")
    browser.wait(browser.legend)
    buttons, image, chip, note, words = (
        browser.wait(lambda selector=selector: browser.all(selector))[0].rect
        for selector in (
            "#prediction .icon-button-wrapper",
            "#prediction img",
            "#legend i",
            "#legend small",
            "#legend em",
        )
    )
    assert buttons["height"] > 0 and buttons["y"] + buttons["height"] <= image["y"]
    assert words["height"] > 2 * note["height"] and words["y"] - 4 <= chip["y"]
    assert abs(chip["y"] + chip["height"] / 2 - note["y"] - note["height"] / 2) < note["height"] / 2


def test_the_maps_can_be_scrolled_from_end_to_end_on_narrow_windows(browser, address):
    browser.visit(address, 420)
    browser.wait(lambda: browser.all("#examples tbody td"))
    browser.press("#examples tbody td")
    browser.wait(browser.legend)
    browser.press("button[role=tab]:nth-of-type(2)")
    browser.wait(lambda: browser.all("#maps img"))
    left, right, frame = browser.wait(
        lambda: browser.driver.execute_script(
            "const frame = document.querySelector('#maps .image-container'), image = frame?.querySelector('img');"
            "if (!image || !image.naturalWidth) return null;"
            "const x = image.getBoundingClientRect(), y = frame.getBoundingClientRect();"
            "return [x.left - y.left, x.right - y.left, frame.scrollWidth]"
        )
    )
    assert left >= 0 and right - left >= 860 and frame >= right - 1


def test_the_page_talks_to_this_machine_alone(browser, address):
    browser.hosts()
    browser.visit(address)
    time.sleep(1)
    assert {host.split(":")[0] for host in browser.hosts()} == {"127.0.0.1"}
    assert address.startswith("http://127.0.0.1:")
