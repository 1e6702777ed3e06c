"""Data that runs code where it is loaded as code: a trace is left behind, and tests look for it."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["PAYLOADS", "Payload"]


class Payload:
    """Unpickling it creates a file."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self._trace,)


def _torch(trace: Path) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"state_dict": {"encoder.weight": Payload(trace)}}, file)
    return file.getvalue()


def _numpy(trace: Path) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.savez(file, allow_pickle=True, weights=np.array([Payload(trace)], dtype=object))
    return file.getvalue()


PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "old pickle": lambda trace: pickle.dumps(Payload(trace), protocol=2),
    "pickle": lambda trace: pickle.dumps({"model": Payload(trace)}, protocol=5),
    "torch.save": _torch,
    "numpy": _numpy,
    "python": lambda trace: f"open({str(trace)!r}, 'w')\n".encode(),
    "yaml": lambda trace: f"model: !!python/object/apply:os.mkdir [{trace}]\n".encode(),
    "yaml at its root": lambda trace: f"!!python/object/apply:os.mkdir [{trace}]\n".encode(),
}
"""Form → the bytes of a file that would create ``trace``."""
