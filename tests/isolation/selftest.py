"""Tasks that misbehave on purpose: what the isolation must survive, for tests and diagnostics."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune.errors import DocumentError, ModelError, TrialCrashed
from autotune.isolation import activity
from autotune.isolation.child import Emit

__all__ = ["FAULTS", "run"]


def run(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Commit the fault that ``payload["fault"]`` names, see FAULTS; the other keys are its parameters."""
    name = payload["fault"]
    if name not in FAULTS:
        raise DocumentError(f"fault must be one of {', '.join(FAULTS)}, but got {name!r}.")
    return FAULTS[name](payload, emit)


def _echo(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    for event in payload.get("events", []):
        emit("echo", event)
    return {"payload": payload}


def _environment(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "cwd": str(Path.cwd()),
        "variables": dict(os.environ),
        "cpus": sorted(os.sched_getaffinity(0)),
        "modules": sorted(sys.modules),
        "stdin": sys.stdin.read(),
        "open_files": sorted(entry.name for entry in Path("/proc/self/fd").iterdir()),
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii")),
    }


def _segfault(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    ctypes.string_at(0)
    return {}


def _oom(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Fill memory inside the limited cgroup that ``cgroup`` names; gives up at ``give_up_bytes``."""
    (Path(payload["cgroup"]) / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    return _fill(int(payload["give_up_bytes"]))


def _memory_error(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    limit = int(payload["address_space_bytes"])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return _fill(2 * limit)


def _fill(give_up_bytes: int) -> dict[str, Any]:
    block = 8 << 20
    held: list[bytes] = []
    while len(held) * block < give_up_bytes:
        held.append(os.urandom(4096) * (block // 4096))
    raise RuntimeError(f"{give_up_bytes} bytes were allocated and nothing limited them")


def _hang(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    if payload.get("ignore_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    emit("hanging", {"pid": os.getpid()})
    return _sleep_forever()


def _sleep_forever() -> dict[str, Any]:
    while True:
        time.sleep(3600)


def _slow(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Do what ``how`` names for ``for_s`` seconds, within the ``blocks`` named."""
    blocks = {
        "load": lambda: activity.running("load"),
        "batch": lambda: activity.running("batch"),
        "waiting": activity.waiting_for_others,
    }
    with contextlib.ExitStack() as stack:
        for name in payload["blocks"]:
            stack.enter_context(blocks[name]())
        _WAYS[payload["how"]](float(payload["for_s"]))
    return {}


def _sleep(for_s: float) -> None:
    time.sleep(for_s)


def _sleep_with_the_gil(for_s: float) -> None:
    # As a C++ static guard does that another thread holds: nothing else of this interpreter runs.
    ctypes.PyDLL(None).usleep(int(for_s * 1e6))


def _compute_now_and_then(for_s: float) -> None:
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        busy_until = time.thread_time() + 0.05
        while time.thread_time() < busy_until:
            pass
        time.sleep(0.3)


def _compute_elsewhere(for_s: float) -> None:
    code = "import sys, time; until = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < until: pass"
    subprocess.run([sys.executable, "-S", "-c", code, str(for_s)], check=True)


def _read_now_and_then(for_s: float) -> None:
    until = time.monotonic() + for_s
    with tempfile.TemporaryFile() as file:
        file.write(bytes(1 << 16))
        while time.monotonic() < until:
            os.pread(file.fileno(), 16, 0)
            time.sleep(0.3)


def _run_short_batches(for_s: float) -> None:
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        with activity.running("batch"):
            time.sleep(0.3)


def _sleep_beside_a_heartbeat(for_s: float) -> None:
    def beat() -> None:
        activity.heartbeat()
        while True:
            pass

    threading.Thread(target=beat, daemon=True).start()
    time.sleep(for_s)


_WAYS: dict[str, Callable[[float], None]] = {
    "sleep": _sleep,
    "sleep_with_the_gil": _sleep_with_the_gil,
    "sleep_beside_a_heartbeat": _sleep_beside_a_heartbeat,
    "compute_now_and_then": _compute_now_and_then,
    "compute_elsewhere": _compute_elsewhere,
    "read_now_and_then": _read_now_and_then,
    "run_short_batches": _run_short_batches,
}


def _grandchild(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Start a process that would outlive us, then hang, or return if ``leave`` is true."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(3600)"])
    emit("grandchild", {"pid": os.getpid(), "grandchild": process.pid})
    return {} if payload.get("leave") else _sleep_forever()  # one event: who waits for it may signal at once


def _garbage(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    noise = bytes(range(256)) + b'\n{"result": {"forged": true}}\n\xff\xfe\x00'
    for fd in (1, 2):
        os.write(fd, noise)
    emit("echo", {"between": True})
    os.write(1, noise)
    return {"payload": payload}


def _corrupt_pipe(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    for entry in Path("/proc/self/fd").iterdir():
        if int(entry.name) > 2 and entry.is_fifo():
            os.write(int(entry.name), b"\x00native noise\n")
    return {}


def _big_stderr(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    for number in range(int(payload["lines"])):
        os.write(2, f"line {number} {'x' * 200}\n".encode())
    if payload.get("then_exit"):
        os._exit(1)
    return {"lines": payload["lines"]}


def _exit(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Leave at once with ``code``, as native code does."""
    print("last words", file=sys.stderr)
    os._exit(int(payload["code"]))


def _system_exit(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    raise SystemExit(payload["code"])


def _signal(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    os.kill(os.getpid(), int(payload["signal"]))
    return _sleep_forever()


def _raise(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Raise the error named ``kind``: autotune's own, a runtime's, or one that JSON can't hold."""
    message = payload.get("message", "raised on purpose")
    kinds: dict[str, BaseException] = {
        "ModelError": ModelError(message),
        "TrialCrashed": TrialCrashed(message, exit_code=7),
        "private": _PrivateModelError(message),
        "RuntimeError": RuntimeError(message),
        "KeyboardInterrupt": KeyboardInterrupt(message),
    }
    raise kinds[payload["kind"]]


class _PrivateModelError(ModelError):
    """A class that the parent does not know."""


def _flood(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Emit events without end, faster than anybody needs them."""
    while True:
        emit("flood", {"filler": "x" * 4000})


def _not_json(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    return {"object": object()}


def _not_a_dict(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    return [1]  # type: ignore[return-value]


FAULTS: dict[str, Callable[[dict[str, Any], Emit], dict[str, Any]]] = {
    "echo": _echo,
    "environment": _environment,
    "segfault": _segfault,
    "oom": _oom,
    "memory_error": _memory_error,
    "hang": _hang,
    "slow": _slow,
    "grandchild": _grandchild,
    "garbage": _garbage,
    "corrupt_pipe": _corrupt_pipe,
    "big_stderr": _big_stderr,
    "exit": _exit,
    "system_exit": _system_exit,
    "signal": _signal,
    "raise": _raise,
    "flood": _flood,
    "not_json": _not_json,
    "not_a_dict": _not_a_dict,
}
