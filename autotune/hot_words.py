"""Hot words as people and clients write them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune.errors import DocumentError

__all__ = ["LONGEST_WORD", "MOST_WORDS", "checked_hot_words", "parse_hot_words", "read_hot_words", "split_hot_words"]

MOST_WORDS = 2000
"""Hot words of one request: each costs its share of an attention, and a client may send any number."""
LONGEST_WORD = 60
"""Characters of a hot word."""


def checked_hot_words(words: Sequence[str]) -> tuple[str, ...]:
    """The hot words without blanks around them, each once. Raises DocumentError."""
    kept = tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
    if len(kept) > MOST_WORDS:
        raise DocumentError(f"There must be at most {MOST_WORDS} hot words, but got {len(kept)}. Leave some out.")
    for word in kept:
        if len(word) > LONGEST_WORD:
            raise DocumentError(f"A hot word must have at most {LONGEST_WORD} characters, but got {word[:20]!r}….")
    return kept


def split_hot_words(text: str) -> tuple[str, ...]:
    """The hot words between blanks and commas: FunASR's own client puts commas. Raises DocumentError."""
    return checked_hot_words(re.split(r"[\s,，、;；]+", text))


def parse_hot_words(value: object) -> tuple[str, ...]:
    """The hot words of a message, as FunASR's clients send them: a text of words, or a JSON text {"word": weight}.

    The weights are FunASR's language model's, which isn't run; the network takes words only.

    Raises:
        DocumentError: it is neither, or too long.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DocumentError(f"hotwords must be words or a JSON object of them, but got {value!r:.40}.") from error
    if isinstance(value, Mapping):
        return checked_hot_words([str(word) for word in value])
    if not isinstance(value, str):
        raise DocumentError(f"hotwords must be words or a JSON object of them, but got {value!r:.40}.")
    return split_hot_words(value)


def read_hot_words(text: str | None, option: str) -> tuple[str, ...] | None:
    """The hot words of an option: words between blanks or commas, or a file with one a line, perhaps with its weight.

    None stays None.

    Raises:
        DocumentError: the file can't be read, or there are too many.
    """
    if text is None:
        return None
    path = Path(text).expanduser()
    if not _is_file(path):
        if text.endswith(".txt"):
            raise DocumentError(f"{option} must be a file that exists, or words between blanks, but got {text!r}.")
        return split_hot_words(text)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DocumentError(f"{option} must be a UTF-8 file with one hot word a line, but {path}: {error}.") from error
    # FunASR's C++ servers write "word weight".
    return checked_hot_words([re.sub(r"\s+\d+$", "", line) for line in lines])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # words that are too long for a path
        return False
