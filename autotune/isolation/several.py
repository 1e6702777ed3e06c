"""Several children at once, whose events are handled by one thread and which end together."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from autotune.isolation.parent import OnEvent, Stop

__all__ = ["side_by_side"]

Result = TypeVar("Result")


def side_by_side(jobs: Sequence[Callable[[OnEvent, Stop], Result]], on_event: OnEvent | None = None) -> list[Result]:
    """Run jobs at the same time, each in a thread of its own; their results in order.

    The first error, and Ctrl-C, end all children and are passed on.

    Args:
        jobs: at least one; each calls ``run_task`` with what it gets.
        on_event: gets all children's events, in the calling thread: reporters needn't expect any other.
    """
    events: queue.SimpleQueue[Future[Result] | tuple[str, dict[str, Any]]] = queue.SimpleQueue()
    with contextlib.closing(Stop()) as stop, ThreadPoolExecutor(len(jobs)) as pool:
        try:
            futures = [pool.submit(job, lambda name, data: events.put((name, data)), stop) for job in jobs]
            for future in futures:
                future.add_done_callback(events.put)
            running = len(futures)
            while running:
                event = events.get()
                if isinstance(event, Future):
                    event.result()
                    running -= 1
                elif on_event is not None:
                    on_event(*event)
        finally:
            # Of no effect on those that have ended; the pool waits for the others.
            stop.set()
    return [future.result() for future in futures]
