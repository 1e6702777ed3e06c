"""Placement: which cores each instance's threads may run on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from autotune.deployment import Deployment
from autotune.engines.table import engine_class
from autotune.errors import DocumentError, TrialMismatch

__all__ = ["Cpus", "instance_cpus", "keep_on", "placed_on"]

Cpus = tuple[int, ...]


def instance_cpus(deployment: Deployment, cpus: Sequence[int] | None = None) -> list[Cpus | None]:
    """Each instance's own CPUs, None where they all share what the process has, or the runtime sees to it.

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
    """Bind the calling thread, and every thread that it will start, for good. Raises TrialMismatch if it can't be."""
    if cpus is None:
        return
    os.sched_setaffinity(0, cpus)
    got = os.sched_getaffinity(0)
    if got != set(cpus):
        raise TrialMismatch(f"an instance must run on the CPUs {list(cpus)}, but is on {sorted(got)}.")


@contextlib.contextmanager
def placed_on(cpus: Cpus | None) -> Iterator[None]:
    """Bind the calling thread for a while: threads that a runtime starts meanwhile stay bound."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    keep_on(cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
