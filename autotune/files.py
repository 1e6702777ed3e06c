"""Where autotune keeps files, how it writes them, and its cached directories.

A file is replaced whole: after a kill there is the old one or the new one. A cached directory is made once, however
many ask for it, and is complete or absent: it is built in a staging directory of its own and renamed into place while
its key's lock is held. Locks are the kernel's (flock): a killed holder holds nothing. A staging directory without a
holder is left over from a kill and is swept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from autotune.errors import DocumentError

__all__ = [
    "atomic_write",
    "cache_dir",
    "check_writable",
    "file_sha256",
    "locked",
    "no_space_left",
    "publish",
    "search_spaces_dir",
    "staging",
    "state_dir",
    "sweep",
    "write_output",
]

_STAGING = ".staging-"
_FULL_BYTES = 1 << 20


@contextmanager
def locked(root: Path, key: str) -> Iterator[None]:
    """Hold the lock of ``key`` in ``root``, which is created. Waits for other holders. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock_path(root, key)):
        yield


@contextmanager
def staging(root: Path, key: str) -> Iterator[Path]:
    """A new directory to build ``key`` in, removed at the end unless it was published. Call with the lock held."""
    for abandoned in root.glob(f"{_STAGING}{key}-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_STAGING}{key}-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, final: Path) -> None:
    """Flush a staging directory to the disk and rename it to ``final``, replacing what is there. Raises OSError."""
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)
    folder.chmod(0o755)
    if final.exists():
        shutil.rmtree(final)
    folder.rename(final)
    _sync(final.parent)


def sweep(root: Path) -> None:
    """Remove staging directories whose builder is gone. Call without holding a lock of ``root``."""
    for folder in root.glob(f"{_STAGING}*"):
        key = folder.name.removeprefix(_STAGING).rpartition("-")[0]
        try:
            with FileLock(_lock_path(root, key), timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):
            continue  # somebody is building it right now, or it is not ours to remove


def no_space_left(folder: Path) -> bool:
    """Whether the disk of ``folder`` is full: native writers die or fail without saying why."""
    return shutil.disk_usage(folder).free < _FULL_BYTES


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content; read once per process as long as its size and time stay. Raises OSError."""
    facts = path.stat()
    return _digest(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)


@lru_cache(maxsize=256)
def _digest(path: Path, _size: int, _mtime_ns: int, _inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lock_path(root: Path, key: str) -> str:
    return str(root / f"{key}.lock")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/autotune``: artifacts, random models and workloads; safe to delete.

    Raises DocumentError for a user without a home.
    """
    return _home(platformdirs.user_cache_dir, "XDG_CACHE_HOME")


def state_dir() -> Path:
    """``$XDG_STATE_HOME/autotune``: studies and history. Raises as ``cache_dir``."""
    return _home(platformdirs.user_state_dir, "XDG_STATE_HOME")


def _home(find: Callable[..., str], variable: str) -> Path:
    try:
        path = find("autotune", appauthor=False)
    except RuntimeError:  # older versions of platformdirs leave "~" where nobody knows the home of this user
        path = ""
    if not Path(path).is_absolute():
        raise DocumentError(
            f"There must be a home directory to keep files in, but this user has none. Set {variable} to a directory "
            "that can be written."
        )
    return Path(path)


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


def check_writable(path: Path) -> None:
    """Find out before measuring whether ``path`` can be written; creates nothing that stays.

    Raises:
        DocumentError: the directory is missing or not writable, or ``path`` is not a regular file.
    """
    target = path.resolve()
    if target.is_dir():
        raise DocumentError(f"The output must be a file, but {path} is a directory. Name a file in it.")
    if target.exists() and not target.is_file():
        raise DocumentError(f"The output must be a regular file, but {path} is not one.")
    if not target.parent.is_dir():
        raise DocumentError(
            f"The output's directory must exist, but {target.parent} is not a directory. Create it, or write elsewhere."
        )
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise DocumentError(
            f"The output's directory must be writable, but {target.parent} is not ({error.strerror}). "
            "Change its permissions, or write elsewhere."
        ) from error


def write_output(path: Path, data: bytes) -> None:
    """Write a file that the user has named: the old one or the new one is there, never a part; a link stays one.

    Raises:
        DocumentError: it cannot be written; what was there before is unchanged.
    """
    check_writable(path)
    try:
        atomic_write(path.resolve(), data)
    except OSError as error:
        raise DocumentError(
            f"{path} must be writable, but: {error.strerror}. Free disk space, or write elsewhere."
        ) from error
