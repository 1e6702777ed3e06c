"""What the measured deployment needs of a machine, and how many requests it can have in flight."""

from __future__ import annotations

from autotune.deploy_yaml import DeploymentFile

__all__ = [
    "IN_FLIGHT_HEADROOM",
    "MEMORY_HEADROOM_PERCENT",
    "MIB",
    "SERVER_MIB",
    "cores",
    "cores_note",
    "cpu_list",
    "knee",
    "knee_note",
    "memory_mib",
    "memory_note",
    "target_in_flight_milli",
]

MEMORY_HEADROOM_PERCENT = 20
"""Added to the measured peak: a process above its limit is killed."""

SERVER_MIB = 256
"""For ``autotune serve``'s own process, which receives uploads and speaks with clients: 130 MiB at most in a soak at
80 % of capacity (``benchmarks/soak.py``)."""

IN_FLIGHT_HEADROOM = 0.7
"""Share of the knee that a replica should have in flight: the rest absorbs what arrives until another one is ready."""

MIB = 2**20


def cores(document: DeploymentFile) -> int:
    """Threads that compute at once, at most the cores that it was measured on."""
    # FunASR's own path may ask for more threads than the machine had cores: it was measured on those.
    return min(document.deployment.threads, document.hardware.usable_cores)


def memory_mib(document: DeploymentFile) -> int:
    """The measured peak with its headroom, rounded up to MiB, and the server's own process."""
    peak = document.measurement.peak_memory_bytes
    return SERVER_MIB - (-peak * (100 + MEMORY_HEADROOM_PERCENT) // (100 * MIB))


def cpu_list(document: DeploymentFile) -> str:
    """The CPUs that it was measured on, as Linux lists them: ``0-3,8``."""
    ranges: list[list[int]] = []
    for cpu in sorted(set(document.hardware.cpus)):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def knee(document: DeploymentFile) -> float:
    """Requests in flight at which one replica is fully busy; more of them only wait. At least 1.

    Little's law: in flight = throughput × time in the system. While it was busy, the recognizer took RTFx seconds of
    audio a second, which is RTFx / (mean seconds of a recording) recordings a second; each was in the system for its
    latency (the median), a stream for as long as it was spoken as well. A profile with ``closed`` arrival is measured
    with one recording at a time, whose own segments keep the machine busy: there the law gives 1.
    """
    audio, measured = document.audio_profile, document.measurement
    if audio.arrival == "closed":
        return 1.0
    recording_s = audio.audio_s / audio.recordings
    inside_s = measured.latency_s.p50 + (recording_s if audio.arrival == "realtime" else 0.0)
    return max(1.0, measured.rtfx.median / recording_s * inside_s)


def target_in_flight_milli(document: DeploymentFile) -> int:
    """Thousandths of a request that a replica should have in flight on average: the knee with its headroom."""
    return int(knee(document) * IN_FLIGHT_HEADROOM * 1000)


def cores_note(document: DeploymentFile) -> str:
    """Where ``cores`` comes from."""
    deployment = document.deployment
    return (
        f"cpu: {cores(document)} = threads that compute at once ({deployment.instances} instances × "
        f"{deployment.intra_op_num_threads} threads, at most the {document.hardware.usable_cores} measured cores)."
    )


def memory_note(document: DeploymentFile) -> str:
    """Where ``memory_mib`` comes from."""
    peak_mib = document.measurement.peak_memory_bytes / MIB
    return (
        f"memory: {memory_mib(document)}Mi = measured peak {peak_mib:.0f} MiB + {MEMORY_HEADROOM_PERCENT} %, and "
        f"{SERVER_MIB} MiB for the server's own process, for recordings and batches like the measured ones; longer "
        "recordings need more."
    )


def knee_note(document: DeploymentFile) -> str:
    """Where ``target_in_flight_milli`` comes from."""
    audio, measured = document.audio_profile, document.measurement
    law = "one recording at a time keeps it busy"
    if audio.arrival != "closed":
        spoken = f" + {audio.audio_s / audio.recordings:.1f} s spoken" if audio.arrival == "realtime" else ""
        law = (
            f"Little's law, RTFx {measured.rtfx.median:.1f} / {audio.audio_s / audio.recordings:.1f} s a recording × "
            f"({measured.latency_s.p50:.2f} s latency{spoken})"
        )
    return (
        f"in flight: {target_in_flight_milli(document) / 1000:.3g} a replica = {IN_FLIGHT_HEADROOM:g} × the knee of "
        f"{knee(document):.3g} ({law}, at least 1)."
    )
