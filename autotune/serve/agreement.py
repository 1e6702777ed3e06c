"""What of changing interim texts can be shown for good: protocols that only append can't take anything back."""

from __future__ import annotations

__all__ = ["Agreement"]


class Agreement:
    """Gives the beginning that two interim texts in a row agree on (local agreement), each part once."""

    def __init__(self) -> None:
        self._before = ""
        self._shown = ""

    def push(self, text: str) -> str:
        """The next interim text of what isn't settled; what can be shown now, after what was shown before."""
        agreed = _common(self._before, text)
        self._before = text
        if not agreed.startswith(self._shown):
            return ""
        new = agreed[len(self._shown) :]
        self._shown += new
        return new

    def settle(self, text: str) -> str:
        """The final text of it; what is still to be shown of it. Begins anew."""
        rest = text[len(_common(self._shown, text)) :]
        self._before = self._shown = ""
        return rest


def _common(one: str, other: str) -> str:
    """The beginning that both have."""
    count = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:count]
