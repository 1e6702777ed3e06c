"""The servers that a ``deploy.yaml`` can be rendered for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from autotune.deployment_file import DeploymentFile
from autotune.documents import suggest
from autotune.errors import DocumentError
from autotune.render import funasr_wss, kubernetes
from autotune.render.rendering import Rendering

__all__ = ["TARGETS", "Rendering", "render", "target_options"]

TARGETS: dict[str, Callable[..., Rendering]] = {
    funasr_wss.TARGET: funasr_wss.render_funasr_wss,
    kubernetes.TARGET: kubernetes.render_kubernetes,
}
"""Target → its renderer, which takes the document and keyword options."""


def render(document: DeploymentFile, target: str, **options: Any) -> Rendering:
    """Configuration for ``target``, the same choices as measured.

    Raises:
        DocumentError: an unknown target or option, a missing option, or a deployment the target can't express.
    """
    known = target_options(target)
    for option in options:
        if option not in known:
            hint = suggest(option, sorted(known))
            raise DocumentError(f"The options of target {target} must be known, but got {option!r}. {hint}")
    missing = [option for option, needed in known.items() if needed and option not in options]
    if missing:
        raise DocumentError(f"Target {target} must be given {', '.join(missing)}, but got no such option.")
    return TARGETS[target](document, **options)


def target_options(target: str) -> dict[str, bool]:
    """Option of a target → whether it must be given. Raises DocumentError for an unknown target."""
    if target not in TARGETS:
        hint = suggest(target, sorted(TARGETS))
        raise DocumentError(f"The target must be one of {', '.join(sorted(TARGETS))}, but got {target!r}. {hint}")
    parameters = inspect.signature(TARGETS[target]).parameters.values()
    return {
        parameter.name: parameter.default is inspect.Parameter.empty
        for parameter in parameters
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
