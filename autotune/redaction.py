"""Redaction: passwords and keys become ``***`` in what is written or printed, and stay out of children's variables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

__all__ = [
    "API_KEY_VARIABLE",
    "STORAGE_VARIABLE",
    "redacted",
    "redacted_command",
    "without_secrets",
]

API_KEY_VARIABLE = "AUTOTUNE_API_KEY"
STORAGE_VARIABLE = "AUTOTUNE_STORAGE"
_SECRET_VARIABLES = (API_KEY_VARIABLE, STORAGE_VARIABLE, "PGPASSWORD")

REDACTED = "***"
_SECRET_NAME = r"[\w.-]*(?:pass|pwd|secret|token|key|credential|sig|auth)[\w.-]*(?<!file)"
"""Names of a query's parameters and of options that hold a secret; what ends in ``file`` holds a path."""
_OPTION = re.compile(rf"--{_SECRET_NAME}(=|$)", re.IGNORECASE)
_PARAMETER = re.compile(rf"((?:^|[?&\s]){_SECRET_NAME}\s*=)[^&]*", re.IGNORECASE)
_USER_INFO = re.compile(r"((?:^|//)[^:/?#@\s]*):(?!//)(?:[^?]*|.*)@", re.DOTALL)
"""A URL's user and password, its scheme forgotten perhaps, up to the last @ before the query, or in all of it if there
is none there: a password that isn't percent-encoded may hold /, ? and @."""


def redacted(text: str) -> str:
    """A URL or a word of a command line without its password and keys; rather too much is left out than too little."""
    if (option := _OPTION.match(text)) and option[1]:
        return option[0] + REDACTED
    return _USER_INFO.sub(rf"\1:{REDACTED}@", _PARAMETER.sub(rf"\1{REDACTED}", text))


def redacted_command(command: str) -> str:
    """A command line without its passwords and keys, quoted for a shell; unchanged where it holds none."""
    try:
        words = shlex.split(command)
    except ValueError:
        return redacted(command)
    shown = [
        REDACTED if (option := _OPTION.match(before)) and not option[1] else redacted(word)
        for before, word in zip(["", *words], words, strict=False)
    ]
    return command if shown == words else shlex.join(shown)


def without_secrets(variables: Mapping[str, str]) -> dict[str, str]:
    """Environment variables without those that hold a key or a password: for processes that need none."""
    return {name: value for name, value in variables.items() if name not in _SECRET_VARIABLES}
