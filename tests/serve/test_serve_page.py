"""The page at /, in a real Chromium."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.serving import Served, expected_text, serve, spoken, until, write_wav

webdriver = pytest.importorskip("selenium.webdriver", reason="the page is tested with selenium and Chromium")
By = pytest.importorskip("selenium.webdriver.common.by").By
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")
WAIT_S = 60


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1000,1100", *flags):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


def microphone(recording: Path) -> tuple[str, ...]:
    """Flags of a Chromium whose microphone hears a recording, once."""
    fake = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    return (*fake, f"--use-file-for-fake-audio-capture={recording}%noloop")


def shown(browser: Any, name: str) -> str:
    return str(browser.find_element(By.ID, name).text)


def wait(browser: Any, holds: Callable[[], bool]) -> None:
    WebDriverWait(browser, WAIT_S).until(lambda _: holds())


def complaints(browser: Any) -> list[Any]:
    """What the browser reports as an error, breaches of the Content-Security-Policy included."""
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_a_file_is_uploaded_and_its_text_is_shown_with_times(served: Served, browser: Any, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "spoken.wav", spoken(11))
    browser.get(served.url)
    wait = WebDriverWait(browser, WAIT_S)
    wait.until(lambda page: page.find_element(By.ID, "state").text == "ready")
    browser.find_element(By.ID, "file").send_keys(str(path))
    wait.until(lambda page: "s of audio in" in page.find_element(By.ID, "progress").text)
    assert browser.find_element(By.ID, "text").text == expected_text(served.deployment, path)
    rows = browser.find_elements(By.CSS_SELECTOR, "#segments tbody tr")
    assert len(rows) >= 2
    assert "–" in rows[0].text
    assert served.deployment.key in browser.find_element(By.ID, "configuration").text
    wait.until(lambda page: "s of audio done" in page.find_element(By.ID, "numbers").text)
    assert complaints(browser) == []


def test_what_is_not_audio_is_told(served: Served, browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no audio")
    browser.get(served.url)
    browser.find_element(By.ID, "file").send_keys(str(path))
    WebDriverWait(browser, WAIT_S).until(
        lambda page: "error" in page.find_element(By.ID, "progress").get_attribute("class")
    )
    assert "notes.txt" in browser.find_element(By.ID, "progress").text


def test_the_newest_files_text_is_shown(browser: Any, tmp_path: Path) -> None:
    """Whichever is answered first: the first takes seconds, the second is answered at once."""
    slow, quick = write_wav(tmp_path / "slow.wav", spoken(5, 12)), write_wav(tmp_path / "quick.wav", spoken(6, 1))
    with serve(tmp_path, session_options={"speed": "10x", "fault": "none"}, instances=2) as served:
        browser.get(served.url)
        for path in (slow, quick):
            browser.find_element(By.ID, "file").send_keys(str(path))
        wait(
            browser,
            lambda: (
                shown(browser, "progress").startswith("quick.wav: ") and " s of audio in" in shown(browser, "progress")
            ),
        )
        expected = expected_text(served.deployment, quick)
        assert shown(browser, "text") == expected
        until(lambda: served.metric("autotune_requests_in_flight") == 0)
        time.sleep(1)  # an answer that is in the browser already
        assert shown(browser, "text") == expected
        assert shown(browser, "progress").startswith("quick.wav: ")
        assert complaints(browser) == []


def test_an_answer_that_is_no_json_is_told_as_its_status(served: Served, browser: Any, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", spoken(7, 1))
    browser.get(served.url)
    browser.execute_script(
        "window.fetch = async () => new Response('<html>', {status: 502, statusText: 'Bad Gateway'})"
    )
    browser.find_element(By.ID, "file").send_keys(str(path))
    wait(browser, lambda: "502 Bad Gateway" in shown(browser, "progress"))


def test_what_is_spoken_is_shown_while_it_is_spoken(served: Served, tmp_path: Path) -> None:
    samples = spoken(8, 3)
    with chromium(*microphone(write_wav(tmp_path / "spoken.wav", samples))) as browser:
        browser.get(served.url)
        browser.find_element(By.ID, "speak").click()
        wait(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#segments tbody tr")) >= 1)
        assert shown(browser, "speak") == "Stop"
        assert "listening" in shown(browser, "progress")
        time.sleep(len(samples) / 16000)
        before = browser.execute_script("return document.getElementById('text').firstChild.textContent")
        browser.find_element(By.ID, "speak").click()
        wait(browser, lambda: "done" in shown(browser, "progress"))
        assert shown(browser, "speak") == "Speak"
        assert shown(browser, "text").startswith(before), "what was settled stays"
        rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#segments tbody tr")]
        # The fake engine says a character for each 60 ms or so of speech, of which the microphone heard all.
        # A browser on a busy machine hands over less than was spoken.
        assert len(shown(browser, "text")) > len(expected_text(served.deployment, tmp_path / "spoken.wav")) * 0.5
        assert shown(browser, "text").replace(" ", "") == "".join(row.split(" ")[-1] for row in rows)
        assert complaints(browser) == []
    until(lambda: served.metric("autotune_streams_in_flight") == 0)


def test_a_file_ends_what_is_being_spoken(served: Served, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "file.wav", spoken(9, 1))
    with chromium(*microphone(write_wav(tmp_path / "spoken.wav", spoken(8, 3)))) as browser:
        browser.get(served.url)
        browser.find_element(By.ID, "speak").click()
        wait(browser, lambda: "listening" in shown(browser, "progress"))
        browser.find_element(By.ID, "file").send_keys(str(path))
        wait(browser, lambda: "s of audio in" in shown(browser, "progress"))
        assert shown(browser, "speak") == "Speak"
        until(lambda: served.metric("autotune_streams_in_flight") == 0)
        assert shown(browser, "text") == expected_text(served.deployment, path)


def test_a_key_that_no_subprotocol_may_be_lets_the_microphone_in(tmp_path: Path) -> None:
    key = "b64/with+signs=(and others)"
    recording = write_wav(tmp_path / "spoken.wav", spoken(8, 2))
    with serve(tmp_path, environment={"AUTOTUNE_API_KEY": key}) as served, chromium(*microphone(recording)) as browser:
        browser.get(served.url)
        browser.find_element(By.ID, "speak").click()
        wait(browser, lambda: "wants a key" in shown(browser, "progress"))
        browser.find_element(By.ID, "key").send_keys(key)
        browser.find_element(By.ID, "speak").click()
        wait(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#segments tbody tr")) >= 1)


def test_a_browser_without_a_microphone_says_why(served: Served, browser: Any) -> None:
    """Plain http from another machine: browsers give such pages no microphone at all."""
    port = served.url.rpartition(":")[2]
    with chromium("--host-resolver-rules=MAP plain.example 127.0.0.1") as elsewhere:
        elsewhere.get(f"http://plain.example:{port}/")
        elsewhere.find_element(By.ID, "speak").click()
        wait(elsewhere, lambda: "error" in elsewhere.find_element(By.ID, "progress").get_attribute("class"))
        assert "https" in shown(elsewhere, "progress")
        assert "localhost" in shown(elsewhere, "progress")
        assert shown(elsewhere, "speak") == "Speak"
    browser.get(served.url)  # from this machine, but nothing to hear with
    browser.find_element(By.ID, "speak").click()
    wait(browser, lambda: "Microphone: " in shown(browser, "progress") and shown(browser, "speak") == "Speak")
    assert "microphone" in shown(browser, "progress").removeprefix("Microphone: ")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(served: Served, browser: Any, tmp_path: Path, width: int) -> None:
    device = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    browser.get(served.url)
    browser.find_element(By.ID, "file").send_keys(str(write_wav(tmp_path / f"{'long-name-' * 12}.wav", spoken(11))))
    wait(browser, lambda: "s of audio in" in shown(browser, "progress") and shown(browser, "state") == "ready")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    for name in ("speak", "file", "key", "text", "segments", "configuration"):
        box = browser.find_element(By.ID, name).rect
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width, name
    if (folder := os.environ.get("AUTOTUNE_SCREENSHOTS")) is not None:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**device, "height": 1500})
        browser.save_screenshot(f"{folder}/page-{width}.png")
