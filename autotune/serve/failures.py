"""Why an accepted request is not answered."""

from __future__ import annotations

from autotune.errors import AudioError, AutotuneError
from autotune.serve.wire import Message

__all__ = ["BackendError", "error_of"]


class BackendError(AutotuneError):
    """A request was accepted and can't be answered: two workers failed on it, or the recognizer raised."""


def error_of(found: Message) -> AutotuneError:
    """What the worker told, as an exception."""
    return AudioError(found["message"]) if found["kind"] == "audio" else BackendError(found["message"])
