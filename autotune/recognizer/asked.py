"""What a request asks for beside its text, and which of it a model can give."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.deployment import Deployment, Language, TextNorm
from autotune.model_directory import ModelDirectory
from autotune.options import Channel

__all__ = ["NOTHING", "Asked", "can_choose_language", "can_time_words"]


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
