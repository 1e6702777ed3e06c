"""A Chromium without a window, for pictures of pages."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from selenium import webdriver

__all__ = ["browser"]


@contextlib.contextmanager
def browser(*flags: str) -> Iterator[webdriver.Chrome]:
    """Start it with more flags than it always has, and end it with the block."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", *flags):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
