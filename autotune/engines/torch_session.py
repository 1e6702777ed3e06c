"""What the engines on torch share: threads and devices, set and verified, and running a module."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autotune.deployment import Deployment
from autotune.engines.base import EngineFacts, EngineOutput
from autotune.engines.tensors import alphas_of_rows
from autotune.errors import EngineUnavailableError, TrialMismatch
from autotune.isolation.out_of_memory import allocation_failures_as_memory_error

__all__ = [
    "device_of_module",
    "full_float32",
    "import_torch",
    "open_device",
    "run_module",
    "set_threads",
    "torch_facts",
]


def import_torch(engine: str) -> Any:
    """The torch module. Raises EngineUnavailableError where it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise EngineUnavailableError(
            f"Engine {engine} needs torch, but it cannot be imported ({error}). Install it: pip install torch."
        ) from error
    return torch


def open_device(torch: Any, name: str) -> Any:
    """The torch device of ``cpu`` or ``cuda:N``. Raises EngineUnavailableError where it is not there."""
    kind, _, index = name.partition(":")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index) >= count:
            raise EngineUnavailableError(
                f"Device {name} must be one of the {count} CUDA devices that torch {torch.__version__} finds. Install "
                "torch with CUDA (https://pytorch.org/get-started/locally/) and NVIDIA's driver, or choose device cpu."
            )
    return torch.device(name)


def full_float32(torch: Any) -> None:
    """Float32 on a GPU with all its 23 bits: torch lets cuDNN's convolutions round to TF32, which keeps 10.

    The older names of two settings: they exist in every torch that is supported, the newer ones since 2.9.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def set_threads(torch: Any, deployment: Deployment) -> None:
    """Set torch's threads, which all engines of the process share, and read them back. Raises TrialMismatch."""
    torch.set_num_threads(deployment.intra_op_num_threads)
    if torch.get_num_interop_threads() != deployment.inter_op_num_threads:
        try:
            torch.set_num_interop_threads(deployment.inter_op_num_threads)
        except RuntimeError as error:
            raise TrialMismatch(
                f"inter_op_num_threads must be {deployment.inter_op_num_threads}, but torch already uses "
                f"{torch.get_num_interop_threads()} and can be set only once per process. Load it in a fresh process."
            ) from error
    got = (torch.get_num_threads(), torch.get_num_interop_threads())
    if got != (deployment.intra_op_num_threads, deployment.inter_op_num_threads):
        raise TrialMismatch(
            f"torch must use {deployment.intra_op_num_threads} intra-op and {deployment.inter_op_num_threads} inter-op "
            f"threads, but uses {got[0]} and {got[1]}."
        )


def device_of_module(module: Any, expected: Any) -> str:
    """Where all parameters and buffers are. Raises TrialMismatch where one is not on ``expected``."""
    devices = {str(tensor.device) for tensor in (*module.parameters(), *module.buffers())}
    if devices != {str(expected)}:
        raise TrialMismatch(
            f"All weights must be on {expected}, but they are on {', '.join(sorted(devices)) or 'none'}."
        )
    return devices.pop()


def torch_facts(torch: Any, device: str) -> EngineFacts:
    """Threads and runtime as torch reports them now."""
    return EngineFacts(
        runtime=f"torch {torch.__version__}",
        device=device,
        intra_op_num_threads=torch.get_num_threads(),
        inter_op_num_threads=torch.get_num_interop_threads(),
        details={
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "mkldnn": torch.backends.mkldnn.is_available(),
            "cuda": torch.version.cuda,
        },
    )


def run_module(
    module: Any,
    device: Any,
    inputs: tuple[npt.NDArray[Any], ...],
    *,
    threads: int,
    scores: bool = False,
    times: bool = False,
    autocast: bool = False,
) -> EngineOutput:
    """Run ``module(*inputs)`` on ``device`` and bring back the argmax.

    The module gives (scores, lengths, …), or with a lean graph (ids, lengths, scores); with ``times`` its method
    ``timed`` gives FunASR's ``us_alphas`` behind them. With ``autocast`` its matrix products are in bfloat16.

    Raises:
        MemoryError: an allocation failed.
        TrialMismatch: the outputs are on another device.
        RuntimeError: torch's own.
    """
    import torch

    # OpenMP keeps the number per thread, and another engine of the process may have changed it.
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    cast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast)
    with torch.inference_mode(), cast, allocation_failures_as_memory_error():
        # Methods of a compiled or recorded module are those of the module itself.
        run = module.timed if times else module
        first, lengths, *rest = run(*(_tensor(torch, array).to(device) for array in inputs))
        if first.device != device:
            raise TrialMismatch(f"The model must run on {device}, but its outputs are on {first.device}.")
        inside = not first.is_floating_point()
        # On the device: ids are a vocabulary's size smaller than scores to copy back.
        ids = (first if inside else first.argmax(dim=-1).to(torch.int32)).cpu().numpy()
        scores_of_rows = rest[0] if inside else first
        positions = np.rint(lengths.cpu().numpy()).astype(np.int32).reshape(-1)
        return EngineOutput(
            ids=ids,
            lengths=np.minimum(positions, ids.shape[1]),
            scores=scores_of_rows.float().cpu().numpy() if scores else None,
            alphas=alphas_of_rows(rest[-1].float().cpu().numpy(), inputs[1]) if times else (),
        )


def _tensor(torch: Any, array: npt.NDArray[Any]) -> Any:
    # from_numpy shares memory, and warns of arrays that must not be written.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
