"""autotune: measures how a FunASR model is served fastest on this machine, and writes it as ``deploy.yaml``."""

from __future__ import annotations

from typing import Any

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Lazy: ``autotune --help`` must not pay for the recognizer's imports.
    if name == "load":
        from autotune.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
