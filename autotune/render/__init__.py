"""``deploy.yaml`` as configuration for other servers."""

from autotune.render.targets import render

__all__ = ["render"]
