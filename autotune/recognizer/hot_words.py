"""Hot words → token ids, as FunASR's ``generate_hotwords_list`` splits them, and hot words as people write them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from autotune.engines import HotWordIds
from autotune.errors import DocumentError, ModelError
from autotune.model_directory import ModelDirectory

__all__ = ["HotWordTokens", "checked_hot_words", "parse_hot_words", "read_hot_words"]

MOST_WORDS = 2000
"""Hot words of one request: each costs its share of an attention, and a client may send any number."""
LONGEST_WORD = 60
"""Characters of a hot word."""
_CHINESE = re.compile(r"[\u4E00-\u9FA50-9]+")
_UNKNOWN = "<unk>"


def checked_hot_words(words: Sequence[str]) -> tuple[str, ...]:
    """The hot words without blanks around them, each once. Raises DocumentError."""
    kept = tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
    if len(kept) > MOST_WORDS:
        raise DocumentError(f"There must be at most {MOST_WORDS} hot words, but got {len(kept)}. Leave some out.")
    for word in kept:
        if len(word) > LONGEST_WORD:
            raise DocumentError(f"A hot word must have at most {LONGEST_WORD} characters, but got {word[:20]!r}….")
    return kept


def parse_hot_words(value: object) -> tuple[str, ...]:
    """The hot words of a message: words between blanks, or what FunASR's clients send, a JSON text {"word": weight}.

    The weights are FunASR's language model's, which isn't run; the network takes words only.

    Raises:
        DocumentError: it is neither, or too long.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DocumentError(f"hotwords must be words or a JSON object of them, but got {value[:40]!r}.") from error
    if isinstance(value, Mapping):
        return checked_hot_words([str(word) for word in value])
    if not isinstance(value, str):
        raise DocumentError(f"hotwords must be words or a JSON object of them, but got {value!r:.40}.")
    return checked_hot_words(value.split())


def read_hot_words(text: str) -> tuple[str, ...]:
    """The hot words of ``--hotwords``: words between blanks, or a file with one a line, perhaps with a weight behind it.

    Raises:
        DocumentError: the file can't be read, or there are too many.
    """
    path = Path(text).expanduser()
    if not _is_file(path):
        if text.endswith(".txt"):
            raise DocumentError(f"--hotwords must be a file that exists, or words between blanks, but got {text!r}.")
        return checked_hot_words(text.split())
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DocumentError(
            f"--hotwords must be a UTF-8 file with one hot word a line, but {path}: {error}."
        ) from error
    # FunASR's C++ servers write "word weight".
    return checked_hot_words([re.sub(r"\s+\d+$", "", line) for line in lines])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # words that are too long for a path
        return False


class HotWordTokens:
    """Splits hot words into a model's tokens. Thread-safe."""

    def __init__(self, model: ModelDirectory) -> None:
        """Read the vocabulary, and ``seg_dict`` beside ``am.mvn`` if there is one. Raises ModelError."""
        assert model.tokens_path is not None
        text = model.tokens_path.read_text(encoding="utf-8")
        tokens: list[Any] = json.loads(text) if model.tokens_path.suffix == ".json" else text.splitlines()
        self._ids = {str(token): place for place, token in enumerate(tokens)}
        conf = model.config.get("model_conf") or {}
        self._sentence_start = (int(conf.get("sos", 1)),)
        self._pieces = _read_pieces(model)
        self.ids = lru_cache(maxsize=1024)(self._ids_of)
        """The ids of a tuple of hot words, ``<s>`` behind them; none of none."""

    def _ids_of(self, words: tuple[str, ...]) -> HotWordIds:
        if not words:
            return ()
        unknown = self._ids.get(_UNKNOWN, 0)
        found = [
            tuple(self._ids.get(token, unknown) for part in word.split() for token in self._split(part))
            for word in words
        ]
        return (*found, self._sentence_start)

    def _split(self, part: str) -> list[str]:
        if self._pieces is None:
            return [part] if part in self._ids else list(part.lower())
        part = part.lower()
        if part in self._pieces:
            return self._pieces[part]
        if not _CHINESE.fullmatch(part):
            return [_UNKNOWN]
        return [token for character in part for token in self._pieces.get(character, [_UNKNOWN])]


def _read_pieces(model: ModelDirectory) -> dict[str, list[str]] | None:
    path = model.frontend.cmvn_path.with_name("seg_dict") if model.frontend.cmvn_path is not None else None
    if path is None or not path.is_file():
        return None
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} must say the tokens of a word on each line, but: {error}") from error
    return {word: pieces for word, *pieces in (line for line in lines if line)}
