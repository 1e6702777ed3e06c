"""autotune: measures how a FunASR model is served fastest on this machine, and writes it as ``deploy.yaml``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.version import __version__

if TYPE_CHECKING:
    from autotune.api import Study, plan, tune
    from autotune.jobs.load_model import load

__all__ = ["Study", "__version__", "load", "plan", "tune"]


def __getattr__(name: str) -> Any:
    # Lazy: ``autotune --help`` must not pay for the recognizer's imports.
    if name == "load":
        from autotune.jobs.load_model import load

        return load
    if name in __all__:
        from autotune import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
