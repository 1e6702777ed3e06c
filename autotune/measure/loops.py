"""Loops: the same arithmetic on several CPUs at once, and how long each CPU took for it."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from queue import SimpleQueue

__all__ = ["LoopRun", "LoopTime", "Loops", "loop_name", "loop_times"]

ITERATIONS = 6000
"""4 ms on a CPU of 2021: as long as a hypervisor's time slice, so that half a CPU is not missed."""


def _loop() -> None:
    # One call in C that leaves the interpreter's lock alone and stays in the first cache. SHA-512 keeps the integer
    # units busy, so that a sibling on the same core shows; SHA-256 is one instruction that mostly waits for itself.
    hashlib.pbkdf2_hmac("sha512", b"autotune-password", b"autotune-salt-16", ITERATIONS)


def loop_name() -> str:
    """What is run: times of loops with different names are not comparable."""
    from ssl import OPENSSL_VERSION

    return f"PBKDF2 with SHA-512, {ITERATIONS} iterations, {OPENSSL_VERSION}"


@dataclass(frozen=True)
class LoopRun:
    """One loop on one CPU, in seconds from its release to its end."""

    wall_s: float
    cpu_s: float
    """CPU time of the loop's thread."""
    process_s: float
    """CPU time of the whole process."""


@dataclass(frozen=True)
class LoopTime:
    """What one loop took."""

    wall_s: float
    """From its release to its end."""
    charged_s: float
    """The same without what this process's own threads may have delayed it by."""


def loop_times(runs: Mapping[int, LoopRun]) -> dict[int, LoopTime]:
    """The time of each CPU's loop, with and without this process's own doing: runtimes spin after a batch.

    A loop that waits for its CPU has more wall time than CPU time. At most as much of that wait is the process's own
    doing as its other threads used CPU time meanwhile. A core that the hypervisor takes away unreported lengthens the
    CPU time itself, so no spinning hides it.
    """
    loops_s = sum(run.cpu_s for run in runs.values())
    return {
        cpu: LoopTime(run.wall_s, run.wall_s - min(max(0.0, run.wall_s - run.cpu_s), max(0.0, run.process_s - loops_s)))
        for cpu, run in runs.items()
    }


class Loops:
    """A thread on each CPU that sleeps between rounds; used by one thread.

    The threads stay from round to round: one that had to be started on a CPU that is away would be released late, and
    the look would miss what it is for.
    """

    def __init__(self, cpus: Collection[int]) -> None:
        """Start a thread on each of ``cpus``; a CPU on which none may run, or the loop can't, is left out."""
        workers = [_Worker(cpu) for cpu in sorted(cpus)]
        self._workers = [worker for worker in workers if worker.is_ready()]

    def round(self) -> dict[int, LoopTime]:
        """Run the loop once on every CPU at once; CPU → its time."""
        process_s = time.process_time()
        for worker in self._workers:
            worker.release(process_s)
        return loop_times({worker.cpu: worker.result() for worker in self._workers})

    def close(self) -> None:
        """End the threads, which would else wait for rounds until the process ends."""
        for worker in self._workers:
            worker.end()


class _Worker:
    """A thread bound to one CPU."""

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        self._released: SimpleQueue[tuple[float, float] | None] = SimpleQueue()
        self._results: SimpleQueue[LoopRun | None] = SimpleQueue()
        # A daemon: an exception in a measurement must not leave a process that waits for it.
        self._thread = threading.Thread(target=self._work, name=f"autotune-loop-{cpu}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # a limit on threads
            self._results.put(None)

    def is_ready(self) -> bool:
        """Whether the thread runs on its CPU; waits for its first loop."""
        return self._results.get() is not None

    def release(self, process_s: float) -> None:
        self._released.put((time.perf_counter(), process_s))

    def result(self) -> LoopRun:
        run = self._results.get()
        assert run is not None, "a worker that is not ready is never released"
        return run

    def end(self) -> None:
        self._released.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            os.sched_setaffinity(0, {self.cpu})  # of this thread alone
            self._results.put(self._timed(time.perf_counter(), time.process_time()))
        except (OSError, ValueError):  # outside of a cpuset that has just shrunk; a digest that a policy forbids
            self._results.put(None)
            return
        while (released := self._released.get()) is not None:
            self._results.put(self._timed(*released))

    def _timed(self, released_s: float, process_s: float) -> LoopRun:
        began_s = time.thread_time()
        _loop()
        cpu_s, ended_s = time.thread_time() - began_s, time.perf_counter()
        # Read on this CPU: what a thread that has just left it used is counted, of one that runs elsewhere not yet all.
        return LoopRun(ended_s - released_s, cpu_s, time.process_time() - process_s)
