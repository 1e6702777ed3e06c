"""Directories of FunASR models as autotune reads them: plain files, no torch, no code from the directory."""

from autotune.model_directory.punctuation import PUNCTUATION_CLASS, PunctuationDirectory, PunctuationVocabulary
from autotune.model_directory.recognition import (
    SUPPORTED_ARCHITECTURES,
    Architecture,
    FrontendConfig,
    Given,
    ModelDirectory,
    read_tokens,
)
from autotune.model_directory.vad import VAD_CLASS, VAD_ENCODER, VadDirectory

__all__ = [
    "PUNCTUATION_CLASS",
    "SUPPORTED_ARCHITECTURES",
    "VAD_CLASS",
    "VAD_ENCODER",
    "Architecture",
    "FrontendConfig",
    "Given",
    "ModelDirectory",
    "PunctuationDirectory",
    "PunctuationVocabulary",
    "VadDirectory",
    "read_tokens",
]
