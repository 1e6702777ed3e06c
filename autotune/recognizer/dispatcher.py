"""The dispatcher: threads that drive one scheduler by the wall clock, one for each engine instance."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from autotune.arrays import Float32
from autotune.deployment import Batch, Deployment
from autotune.engines import Engine, engine_class
from autotune.errors import DocumentError, TrialMismatch
from autotune.recognizer.asked import NOTHING, Asked
from autotune.recognizer.batching import OFFLINE, Wait
from autotune.recognizer.decoding import Decoded
from autotune.recognizer.scheduling import QueueFacts, Scheduler
from autotune.recognizer.stats import BatchFacts, Stats

__all__ = ["Cpus", "Dispatcher", "SegmentJob", "instance_cpus", "keep_on", "placed_on"]


@dataclass(frozen=True)
class SegmentJob:
    """One segment waiting for an engine."""

    content: Float32
    """float32 [frames, feature_dim]; or [samples], 16 kHz, for an engine that consumes waveforms."""
    audio_s: float
    arrival_s: float
    """``time.perf_counter()`` of its arrival, or ``batching.OFFLINE``."""
    done: Callable[[int, Decoded | BaseException], None]
    """Called once, with ``position`` and the text or the error."""
    position: int
    owner: object
    """Whose segment it is: ``put`` limits how much of one owner waits, ``withdraw`` takes back all of it."""
    before_s: float = 0.0
    """Seconds of its recording that lie before it and arrived together with it."""
    asked: Asked = NOTHING
    """What its request asks for."""
    together: bool = False
    """Whether all that waits of its owner is one batch, whatever the policy says: FunASR's users pass lists."""


class Dispatcher:
    """Feeds engines as a ``Scheduler`` says. Thread-safe; owns its threads until ``close``."""

    def __init__(
        self,
        engines: Sequence[Engine],
        policy: Batch,
        run: Callable[[Engine, Sequence[SegmentJob]], list[Decoded]],
        *,
        stats: Stats,
        cpus: Sequence[Cpus | None] = (),
    ) -> None:
        """Start a thread for each engine, on its own ``cpus`` where they are given."""
        self._policy = policy
        self._run = run
        self._stats = stats
        # One condition for engines and for whoever queues: notify() could wake one of those for whom nothing changed.
        self._changed = threading.Condition()
        # Its clock is ``time.perf_counter``.
        self._scheduler: Scheduler[SegmentJob] = Scheduler(policy, len(engines))
        self._owners: dict[object, Sequence[object]] = {}
        """Engine's number, or what else ``tell`` was called for → the owners of the batch that it runs."""
        self._telling = threading.Lock()
        self.on_running: Callable[[list[object]], None] | None = None
        """Called with the owners of all that runs, before a batch runs and after it; must be quick."""
        self._closed = False
        places = cpus or [None] * len(engines)
        self._threads = [
            threading.Thread(
                target=self._work, args=(number, engine, place), name=f"autotune-engine-{number}", daemon=True
            )
            for number, (engine, place) in enumerate(zip(engines, places, strict=True))
        ]
        for thread in self._threads:
            thread.start()

    def put(
        self, jobs: Sequence[SegmentJob], *, limit_s: float = math.inf, gone: Callable[[], bool] = lambda: False
    ) -> None:
        """Queue segments of one owner, waiting until at most ``limit_s`` seconds of its audio wait, these included.

        Args:
            jobs: at least one; a single lot that is longer than the limit is queued when nothing else of it waits.
            limit_s: see ``Scheduler.offer``.
            gone: whether the owner was withdrawn meanwhile; then nothing is queued.

        Raises:
            RuntimeError: the dispatcher is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or gone() or self._scheduler.offer(jobs, limit_s))
            if self._closed:
                raise RuntimeError("the recognizer must be open to take audio, but it is closed")
            self._changed.notify_all()

    def withdraw(self, owner: object) -> None:
        """Remove an owner's waiting segments from the queue without calling their ``done``."""
        with self._changed:
            self._scheduler.withdraw(owner)
            self._changed.notify_all()

    def queue(self) -> QueueFacts:
        """How much waits, and what runs now."""
        with self._changed:
            return self._scheduler.facts(time.perf_counter())

    def tell(self, place: object, owners: Sequence[object]) -> None:
        """Have ``on_running`` called: what runs at a place is of these owners now; of none, nothing does."""
        if self.on_running is None:
            return
        with self._telling:
            self._owners[place] = owners
            self.on_running([owner for owners in self._owners.values() for owner in owners])

    def close(self) -> None:
        """Let running batches finish, fail what still waits, end the threads; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for job in self._scheduler.drain():
                job.done(job.position, RuntimeError("the recognizer was closed before this segment ran"))
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _work(self, number: int, engine: Engine, place: Cpus | None) -> None:
        # In the thread itself: binding goes by thread, and those that it starts inherit it.
        keep_on(place)
        while (jobs := self._next(number)) is not None:
            self.tell(number, [job.owner for job in jobs])
            results: Sequence[Decoded | BaseException]
            try:
                results = self._run(engine, jobs)
            except BaseException as error:  # noqa: BLE001 - whatever a runtime raises belongs to the caller waiting
                results = [error] * len(jobs)
            self.tell(number, ())
            self._finish(number, jobs, results)

    def _next(self, number: int) -> list[SegmentJob] | None:
        """Wait for and take the next batch; None when closed."""
        with self._changed:
            while not self._closed:
                now = time.perf_counter()
                decision = self._scheduler.next(number, now)
                if decision is None or isinstance(decision, Wait):
                    # Woken early by whatever changes the queue: a batch that is now full must not wait on.
                    self._changed.wait(None if decision is None else max(0.0, decision.until_s - now))
                    continue
                self._stats.batch_started()
                self._changed.notify_all()  # there is room now
                return decision
            return None

    def _finish(self, number: int, jobs: Sequence[SegmentJob], results: Sequence[Decoded | BaseException]) -> None:
        longest_s = max(job.audio_s for job in jobs)
        with self._changed:
            # Idle from here on: handing results out below may take a while, and idle engines share what waits.
            started = self._scheduler.finished(number)
        arrivals = [job.arrival_s for job in jobs if job.arrival_s > OFFLINE]
        self._stats.batch_ended(
            BatchFacts(
                size=len(jobs),
                audio_s=sum(job.audio_s for job in jobs),
                padded_s=len(jobs) * self._policy.padded_s(longest_s),
                waited_s=started - min(arrivals, default=started),
                began_s=started,
                wall_s=time.perf_counter() - started,
            )
        )
        # Engines take turns here, or a request's segments could be handed on in another order than settled.
        with self._changed:
            for job, result in zip(jobs, results, strict=True):
                job.done(job.position, result)


Cpus = tuple[int, ...]


def instance_cpus(deployment: Deployment, cpus: Sequence[int] | None = None) -> list[Cpus | None]:
    """The CPUs of each instance; None where instances share those of the process, or where the runtime pins itself.

    Args:
        deployment: ``pinning`` gives every instance as many CPUs as it has intra-op threads.
        cpus: those of the process; read from its affinity if None.

    Raises:
        DocumentError: there are fewer CPUs than threads, or this system can't bind threads.
    """
    if not deployment.pinning or engine_class(deployment.engine).PINS_ITSELF:
        return [None] * deployment.instances
    if cpus is None:
        if not hasattr(os, "sched_getaffinity"):
            raise DocumentError("deployment.pinning must be false on this system: it can't bind threads to CPUs.")
        cpus = sorted(os.sched_getaffinity(0))
    each = deployment.intra_op_num_threads
    if deployment.threads > len(cpus):
        raise DocumentError(
            f"deployment.pinning must find a CPU for each of {deployment.threads} threads (instances × "
            f"intra_op_num_threads), but this process may use {len(cpus)}. Lower one of them, or set pinning: false."
        )
    return [tuple(cpus[i * each : (i + 1) * each]) for i in range(deployment.instances)]


def keep_on(cpus: Cpus | None) -> None:
    """Bind the calling thread, and all that it will start, to CPUs for good. Raises TrialMismatch if it isn't bound."""
    if cpus is None:
        return
    os.sched_setaffinity(0, cpus)
    got = os.sched_getaffinity(0)
    if got != set(cpus):
        raise TrialMismatch(f"an instance must run on the CPUs {list(cpus)}, but is on {sorted(got)}.")


@contextlib.contextmanager
def placed_on(cpus: Cpus | None) -> Iterator[None]:
    """Bind the calling thread to CPUs inside the block; threads that a runtime starts in it stay bound."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    keep_on(cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
