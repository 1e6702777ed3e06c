"""Children that are forked from a process that has imported for them: what they share, and what they do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.errors import TrialCrashed, TrialOutOfMemory, TrialTimeout
from autotune.isolation import run_task
from tests.isolation.conftest import SELFTEST

SELFTEST_MODULE = "tests.isolation.selftest"
IMPORTS = (SELFTEST_MODULE,)
TWO_CHILDREN = """
import json
from autotune.isolation import run_task
for _ in range(2):
    seen = run_task("{task}", {"fault": "environment"}, timeout_s=60, imports=["{module}"])
    print(json.dumps({"parent": seen["parent"], "pid": seen["pid"]}), flush=True)
"""


def environment(*imports: str, **options: Any) -> dict[str, Any]:
    return run_task(SELFTEST, {"fault": "environment"}, timeout_s=60.0, imports=imports, **options)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Makes an importable module of the given code; its name."""

    def write(code: str) -> str:
        (tmp_path / "imported_by_test.py").write_text(code, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        return "imported_by_test"

    return write


def test_children_are_processes_of_their_own_with_one_parent_that_is_not_this_process() -> None:
    first, second = environment(*IMPORTS), environment(*IMPORTS)
    assert first["parent"] == second["parent"] != os.getpid()
    assert first["pid"] != second["pid"]
    assert first["cwd"] != second["cwd"]
    assert SELFTEST_MODULE in first["modules"]


def test_a_module_is_imported_once_for_all(module: Callable[[str], str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    name = module(f"open({str(log)!r}, 'a').write('imported ')")
    for _ in range(3):
        assert name in environment(name)["modules"]
    assert log.read_text(encoding="utf-8") == "imported "


def test_other_cpus_threads_or_variables_need_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries look at them when they are loaded."""
    parents = [environment(*IMPORTS)["parent"]]
    parents.append(environment(*IMPORTS, threads=3)["parent"])
    seen = environment(*IMPORTS, cpus={min(os.sched_getaffinity(0))}, threads=3)
    assert (seen["variables"]["OMP_NUM_THREADS"], len(seen["cpus"])) == ("3", 1)
    parents.append(seen["parent"])
    monkeypatch.setenv("AUTOTUNE_TEST", "set")
    seen = environment(*IMPORTS, cpus={min(os.sched_getaffinity(0))}, threads=3)
    assert seen["variables"]["AUTOTUNE_TEST"] == "set"
    assert len({*parents, seen["parent"]}) == 4


def test_only_one_process_waits_with_its_imports(dies: Callable[[int], bool]) -> None:
    parent = environment(*IMPORTS)["parent"]
    assert environment(*IMPORTS, threads=2)["parent"] != parent
    assert dies(parent)


@pytest.mark.parametrize(
    "code",
    [
        "raise ImportError('on purpose')",
        "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "import os; os._exit(3)",
    ],
    ids=["cannot be imported", "starts a thread", "ends the process"],
)
def test_without_a_process_that_can_fork_each_child_imports_for_itself(module: Callable[[str], str], code: str) -> None:
    assert environment(module(code))["parent"] == os.getpid()


def test_an_import_that_hangs_counts_to_the_limit(module: Callable[[str], str]) -> None:
    with pytest.raises(TrialTimeout, match="within 2 s"):
        run_task(SELFTEST, {"fault": "echo"}, timeout_s=2, imports=[module("import time; time.sleep(3600)")])


def test_a_process_that_forks_and_died_is_replaced(dies: Callable[[int], bool]) -> None:
    parent = environment(*IMPORTS)["parent"]
    os.kill(parent, 9)
    assert dies(parent)
    again = environment(*IMPORTS)["parent"]
    assert again not in (parent, os.getpid())
    assert environment(*IMPORTS)["parent"] == again


def test_a_child_dies_with_the_process_that_forked_it_and_that_is_a_crash(dies: Callable[[int], bool]) -> None:
    pids: list[int] = []

    def kill_parent(_: str, data: dict[str, Any]) -> None:
        pids.append(data["pid"])
        stat = Path(f"/proc/{data['pid']}/stat").read_text(encoding="ascii")
        os.kill(int(stat.rpartition(")")[2].split()[1]), 9)

    with pytest.raises(TrialCrashed, match="killed by SIGKILL") as caught:
        run_task(SELFTEST, {"fault": "hang"}, timeout_s=60.0, imports=IMPORTS, on_event=kill_parent)
    assert not isinstance(caught.value, TrialOutOfMemory)
    assert dies(pids[0])


def test_each_thread_has_its_own_and_it_ends_with_the_thread(dies: Callable[[int], bool]) -> None:
    parents = [environment(*IMPORTS)["parent"]]
    thread = threading.Thread(target=lambda: parents.append(environment(*IMPORTS)["parent"]))
    thread.start()
    thread.join()
    assert parents[0] != parents[1]
    assert dies(parents[1])
    parents.append(environment(*IMPORTS)["parent"])
    assert parents[2] == parents[0]
    assert not Path(f"/proc/{parents[1]}").exists()  # and it isn't left unreaped


def test_two_children_at_once_are_told_apart() -> None:
    def inner(_: str, data: dict[str, Any]) -> None:
        results.append(environment(*IMPORTS))

    results: list[dict[str, Any]] = []
    outer = run_task(SELFTEST, {"fault": "echo", "events": [{}]}, timeout_s=60.0, imports=IMPORTS, on_event=inner)
    assert outer == {"payload": {"fault": "echo", "events": [{}]}}
    assert results[0]["session"] == results[0]["pid"]


def test_nothing_is_left_when_the_tuner_ends(
    tuner: Callable[[str], subprocess.Popen[str]], is_alive: Callable[[int], bool], tmp_path: Path
) -> None:
    process = tuner(TWO_CHILDREN.replace("{task}", SELFTEST).replace("{module}", SELFTEST_MODULE))
    out, err = process.communicate(timeout=60)
    first, second = map(json.loads, out.splitlines())
    assert err == ""
    assert first["parent"] == second["parent"] != process.pid
    assert not any(is_alive(pid) for pid in (first["parent"], first["pid"], second["pid"]))
    assert list(tmp_path.iterdir()) == []


def test_the_clock_of_a_forked_child_counts_the_imports_it_was_spared() -> None:
    code = """
import os, time
from autotune.isolation.clock import forked, process_started_s
time.sleep(0.5)
before = time.perf_counter()
if os.fork() == 0:
    forked(7.0)
    print(before - process_started_s(), time.perf_counter() - process_started_s())
else:
    os.wait()
"""
    root = str(Path(autotune.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    before_s, after_s = map(float, done.stdout.split())
    assert before_s <= 7.0 + 0.01 + 1e-6  # the kernel counts in ticks of 10 ms
    assert after_s >= 7.0


def test_a_forked_child_has_the_pages_of_files_that_its_parent_had(tmp_path: Path) -> None:
    """Else its peak of memory would be too low by all the libraries' pages that it doesn't happen to use again."""
    code = """
import mmap, os, sys
from autotune.isolation.mapped_pages import map_pages, mapped_pages
mapping = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
half = len(mapping) // 2
mapping[:half]
pages = mapped_pages()
def resident_kib():
    return int(open("/proc/self/status").read().split("RssFile:")[1].split()[0])
if os.fork() == 0:
    before = resident_kib()
    map_pages(pages)
    print(resident_kib() - before)
else:
    os.wait()
"""
    mapped_bytes = 64 << 20
    file = tmp_path / "library"
    file.write_bytes(bytes(mapped_bytes))
    root = str(Path(autotune.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], env=environment, capture_output=True, text=True, check=True
    )
    assert mapped_bytes / 2 <= int(done.stdout) << 10 < 0.75 * mapped_bytes
