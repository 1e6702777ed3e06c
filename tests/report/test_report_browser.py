"""The report in a real Chromium: every plot is there and has a size, no network is asked, nothing sticks out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune.report.page import page
from autotune.report.service_plots import curve_of
from autotune.report.subject import subject_of, subject_of_result
from tests.report.replayed import Replayed

webdriver = pytest.importorskip("selenium.webdriver", reason="the page is tested with selenium and Chromium")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")
PLOTS = ("accuracy", "front", "slice-0", "service", "capacity", "drift", "noise")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def written(replayed: Replayed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    curve = curve_of(replayed.result.document, requests=200)
    (folder / "report.html").write_text(page(subject_of_result(replayed.result), curve), encoding="utf-8")
    (folder / "study.html").write_text(page(subject_of(str(replayed.journal))), encoding="utf-8")
    return folder


def opened(browser: Any, path: Path, width: int, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(path.as_uri())


def requests(browser: Any) -> list[str]:
    entries = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in entries if one["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith("data:")]


@pytest.mark.parametrize("width", [1280, 390])
def test_every_plot_is_there_and_nothing_is_asked_of_a_network(browser: Any, written: Path, width: int) -> None:
    browser.get_log("performance")
    opened(browser, written / "report.html", width)
    sizes = browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('svg.plot')].map(plot => [plot.id, "
        "[plot.getBoundingClientRect().width, plot.querySelectorAll('circle, polyline').length]]))"
    )
    for name in PLOTS:
        assert sizes[name][0] > 300, name
        assert sizes[name][1] > 1, name
    assert browser.get_log("browser") == []
    assert requests(browser) == [(written / "report.html").as_uri()]


@pytest.mark.parametrize("name", ["report.html", "study.html"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_no_wider_than_the_screen_and_its_text_is_readable(
    browser: Any, written: Path, name: str, width: int
) -> None:
    opened(browser, written / name, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    smallest = browser.execute_script(
        "return Math.min(...[...document.querySelectorAll('svg.plot text')].map(text => text.getBoundingClientRect())"
        ".map(box => Math.min(box.width, box.height)).filter(size => size > 0 && size > 4))"
    )
    heights = browser.execute_script(
        "return [...document.querySelectorAll('svg.plot')].map(plot => plot.getBoundingClientRect().width / 440 * 11.5)"
    )
    assert smallest > 4
    assert min(heights) >= 9, "labels of plots, CSS pixels"


def test_dark_and_light_differ_and_both_have_contrast(browser: Any, written: Path) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        opened(browser, written / "report.html", 1280, scheme)
        colours = browser.execute_script(
            "const of = (element, name) => getComputedStyle(element)[name].match(/[\\d.]+/g).map(Number);"
            "return [of(document.body, 'backgroundColor'), of(document.body, 'color'),"
            " of(document.querySelector('svg text'), 'fill')]"
        )
        ground, ink, faint = (0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, *_ in colours)
        assert abs(ground - ink) > 150
        assert abs(ground - faint) > 90
        grounds[scheme] = ground
    assert grounds["light"] > 200
    assert grounds["dark"] < 50


def test_it_prints_with_what_is_folded_away(browser: Any, written: Path) -> None:
    opened(browser, written / "report.html", 1280)
    assert len(browser.print_page()) > 50_000
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    height = browser.execute_script("return document.querySelector('details table').getBoundingClientRect().height")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert height > 50
