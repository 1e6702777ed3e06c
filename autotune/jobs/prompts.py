"""SenseVoice's prompts that a user asks for: what is searched and compared has them, or it is an error."""

from __future__ import annotations

from typing import get_args

from autotune.deployment import Language
from autotune.documents import suggest
from autotune.errors import DocumentError
from autotune.jobs.options import TuneOptions
from autotune.models import ModelInfo
from autotune.space.capabilities import Target
from autotune.space.resolved import ResolvedSpace

__all__ = ["Prompts", "asked_prompts", "check_model_has", "check_space_has"]

Prompts = dict[str, str]
"""Path in a deployment → what was asked for there; empty: nothing was."""

_OPTIONS = {"language": "--language", "text_norm": "--itn"}


def asked_prompts(options: TuneOptions, target: Target) -> Prompts:
    """The prompts of ``--language`` and ``--itn``.

    Raises:
        DocumentError: an unknown language, or the target always asks for another.
    """
    prompts: Prompts = {}
    if options.language is not None:
        if options.language not in get_args(Language):
            hint = suggest(options.language, list(get_args(Language)))
            raise DocumentError(
                f"--language must be one of {', '.join(get_args(Language))}, but got {options.language!r}. {hint}"
            )
        prompts["language"] = options.language
    if options.itn is not None:
        prompts["text_norm"] = "withitn" if options.itn else "woitn"
    for path, value in prompts.items():
        settled = target.settled.get(path, value)
        if settled != value:
            raise DocumentError(
                f"{_OPTIONS[path]} must be what --target {target.name} can do, which always asks for {settled}, but "
                f"{value} was asked for. Leave it out, or choose another target."
            )
    return prompts


def check_space_has(space: ResolvedSpace, prompts: Prompts) -> None:
    """Raise DocumentError where a branch of the space has prompts of its own, and others than were asked for."""
    for branch in space.branches:
        for path, value in prompts.items():
            if branch.choices(path) != (value,):
                own = ", ".join(map(str, branch.choices(path)))
                raise DocumentError(
                    f"{_OPTIONS[path]} must be that of every deployment, but the branch {branch.name} of the search "
                    f"space {space.name} has {path}: {own}, and {value} was asked for. Say it in one place."
                )


def check_model_has(model: ModelInfo, prompts: Prompts) -> None:
    """Raise DocumentError where prompts were asked for of a model without any."""
    if prompts and model.architecture != "SenseVoiceSmall":
        options = " and ".join(_OPTIONS[path] for path in prompts)
        raise DocumentError(
            f"{options} must be asked of a model that has such a prompt (SenseVoiceSmall), but {model.id} is a "
            f"{model.architecture}. Leave it out."
        )
