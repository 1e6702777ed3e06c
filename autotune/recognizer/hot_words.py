"""Hot words → token ids, as FunASR's ``generate_hotwords_list`` splits them."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from autotune.engines import HotWordIds
from autotune.errors import ModelError
from autotune.model_directory import ModelDirectory

__all__ = ["HotWordTokens"]

_CHINESE = re.compile(r"[\u4E00-\u9FA50-9]+")
_UNKNOWN = "<unk>"


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
