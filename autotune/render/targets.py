"""The servers that a ``deploy.yaml`` can be rendered for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from autotune.deploy_yaml import DeploymentFile
from autotune.documents import suggest
from autotune.errors import DocumentError
from autotune.render import (
    compose,
    funasr_python,
    funasr_servers,
    kubernetes,
    systemd,
    triton,
)
from autotune.render.rendering import Rendering

__all__ = ["TARGETS", "Renderer", "render", "target_options"]


@dataclass(frozen=True)
class Renderer:
    """The options of a target, and the function that renders it."""

    options: type[Any]
    """Dataclass of the target's options."""
    render: Callable[[DeploymentFile, Any], Rendering]
    """Takes the document and the options."""


TARGETS: dict[str, Renderer] = {
    funasr_servers.WSS: Renderer(funasr_servers.WssOptions, funasr_servers.render_funasr_wss),
    funasr_servers.TWO_PASS: Renderer(funasr_servers.TwoPassOptions, funasr_servers.render_funasr_wss_2pass),
    funasr_servers.HTTP: Renderer(funasr_servers.HttpOptions, funasr_servers.render_funasr_http),
    funasr_python.TARGET: Renderer(funasr_python.PythonOptions, funasr_python.render_funasr_python),
    triton.TARGET: Renderer(triton.TritonOptions, triton.render_triton),
    compose.TARGET: Renderer(compose.ComposeOptions, compose.render_compose),
    kubernetes.TARGET: Renderer(kubernetes.KubernetesOptions, kubernetes.render_kubernetes),
    systemd.TARGET: Renderer(systemd.SystemdOptions, systemd.render_systemd),
}
"""Target → its renderer."""


def render(document: DeploymentFile, target: str, **options: Any) -> Rendering:
    """Configuration for ``target``, the same choices as measured.

    Args:
        document: the measured deployment.
        target: one of ``TARGETS``.
        options: the target's own; a number may be given as text.

    Raises:
        DocumentError: an unknown target or option, a missing option, or a deployment the target can't express.
    """
    options_of_target = target_options(target)
    for option in options:
        if option not in options_of_target:
            hint = suggest(option, sorted(options_of_target))
            raise DocumentError(f"The options of target {target} must be known, but got {option!r}. {hint}")
    missing = [option for option, needed in options_of_target.items() if needed and option not in options]
    if missing:
        raise DocumentError(f"Target {target} must be given {', '.join(missing)}, but got no such option.")
    renderer = TARGETS[target]
    hints = get_type_hints(renderer.options)
    given = {name: _typed(name, value, hints[name]) for name, value in options.items()}
    return renderer.render(document, renderer.options(**given))


def target_options(target: str) -> dict[str, bool]:
    """Option of a target → whether it must be given. Raises DocumentError for an unknown target."""
    if target not in TARGETS:
        hint = suggest(target, sorted(TARGETS))
        raise DocumentError(f"The target must be one of {', '.join(sorted(TARGETS))}, but got {target!r}. {hint}")
    fields = dataclasses.fields(TARGETS[target].options)
    return {field.name: field.default is dataclasses.MISSING for field in fields}


def _typed(name: str, value: Any, hint: Any) -> Any:
    """An option's value in its own type: on the command line everything is text."""
    if not isinstance(value, str):
        return value
    if hint is bool:
        if value not in ("true", "false"):
            raise DocumentError(f"{name} must be true or false, but got {value!r}.")
        return value == "true"
    if int not in (hint, *get_args(hint)):
        return value
    try:
        return int(value)
    except ValueError:
        raise DocumentError(f"{name} must be a whole number, but got {value!r}.") from None
