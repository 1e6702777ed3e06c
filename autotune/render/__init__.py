"""``deploy.yaml`` as configuration for other servers."""

from autotune.render.rendering import Rendering
from autotune.render.targets import TARGETS, render, target_options

__all__ = ["TARGETS", "Rendering", "render", "target_options"]
