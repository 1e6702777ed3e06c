"""Where autotune keeps files, and how it writes them so that a kill leaves the old file or the new one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

__all__ = ["atomic_write", "cache_dir", "search_spaces_dir", "state_dir"]


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/autotune``: artifacts, random models and workloads; safe to delete."""
    return Path(platformdirs.user_cache_dir("autotune", appauthor=False))


def state_dir() -> Path:
    """``$XDG_STATE_HOME/autotune``: studies and history."""
    return Path(platformdirs.user_state_dir("autotune", appauthor=False))


def search_spaces_dir() -> Path:
    """The shipped search spaces: inside an installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "search_spaces"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "search_spaces"


def atomic_write(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader, or a kill, sees the old content or the new, never a part.

    Raises:
        OSError: the directory is missing or not writable, or the disk is full; ``path`` is then unchanged.
    """
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
