"""HardwareProfile: what this machine can really use: cores, instruction sets, memory, GPUs. Imports no runtime."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path

from autotune.documents import Document

__all__ = [
    "DOT_PRODUCTS",
    "ISA_FLAGS",
    "Gpu",
    "HardwareProfile",
    "cgroup_cpu_quota",
    "cgroup_cpu_quotas",
    "cgroup_folders",
    "probe_hardware",
]

ISA_FLAGS = {
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_tile": "amx_tile",
    "amx_bf16": "amx_bf16",
    "amx_int8": "amx_int8",
    "asimd": "neon",
    "asimddp": "neon_dotprod",
    "i8mm": "neon_i8mm",
    "bf16": "neon_bf16",
    "sve": "sve",
}
"""/proc/cpuinfo flag → name used in search spaces."""

DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "neon_dotprod", "neon_i8mm"})
"""Instruction sets with one of which sums of signed 8-bit products don't saturate."""


class Gpu(Document):
    """One GPU as NVML reports it."""

    index: int
    name: str
    memory_bytes: int
    compute_capability: str
    driver: str


class HardwareProfile(Document):
    """What this process may use of the machine."""

    cpu: str
    """Model name of the CPU."""
    architecture: str
    """``x86_64``, ``aarch64``, …"""
    usable_cores: int
    """min(affinity mask, cgroup CPU quota rounded up): what threads can really run on."""
    cpus: tuple[int, ...]
    """Ids of the CPUs in the affinity mask."""
    logical_cores: int
    """All logical CPUs of the machine, usable or not."""
    isa: tuple[str, ...]
    memory_bytes: int
    """min(physical memory, cgroup limit)."""
    gpus: tuple[Gpu, ...]

    @property
    def fingerprint(self) -> str:
        """12 hex digits that are equal on identical machines, whatever their host names."""
        facts = self.model_dump(mode="json", exclude={"cpus"})
        # A cgroup limit or a kernel update moves the total by a little: compare whole GiB.
        facts["memory_bytes"] = round(self.memory_bytes / 2**30)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]

    def describe(self) -> str:
        """One line for a terminal: CPU, usable cores, memory, GPUs."""
        gpus = ", ".join(gpu.name for gpu in self.gpus) or "no GPU"
        fast = [name for name in self.isa if name.startswith(("amx", "avx512_", "avx_vnni", "neon_"))]
        extra = f" ({', '.join(fast)})" if fast else ""
        return f"{self.cpu}{extra}, {self.usable_cores} usable cores, {self.memory_bytes / 2**30:.0f} GiB, {gpus}"


def probe_hardware() -> HardwareProfile:
    """Read affinity, cgroup limits, /proc and NVML; takes a few milliseconds, starts nothing."""
    import psutil

    cpus = (
        tuple(sorted(os.sched_getaffinity(0)))
        if hasattr(os, "sched_getaffinity")
        else tuple(range(os.cpu_count() or 1))
    )
    quota = cgroup_cpu_quota()
    usable = len(cpus) if quota is None else max(1, min(len(cpus), int(-(-quota // 1))))
    total = psutil.virtual_memory().total
    limit = _cgroup_memory_limit()
    model, isa = _cpuinfo()
    return HardwareProfile(
        cpu=model,
        architecture=platform.machine(),
        usable_cores=usable,
        cpus=cpus,
        logical_cores=os.cpu_count() or 1,
        isa=isa,
        memory_bytes=min(total, limit) if limit else total,
        gpus=_gpus(),
    )


def cgroup_cpu_quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """The CPUs that the quotas of this process's cgroup and its parents leave it, a fraction; None without a quota."""
    quotas = cgroup_cpu_quotas(root, membership)
    return min(quotas.values()) if quotas else None


def cgroup_cpu_quotas(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> dict[Path, float]:
    """The quota, in CPUs, of each folder of this process's cgroup and its parents that has one.

    Reads cgroup v2 ``cpu.max`` and v1 ``cpu.cfs_quota_us / cpu.cfs_period_us``.
    """
    quotas: dict[Path, float] = {}
    for folder in cgroup_folders(root, membership, "cpu"):
        v2 = _read(folder / "cpu.max").split()
        if len(v2) == 2 and v2[0] != "max":
            quotas[folder] = int(v2[0]) / int(v2[1])
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota and period and int(quota) > 0:
            quotas[folder] = int(quota) / int(period)
    return quotas


def _cgroup_memory_limit(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int | None:
    limits: list[int] = []
    for folder in cgroup_folders(root, membership, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text.isdigit() and int(text) < 2**60:
                limits.append(int(text))
    return min(limits) if limits else None


def cgroup_folders(root: Path, membership: Path, controller: str) -> list[Path]:
    """This process's cgroup folder and all its parents, for v2 and for a v1 controller."""
    folders: list[Path] = []
    for line in _read(membership).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controllers if controllers else root
        relative = Path(path.lstrip("/"))
        folders += [base / part for part in [relative, *relative.parents]]
    # Inside a container the path of the host may not exist; its own limit is then at the root.
    return [folder for folder in [*folders, root, root / controller] if folder.is_dir()]


def _cpuinfo(path: Path = Path("/proc/cpuinfo")) -> tuple[str, tuple[str, ...]]:
    model, flags = "", set[str]()
    for line in _read(path).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and not model:
            model = value.strip()
        if key.strip() in ("flags", "Features"):
            flags |= set(value.split())
    instruction_sets = tuple(sorted(name for flag, name in ISA_FLAGS.items() if flag in flags))
    return model or platform.processor() or platform.machine(), instruction_sets


def _gpus() -> tuple[Gpu, ...]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        gpus = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            gpus.append(
                Gpu(
                    index=index,
                    name=str(pynvml.nvmlDeviceGetName(handle)),
                    memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                    compute_capability=f"{major}.{minor}",
                    driver=driver,
                )
            )
        return tuple(gpus)
    finally:
        pynvml.nvmlShutdown()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
