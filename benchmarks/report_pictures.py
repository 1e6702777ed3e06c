"""The pictures of a report in the docs: on a desktop, on a phone and in the dark, by a real Chromium.

    python benchmarks/report_pictures.py deploy.yaml

Writes ``docs/report.png``, ``docs/report-phone.png`` and ``docs/report-dark.png``. The file's study must be on this
machine. Needs selenium, chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import base64
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.cli.report import write_report
from autotune.report.subject import subject_of
from autotune.reporting import Silent
from benchmarks.browser import browser

__all__ = ["Picture", "take"]

DOCS = Path(__file__).parent.parent / "docs"


@dataclass(frozen=True)
class Picture:
    """What is taken of the page."""

    name: str
    width: int
    height: int
    section: str
    """Heading of the section that it begins with; empty: the top of the page."""
    dark: bool = False


PICTURES = (
    Picture("report.png", 1280, 1500, ""),
    Picture("report-phone.png", 390, 1100, ""),
    Picture("report-dark.png", 1280, 1500, "The search", dark=True),
)


def take(driver: Any, url: str, picture: Picture) -> bytes:
    """The picture as PNG."""
    metrics = {"width": picture.width, "height": 900, "deviceScaleFactor": 0.75, "mobile": picture.width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if picture.dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    driver.get(url)
    top = driver.execute_script(
        "const found = [...document.querySelectorAll('section')].find(one => one.querySelector('h2').textContent ==="
        " arguments[0]); return found ? found.getBoundingClientRect().top + scrollY : 0",
        picture.section,
    )
    clip = {"x": 0, "y": top, "width": picture.width, "height": picture.height, "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    return base64.b64decode(shot["data"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deployment", type=Path)
    options = parser.parse_args()
    with browser("--hide-scrollbars") as driver, tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_report(subject_of(str(options.deployment)), page, Silent())
        for picture in PICTURES:
            (DOCS / picture.name).write_bytes(take(driver, page.as_uri(), picture))


if __name__ == "__main__":
    main()
