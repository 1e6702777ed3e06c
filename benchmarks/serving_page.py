"""The picture of the server's page in the docs: a real server, a real Chromium, an embedded recording.

    python benchmarks/serving_page.py deploy.yaml

Writes ``docs/serving.png``. Needs the extra [serve], selenium, chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from autotune.audio.embedded import embedded_clips
from benchmarks.browser import browser
from benchmarks.serving_client import serving

OUT = Path(__file__).parent.parent / "docs" / "serving.png"
WAIT_S = 120


def recording(path: Path) -> Path:
    """Four embedded clips with pauses between them."""
    pause = np.zeros(16000, np.float32)
    parts = [part for clip in embedded_clips()[:4] for part in (pause, clip.waveform)]
    soundfile.write(path, np.concatenate([*parts, pause]), 16000)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deployment", type=Path)
    options = parser.parse_args()
    with (
        browser("--window-size=960,1060") as driver,
        serving(options.deployment) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        driver.get(server.url)
        wait = WebDriverWait(driver, WAIT_S)
        wait.until(lambda page: page.find_element(By.ID, "state").text == "ready")
        driver.find_element(By.ID, "file").send_keys(f"{recording(Path(folder) / 'meeting.wav')}")
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "#segments tbody tr"))
        wait.until(lambda page: page.find_element(By.CSS_SELECTOR, "#numbers div:nth-child(5) b").text != "0")
        driver.save_screenshot(OUT)


if __name__ == "__main__":
    main()
