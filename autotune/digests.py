"""Digests of files, and seals: what a cached directory held when it was complete, and whether it still does."""

from __future__ import annotations

import contextlib
import hashlib
import json
from functools import lru_cache
from pathlib import Path

__all__ = ["file_sha256", "is_damaged", "is_intact", "seal"]

_SEAL = "seal.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content; read once per process as long as its size and time stay. Raises OSError."""
    facts = path.stat()
    return _digest(path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)


@lru_cache(maxsize=256)
def _digest(path: Path, _size: int, _mtime_ns: int, _ctime_ns: int, _inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path) -> None:
    """Write down the digests of a directory's files; it must be complete. Raises OSError."""
    digests = {path.name: file_sha256(path) for path in _files(folder)}
    (folder / _SEAL).write_text(json.dumps(digests, indent=1), encoding="utf-8")


def is_intact(folder: Path) -> bool:
    """Whether a directory holds what it held when it was sealed; false for one without a seal.

    Its files are read once a boot, and again whenever the kernel says that one has changed: a stamp beside the
    directory keeps what it said. So a start costs a look at each file, and what a disk has lost is noticed by the
    first start that reads it from there.
    """
    stamp, boot = folder.with_name(f"{folder.name}.intact"), _boot()
    try:
        state = [boot, {path.name: _changed(path) for path in _files(folder)}]
        digests = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
        if boot and _stamped(stamp) == state:
            return True
        intact = bool({path.name: file_sha256(path) for path in _files(folder)} == digests)
    except (OSError, ValueError):
        return False
    if intact and boot:
        # A stamp that is torn by a kill is as good as none; where none can be written, each process looks for itself.
        with contextlib.suppress(OSError):
            stamp.write_text(json.dumps(state), encoding="utf-8")
    return intact


def is_damaged(folder: Path) -> bool:
    """Whether a directory was sealed and is not intact any more; false for one that never was, such as a user's."""
    return (folder / _SEAL).exists() and not is_intact(folder)


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != _SEAL]


def _changed(path: Path) -> list[int]:
    """What differs after any write: the time of a change (ctime) can't be set by programs."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def _boot() -> str:
    """The kernel's name for this boot; empty where it gives none, and each process then looks for itself."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _stamped(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
