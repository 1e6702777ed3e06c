"""What a request asks for beside its text, and which of it a model can give."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.deployment import Deployment, Language, TextNorm
from autotune.errors import DocumentError
from autotune.model_directory import ModelDirectory
from autotune.options import Channel

__all__ = ["NOTHING", "Asked", "can_choose_language", "can_time_words", "check_asked"]


@dataclass(frozen=True)
class Asked:
    """What a request asks for beside its text; the default costs nothing."""

    words: bool = False
    """The times of its words."""
    language: Language | None = None
    """SenseVoice's language prompt; None: the deployment's."""
    text_norm: TextNorm | None = None
    """SenseVoice's text normalisation prompt; None: the deployment's."""
    channel: Channel = "mix"
    """What is heard of its channels; of ``split``, segments have their side."""
    hot_words: tuple[str, ...] = ()
    """Words that SeacoParaformer listens for."""


NOTHING = Asked()


def can_time_words(deployment: Deployment, model: ModelDirectory) -> bool:
    """Whether the times of words can be had: of CTC, where each frame has its token, or of BiCif's second CIF.

    Not through FunASR's AutoModel.
    """
    return (model.architecture == "SenseVoiceSmall" or model.gives_times) and deployment.engine != "funasr"


def can_choose_language(deployment: Deployment, model: ModelDirectory) -> bool:
    """Whether each request may have a language and a text normalisation of its own."""
    return model.architecture == "SenseVoiceSmall" and deployment.engine != "funasr"


def check_asked(
    asked: Asked, deployment: Deployment, model: ModelDirectory, *, own_decoder: bool, takes_hot_words: bool
) -> None:
    """Raise DocumentError for what a recognizer can't give.

    Args:
        asked: by a request.
        deployment: the recognizer's.
        model: the recognizer's.
        own_decoder: whether it decodes itself, not FunASR's own path.
        takes_hot_words: whether it was loaded with hot words.
    """
    if asked.hot_words and not own_decoder:
        raise DocumentError("A request's hot words must be for autotune's own recognizer; FunASR's has one list.")
    if asked.hot_words and not takes_hot_words:
        raise DocumentError(
            "Hot words must be of a recognizer that was loaded with hot_words, but this one wasn't: "
            'autotune.load("deploy.yaml", hot_words=True).'
        )
    if asked.words and not can_time_words(deployment, model):
        raise DocumentError(f"Times of words must be of a model that gives them, but this is a {model.architecture}.")
    chosen = asked.language is not None or asked.text_norm is not None
    if chosen and not can_choose_language(deployment, model):
        raise DocumentError(
            f"A request's language must be of a model that has a choice, but this is a {model.architecture} by "
            f"{deployment.engine}."
        )
