"""What memory a plan's replicas need, and what they may take."""

from __future__ import annotations

from dataclasses import asdict

from autotune.deploy_yaml import DeploymentFile, ReplicaMemory, replica_memory
from autotune.errors import InfeasibleSloError
from autotune.planning.document import Memory
from autotune.planning.options import PlanOptions

__all__ = ["check_memory", "memory_limit", "memory_of"]


def memory_limit(document: DeploymentFile, options: PlanOptions) -> int:
    """Bytes that a replica may take: what is given, or all that the measured machine has."""
    return options.memory_bytes or document.hardware.memory_bytes


def check_memory(name: str, document: DeploymentFile, options: PlanOptions) -> None:
    """Raise InfeasibleSloError where a replica needs more than there is even without any load."""
    needed, limit = replica_memory(document), memory_limit(document, options)
    if needed.total > limit:
        given = "--memory gives" if options.memory_bytes else "the measured machine has"
        raise InfeasibleSloError(
            f"{name}: a replica must have {needed.total / 2**30:.2f} GiB, {needed.describe()}, but {given} "
            f"{limit / 2**30:.2f} GiB. Plan with more, or tune with --max-memory."
        )


def memory_of(needed: ReplicaMemory, document: DeploymentFile, options: PlanOptions) -> Memory:
    """What is on record in a plan."""
    return Memory(needed=needed.total, limit=memory_limit(document, options), parts=asdict(needed))
