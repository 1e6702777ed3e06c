"""FunASR's own clients, unchanged, from a checkout of its repository (set ``AUTOTUNE_FUNASR_SOURCE`` to its folder)."""

import ast
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autotune
from tests.recognizer.test_recognizer_text import deployment
from tests.seaco_example import listening_model
from tests.serve.serving import Served, expected_text, serve, spoken, write_wav
from tests.serve.speaking import heard

SOURCE = Path(os.environ.get("AUTOTUNE_FUNASR_SOURCE", ""))
CLIENT, PAGE = SOURCE / "runtime/python/websocket/funasr_wss_client.py", SOURCE / "runtime/html5/static"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not CLIENT.is_file(), reason="needs AUTOTUNE_FUNASR_SOURCE, a checkout of github.com/modelscope/FunASR"
)
WAIT_S = 60


def same(left: str, right: str) -> bool:
    """But for the spaces between segments."""
    return left.replace(" ", "") == right.replace(" ", "")


@pytest.mark.parametrize("mode", ["offline", "2pass", "online"])
def test_the_python_client_writes_the_recognizers_text(served: Served, tmp_path: Path, mode: str) -> None:
    samples = heard(spoken(3, 2))
    path = write_wav(tmp_path / "x.wav", samples)
    host, _, port = served.url.removeprefix("http://").partition(":")
    command = [sys.executable, str(CLIENT), "--host", host, "--port", port, "--ssl", "0", "--mode", mode]
    folders = ["--output_dir", str(tmp_path / "out"), "--log_dir", str(tmp_path / "log")]
    started = time.monotonic()
    subprocess.run([*command, "--audio_in", str(path), *folders], check=False, timeout=WAIT_S, cwd=tmp_path)
    spoken_s = 0 if mode == "offline" else len(samples) / 16000
    assert time.monotonic() - started - spoken_s < 10
    lines = [line.split("\t") for file in (tmp_path / "out").iterdir() for line in file.read_text().splitlines()]
    assert lines
    assert {name for name, *_ in lines} == {"demo"}
    assert same("".join(text for _, text, *_ in lines), expected_text(served.deployment, path))


def test_the_python_client_sends_hot_words_and_writes_times(tmp_path: Path) -> None:
    info = listening_model(tmp_path / "seaco")
    wanted = deployment(graph="lean")
    samples, words = spoken(3, 1), ("一丁", "丂七丄")
    path, file = write_wav(tmp_path / "x.wav", samples), tmp_path / "hot words.txt"
    file.write_text("".join(f"{word} 20\n" for word in words), encoding="utf-8")
    with serve(tmp_path, "--hotwords", "", model=info, **wanted.model_dump()) as served:
        with autotune.load(tmp_path / "deploy.yaml", hot_words=True) as ours:
            plain, (asked,) = ours.transcribe([path]), ours.transcribe([path], words=True, hotwords=words)
        assert asked.text != plain[0].text
        host, _, port = served.url.removeprefix("http://").partition(":")
        command = [sys.executable, str(CLIENT), "--host", host, "--port", port, "--ssl", "0", "--mode", "offline"]
        folders = ["--output_dir", str(tmp_path / "out"), "--log_dir", str(tmp_path / "log")]
        asking = ["--hotword", str(file), "--audio_in", str(path)]
        subprocess.run([*command, *asking, *folders], check=False, timeout=WAIT_S, cwd=tmp_path)
    (line,) = [line for text in (tmp_path / "out").iterdir() for line in text.read_text().splitlines()]
    _, said, times = line.split("\t")
    assert said == asked.text
    spans = [[round(1000 * word.start_s), round(1000 * word.end_s)] for part in asked.segments for word in part.words]
    assert ast.literal_eval(times) == spans


@pytest.fixture
def page_url() -> Iterator[str]:
    """FunASR's page, served as files."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(PAGE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@pytest.fixture
def asked(page_url: str, tmp_path: Path) -> Iterator[Served]:
    """A server that the page may ask."""
    with serve(tmp_path, "--cors-origin", page_url.removesuffix("/index.html")) as served:
        yield served


def open_page(url: str, served: Served, *flags: str) -> Any:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", *flags):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    driver.get(url)
    driver.execute_script("document.getElementById('wssip').value = arguments[0]", served.socket_url)
    return driver


def wait(driver: Any, holds: Callable[[Any], bool]) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, WAIT_S).until(holds)


def shown(driver: Any) -> str:
    """The text on the page."""
    return str(driver.execute_script("return document.getElementById('varArea').value"))


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")
def test_the_page_recognises_a_file(asked: Served, page_url: str, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", heard(spoken(4, 3)))
    # The page sends the file's header as if it were samples.
    sent = np.frombuffer(path.read_bytes(), "<i2").astype(np.float32) / np.float32(32768)
    driver = open_page(page_url, asked)
    try:
        driver.find_element("css selector", "input[name=recoder_mode][value=file]").click()
        driver.find_element("id", "upfile").send_keys(str(path))
        time.sleep(1)  # the page reads the file, and tells nobody when it has
        driver.execute_script("document.getElementById('btnConnect').disabled = false")
        driver.find_element("id", "btnConnect").click()
        expected = expected_text(asked.deployment, write_wav(tmp_path / "sent.wav", sent))
        wait(driver, lambda page: same(shown(page), expected))
    finally:
        driver.quit()


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")
def test_the_page_recognises_what_is_spoken(asked: Served, page_url: str, tmp_path: Path) -> None:
    samples = spoken(5, 3)
    path = write_wav(tmp_path / "x.wav", samples)
    microphone = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    driver = open_page(page_url, asked, *microphone, f"--use-file-for-fake-audio-capture={path}%noloop")
    try:
        driver.find_element("id", "btnConnect").click()
        wait(driver, lambda page: page.find_element("id", "btnStart").is_enabled())
        driver.find_element("id", "btnStart").click()
        wait(driver, lambda page: len(shown(page)) > 0)
        time.sleep(len(samples) / 16000)
        before = shown(driver)
        driver.find_element("id", "btnStop").click()
        wait(driver, lambda page: page.find_element("id", "btnConnect").is_enabled())
        assert len(shown(driver)) > 10
        assert shown(driver).startswith(before)
    finally:
        driver.quit()
