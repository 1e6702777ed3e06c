"""The pictures of the documentation's site in the docs, by a real Chromium: its home on a desktop, a table on a phone.

    make docs && python benchmarks/site_pictures.py

Writes ``docs/site.png`` and ``docs/site-phone.png``. Needs selenium, chromium and chromedriver.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.browser import browser
from benchmarks.report_pictures import Picture, take

ROOT = Path(__file__).parents[1]
PICTURES = {
    "index.html": Picture("site.png", 1280, 1000, ""),
    "commands/index.html": Picture("site-phone.png", 390, 900, "", dark=True),
}


def main() -> None:
    with browser() as driver:
        for page, picture in PICTURES.items():
            taken = take(driver, (ROOT / "site" / page).as_uri(), picture)
            (ROOT / "docs" / picture.name).write_bytes(taken)


if __name__ == "__main__":
    main()
