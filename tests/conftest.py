"""What every test shares: caches of its own, never the user's, and versions in the header."""

import os
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure: examples have no deadline.
settings.register_profile("autotune", deadline=None)
settings.load_profile("autotune")

# Tests run side by side: a library's second thread would take a core from another test, and wait for it spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Hundreds of children import the same modules: what one has compiled, the others read. It is a third of an import.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A job in the background ignores Ctrl-C, and so would all its children: some tests send it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


FIRST = (
    "test_serve_http.py",
    "test_serve_workers.py",
    "test_cli_measure.py",
    "test_cli_shared.py",
    "test_cli_tune.py",
    "test_jobs_guard_demo.py",
    "test_models_artifacts.py",
    "test_study_shared.py",
    "test_study_lost.py",
)
"""Files that take a minute or more: begun last, one of them would run alone in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


def pytest_report_header() -> str:
    names = ("funasr", "torch", "onnxruntime-gpu", "optuna", "numpy")
    return "autotune with " + ", ".join(f"{name} {version(name)}" for name in names)


@pytest.fixture(scope="session")
def run_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of all processes of a run."""
    session = tmp_path_factory.getbasetemp()
    return (session.parent if "PYTEST_XDIST_WORKER" in os.environ else session) / "cache"


@pytest.fixture(scope="session", autouse=True)
def own_directories(tmp_path_factory: pytest.TempPathFactory, run_cache: Path) -> Iterator[Path]:
    """Cache and state of the session; tiny models and their artifacts are made once, for all processes of a run."""
    folder = tmp_path_factory.mktemp("xdg")
    given = {name: os.environ.get(name) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}
    os.environ["XDG_CACHE_HOME"] = str(run_cache)
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    yield folder
    for name, value in given.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
