"""Hot words → token ids, as FunASR's ``generate_hotwords_list`` splits them."""

from __future__ import annotations

import random
import re
from functools import lru_cache

from autotune.engines import HotWordIds
from autotune.errors import DocumentError, ModelError
from autotune.model_directory import ModelDirectory, read_tokens

__all__ = ["HotWordTokens", "made_up_hot_words"]

_CHINESE = re.compile(r"[\u4E00-\u9FA50-9]+")
_UNKNOWN = "<unk>"


class HotWordTokens:
    """Splits hot words into a model's tokens. Thread-safe."""

    def __init__(self, model: ModelDirectory) -> None:
        """Read the vocabulary, and ``seg_dict`` beside ``am.mvn`` if there is one. Raises ModelError."""
        assert model.tokens_path is not None
        self._ids = {token: place for place, token in enumerate(read_tokens(model.tokens_path))}
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


def made_up_hot_words(model: ModelDirectory, count: int, seed: int) -> tuple[str, ...]:
    """``count`` distinct hot words, each of two to four of the model's Chinese characters, as names have.

    Raises:
        DocumentError: the model has too few such characters.
    """
    assert model.tokens_path is not None
    characters = [
        token for token in read_tokens(model.tokens_path) if len(token) == 1 and "\u4e00" <= token <= "\u9fa5"
    ]
    if len(characters) ** 2 < 2 * count:
        raise DocumentError(
            f"The {count} hot words of an audio profile must be made of the model's Chinese characters, but "
            f"{model.tokens_path} has {len(characters)}. Give the words themselves (--hotwords)."
        )
    generator = random.Random(seed)
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(generator.choice(characters) for _ in range(generator.randint(2, 4)))] = None
    return tuple(words)


def _read_pieces(model: ModelDirectory) -> dict[str, list[str]] | None:
    path = model.frontend.cmvn_path.with_name("seg_dict") if model.frontend.cmvn_path is not None else None
    if path is None or not path.is_file():
        return None
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} must say the tokens of a word on each line, but: {error}") from error
    return {word: pieces for word, *pieces in (line for line in lines if line)}
