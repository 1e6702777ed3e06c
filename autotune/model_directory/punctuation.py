"""The directory of a FunASR punctuation model (``ct-punc``) as autotune reads it: plain files, no torch, no code."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.digests import file_sha256
from autotune.documents import read_yaml
from autotune.errors import DocumentError, ModelError
from autotune.model_directory.recognition import named_files

__all__ = ["PUNCTUATION_CLASS", "PunctuationDirectory", "PunctuationVocabulary"]

PUNCTUATION_CLASS = "CTTransformer"
"""FunASR's class of ``ct-punc``, https://arxiv.org/abs/2003.01309. Its streaming sibling needs other inputs."""

_UNSUPPORTED_TOKENIZER = ("seg_dict", "non_linguistic_symbols")
"""Settings of FunASR's CharTokenizer that change which words it finds; no published model has them."""


@dataclass(frozen=True)
class PunctuationVocabulary:
    """What turns words into a punctuation model's inputs, and its classes into marks."""

    ids: dict[str, int]
    """Word → token id; Chinese by characters, other languages by words, as they are written."""
    unknown: int
    """Token id of every other word."""
    marks: tuple[str, ...]
    """The mark of each class; ``_`` is none."""
    sentence_end: int
    """Class of the full stop that ends a sentence which is cut at a comma."""


@dataclass(frozen=True)
class PunctuationDirectory:
    """A directory with ``config.yaml``, the weights and the tokens of a punctuation model; trusted for data only."""

    path: Path
    weights_path: Path
    tokens_path: Path
    config: dict[str, Any]
    """``config.yaml`` as parsed."""

    @classmethod
    def open(cls, path: Path) -> PunctuationDirectory:
        """Read ``config.yaml`` (and ``configuration.json`` for file names).

        Raises:
            ModelError: not a directory, a file is missing, another class, or something that isn't supported here.
        """
        path = Path(path).resolve()
        if not path.is_dir():
            raise ModelError(f"The punctuation model must be a directory, but {path} is not one.")
        where = path / "config.yaml"
        try:
            config = read_yaml(where)
        except DocumentError as error:
            raise ModelError(
                f"A punctuation model's directory must hold a readable config.yaml, but: {error}"
            ) from error
        if not isinstance(config, dict):
            raise ModelError(f"{where} must hold a mapping, but got {type(config).__name__}.")
        _check_config(config, where)
        named = named_files(path)
        _check_dictionary(path, config, named)
        weights = named.get("init_param") or path / "model.pt"
        tokens = named.get("token_list") or path / "tokens.json"
        for file in (weights, tokens):
            if not file.is_file():
                raise ModelError(f"A punctuation model's directory must hold {file.name}, but {path} has none.")
        return cls(path=path, weights_path=weights, tokens_path=tokens, config=config)

    @property
    def sha256(self) -> str:
        """Digest over the names and contents of the files that decide what the model computes. Raises OSError."""
        digest = hashlib.sha256()
        for path in (self.path / "config.yaml", self.weights_path, self.tokens_path):
            digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
        return digest.hexdigest()

    def vocabulary(self) -> PunctuationVocabulary:
        """The tokens and classes. Raises ModelError for a damaged list of tokens."""
        try:
            tokens = json.loads(self.tokens_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.tokens_path} must be a JSON list of tokens, but: {error}") from error
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ModelError(f"{self.tokens_path} must be a JSON list of strings.")
        ids = {token: index for index, token in enumerate(tokens)}
        unknown = str((self.config.get("tokenizer_conf") or {}).get("unk_symbol", "<unk>"))
        if len(ids) != len(tokens) or unknown not in ids:
            raise ModelError(
                f"{self.tokens_path} must hold each token once and {unknown!r} among them, but has {len(tokens)} "
                f"tokens, {len(ids)} of them distinct."
            )
        settings = self.config["model_conf"]
        return PunctuationVocabulary(
            ids=ids,
            unknown=ids[unknown],
            marks=tuple(settings["punc_list"]),
            sentence_end=int(settings.get("sentence_end_id", 3)),
        )


def _check_config(config: dict[str, Any], where: Path) -> None:
    """Raise ModelError unless FunASR would build a CTTransformer of a SANMEncoder with a plain list of tokens."""
    for key, wanted in (("model", PUNCTUATION_CLASS), ("encoder", "SANMEncoder"), ("tokenizer", "CharTokenizer")):
        if config.get(key) != wanted:
            raise ModelError(
                f"{key} of a punctuation model must be {wanted}, but got {config.get(key)!r} ({where}: {key})."
            )
    for key in ("model_conf", "encoder_conf", "tokenizer_conf"):
        if not isinstance(config.get(key) or {}, dict):
            raise ModelError(f"{key} must be a mapping, but got {config[key]!r:.60} ({where}).")
    settings = config.get("model_conf") or {}
    marks, end = settings.get("punc_list"), settings.get("sentence_end_id", 3)
    if not isinstance(marks, list) or not all(isinstance(mark, str) and mark for mark in marks):
        raise ModelError(f"model_conf.punc_list must be a list of punctuation marks, but got {marks!r:.60} ({where}).")
    if not isinstance(end, int) or not 0 <= end < len(marks):
        raise ModelError(f"model_conf.sentence_end_id must be in 0..{len(marks) - 1}, but got {end!r} ({where}).")
    wrong = [key for key in _UNSUPPORTED_TOKENIZER if (config.get("tokenizer_conf") or {}).get(key)]
    if wrong:
        raise ModelError(f"tokenizer_conf.{wrong[0]} of a punctuation model must be absent ({where}).")


def _check_dictionary(path: Path, config: dict[str, Any], named: dict[str, Path]) -> None:
    """Raise ModelError where FunASR would split words with jieba."""
    # As FunASR's download_model: files are those that configuration.json names; without it, those that are there.
    given = config.get("jieba_usr_dict") or named.get("jieba_usr_dict")
    if given is None and not (path / "configuration.json").exists() and (path / "jieba_usr_dict").exists():
        given = path / "jieba_usr_dict"
    if given is not None:
        raise ModelError(
            f"A punctuation model must do without a jieba dictionary, but FunASR would use {given}. Take the directory "
            "from Hugging Face (funasr/ct-punc), which has none, or a copy without that file."
        )
