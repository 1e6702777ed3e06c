"""autotune: measures how a FunASR model is served fastest on this machine, and writes it as ``deploy.yaml``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.version import __version__

if TYPE_CHECKING:
    from autotune.jobs.load_model import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # Lazy: ``autotune --help`` must not pay for the recognizer's imports.
    if name == "load":
        from autotune.jobs.load_model import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
