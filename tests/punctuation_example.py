"""A tiny random punctuation model, made and exported once for all tests of a run, and FunASR's own class of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from autotune.deployment import Punctuation, PunctuationFormat
from autotune.model_directory import PunctuationDirectory
from autotune.models import PunctuationModel, punctuation_files, resolve_punctuation

__all__ = ["TINY", "funasr_text", "punctuation_folder", "punctuation_network", "punctuation_stage", "tiny_punctuation"]

TINY = "random:ct-punc-tiny"


@cache
def tiny_punctuation() -> PunctuationModel:
    return resolve_punctuation(TINY)


def punctuation_stage(fmt: PunctuationFormat = "onnx-fp32", threads: int = 1) -> Punctuation:
    return tiny_punctuation().stage(fmt, threads)


@cache
def punctuation_folder(fmt: PunctuationFormat = "onnx-fp32") -> Path:
    return punctuation_files(punctuation_stage(fmt))


@cache
def punctuation_network() -> tuple[Any, Any]:
    """FunASR's network and its tokenizer, as AutoModel builds them."""
    from autotune.engines.punctuation_network import build_punctuation

    directory = PunctuationDirectory.open(tiny_punctuation().path)
    network = build_punctuation(directory)
    from funasr.tokenizer.char_tokenizer import CharTokenizer

    return network, CharTokenizer(token_list=str(directory.tokens_path), unk_symbol="<unk>")


def funasr_text(text: str) -> str:
    """What FunASR's own inference makes of a text."""
    import torch

    network, tokenizer = punctuation_network()
    with torch.no_grad():
        results, _ = network.inference([text], key=["text"], tokenizer=tokenizer, device="cpu")
    return str(results[0]["text"])
