"""What autotune keeps on the disk: caches, which are made anew when they are needed, and results, which are not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from autotune.documents import suggest
from autotune.errors import AutotuneError, DocumentError
from autotune.files import cache_dir, state_dir

__all__ = ["Kept", "chosen", "delete", "kept"]

_CONTENT = {
    "artifacts": "exported models",
    "calibration": "activations that int8 ranges are taken from",
    "inspections": "what model directories were found to hold",
    "models": "models with random weights",
    "onnxruntime": "packed weights that sessions share",
    "openvino": "compiled models",
    "punctuation": "exported punctuation models",
    "punctuation-times": "how fast punctuation models are",
    "references": "texts that others are compared with",
    "sensitivities": "which layers int8 harms",
    "silero": "the graph that finds speech",
    "tensorrt": "engines that TensorRT built",
    "workloads": "audio that was drawn or cut",
    "canary": "the CPUs' best known times",
    "history": "winners that later studies start from",
    "studies": "trials",
}


@dataclass(frozen=True)
class Kept:
    """A folder that autotune keeps files in: a cache, or what must not be lost."""

    name: str
    path: Path
    content: str
    size_bytes: int
    cache: bool
    """Whether it is made anew when it is needed."""


def kept() -> list[Kept]:
    """Every folder that is there, caches first, the largest first; a user without a home has none."""
    roots = list[tuple[Path, bool]]()
    for find, cache in ((cache_dir, True), (state_dir, False)):
        with suppress(DocumentError):
            roots.append((find(), cache))
    found = [
        Kept(folder.name, folder, _CONTENT.get(folder.name, "of another version"), _size(folder), cache)
        for root, cache in roots
        if root.is_dir()
        for folder in root.iterdir()
        if folder.is_dir() and not folder.is_symlink()
    ]
    return sorted(found, key=lambda one: (not one.cache, -one.size_bytes, one.name))


def _size(folder: Path) -> int:
    """Bytes of the disk that its files take; links aren't followed, and a file with two names counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                facts = os.lstat(Path(parent) / name)
            except OSError:
                continue  # gone meanwhile
            sizes[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return sum(sizes.values())


def chosen(names: Sequence[str]) -> list[Kept]:
    """The folders of these names; without names, all caches. Raises DocumentError for a name that is none's."""
    there = kept()
    for name in names:
        if name not in _CONTENT and name not in {one.name for one in there}:
            raise DocumentError(f"What is cleaned must be a folder of autotune, but got {name!r}. "
                                f"{suggest(name, sorted(_CONTENT))}")  # fmt: skip
    return [one for one in there if (one.name in names if names else one.cache)]


def delete(folders: Sequence[Kept]) -> int:
    """Delete them; the bytes that this freed.

    Raises:
        AutotuneError: a study is running on this machine, which uses them.
        DocumentError: something can't be deleted; what was deleted before is gone.
    """
    if running := _running():
        raise AutotuneError(
            f"Nothing is deleted while a study runs on this machine ({running}): it uses what lies there. Wait for it, "
            "or stop it."
        )
    freed = 0
    for folder in folders:
        try:
            shutil.rmtree(folder.path)
        except OSError as error:
            raise DocumentError(
                f"{folder.path} must be deletable, but {error.filename or folder.path}: {error.strerror}. Change its "
                "permissions."
            ) from error
        freed += folder.size_bytes
    return freed


def _running() -> str:
    """The name of a study whose journal a process holds, empty if none does."""
    for lock in sorted((state_dir() / "studies").glob("*.journal.lock")):
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            return lock.name.removesuffix(".journal.lock")
        except OSError:
            continue  # another user's
    return ""
