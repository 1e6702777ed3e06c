"""Directories of FunASR models as autotune reads them: plain files, no torch, no code from the directory."""

from autotune.model_directory.punctuation import PUNCTUATION_CLASS, PunctuationDirectory, PunctuationVocabulary
from autotune.model_directory.recognition import (
    FRONT_ENDS,
    SUPPORTED_ARCHITECTURES,
    Architecture,
    FrontendConfig,
    Given,
    ModelDirectory,
    named_files,
    read_tokens,
)
from autotune.model_directory.vad import VAD_CLASS, VAD_ENCODER, VadDirectory

__all__ = [
    "FRONT_ENDS",
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
    "named_files",
    "read_tokens",
]
