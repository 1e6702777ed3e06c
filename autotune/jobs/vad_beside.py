"""An FSMN-VAD that lies beside a model, as FunASR's own pipelines have one."""

from __future__ import annotations

import json
from pathlib import Path

from autotune.errors import ModelError
from autotune.model_directory import VadDirectory

__all__ = ["vad_beside"]


def vad_beside(model: Path) -> Path | None:
    """The directory of an FSMN-VAD in a model's directory or beside it; None where there is none.

    It has the name that ``configuration.json`` gives (``vad_model``, a hub id), or one with ``fsmn`` and ``vad`` in it.
    """
    named = [folder / name for name in _named(model) for folder in (model, model.parent)]
    found = [path for folder in (model, model.parent) for path in sorted(folder.glob("*fsmn*vad*"))]
    return next((path.resolve() for path in (*named, *found) if _is_vad(path)), None)


def _named(model: Path) -> list[str]:
    """The last part of the hub id, which is a directory's name; nothing where there is no such key."""
    try:
        name = json.loads((model / "configuration.json").read_text(encoding="utf-8"))["vad_model"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    last = Path(str(name)).name
    return [last] if last not in ("", ".", "..") else []


def _is_vad(path: Path) -> bool:
    """Whether a recognizer could load it."""
    try:
        VadDirectory.open(path)
    except ModelError:
        return False
    return True
