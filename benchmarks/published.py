"""Tables in the docs that a benchmark writes between two marks."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["publish"]


def publish(page: Path, begin: str, end: str, text: str) -> None:
    """Put ``text`` between the lines ``begin`` and ``end`` of a page, in place of what stands there."""
    whole = page.read_text(encoding="utf-8")
    replaced = re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{text}\n{end}", whole, flags=re.DOTALL)
    page.write_text(replaced, encoding="utf-8")
