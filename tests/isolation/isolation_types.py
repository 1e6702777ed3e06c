"""The types of this folder's fixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RunFault = Callable[..., dict[str, Any]]
