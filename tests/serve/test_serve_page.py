"""The page at /, in a real Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.serving import Served, expected_text, spoken, write_wav

webdriver = pytest.importorskip("selenium.webdriver", reason="the page is tested with selenium and Chromium")
By = pytest.importorskip("selenium.webdriver.common.by").By
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")
WAIT_S = 60


@pytest.fixture
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1000,1100"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()


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
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_what_is_not_audio_is_told(served: Served, browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no audio")
    browser.get(served.url)
    browser.find_element(By.ID, "file").send_keys(str(path))
    WebDriverWait(browser, WAIT_S).until(
        lambda page: "error" in page.find_element(By.ID, "progress").get_attribute("class")
    )
    assert "notes.txt" in browser.find_element(By.ID, "progress").text
