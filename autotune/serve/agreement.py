"""Which part of a text that may still change can be shown."""

from __future__ import annotations

__all__ = ["Agreement"]


class Agreement:
    """Shows of interim texts only the beginning on which two in a row agree, each part once.

    Local agreement (Liu et al. 2020, https://arxiv.org/abs/2005.11185): clients of mode ``online`` append what they
    get, so what was shown can't be taken back.
    """

    def __init__(self) -> None:
        self._before = ""
        self._shown = ""

    def push(self, text: str) -> str:
        """Take the next interim text of what isn't settled; returns what can be shown beyond what was shown before."""
        agreed = _common(self._before, text)
        self._before = text
        # What was shown turned out wrong: nothing can be added to it before the segment is settled.
        if not agreed.startswith(self._shown):
            return ""
        new = agreed[len(self._shown) :]
        self._shown += new
        return new

    def settle(self, text: str) -> str:
        """Take the final text; returns the part of it that was not shown yet, and starts with the next segment."""
        rest = text[max(len(_common(self._shown, text)), _same_letters(self._shown, text)) :]
        self._before = self._shown = ""
        return rest


def _same_letters(before: str, now: str) -> int:
    """How much of ``now`` spells the letters with which ``before`` begins: punctuation comes with the final text."""
    letters = (letter for letter in before if letter.isalnum())
    end = 0
    for at, letter in enumerate(now):
        if letter.isalnum():
            if next(letters, "").casefold() != letter.casefold():
                break
            end = at + 1
    return end


def _common(before: str, now: str) -> str:
    """The longest common prefix."""
    pairs = enumerate(zip(before, now, strict=False))
    return now[: next((at for at, (a, b) in pairs if a != b), min(len(before), len(now)))]
