"""Writing measured tables: rows are only ever appended, so that a recording can be stopped and resumed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from autotune.accuracy import Accuracy
from autotune.errors import AutotuneError, DocumentError
from benchmarks.replay.table import Clips, CutLine, Row, Table, TableContent, TableHeader

__all__ = ["TableWriter"]

_DIGITS = 6
"""Significant ones that are kept of a measured number."""
_SAME = ("model_sha256", "workload_sha256", "shards", "texts", "fingerprint", "space_hash")
"""What a table that is resumed must have in common with what it was begun with."""


class TableWriter:
    """Appends rows to a table as its only writer; every row is on the disk when ``append`` returns."""

    def __init__(self, path: Path, header: TableHeader) -> None:
        """Begin a table, or go on with one: it is cut to its last complete line.

        Raises:
            AutotuneError: another process is writing it.
            DocumentError: it was begun with another model, workload, search space or hardware, or it is damaged.
            OSError: the directory can't be made or written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._lock = path, FileLock(f"{path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise AutotuneError(f"another process is recording {path}. Wait for it, or stop it.") from None
        try:
            if not path.exists() or b"\n" not in path.read_bytes():
                path.write_bytes(_line(header.model_dump(mode="json", by_alias=True)))
            content = TableContent.read(path)
            _check_same(path, content.header, header)
            os.truncate(path, content.size)
        except BaseException:
            self.close()
            raise
        self._header, self._rows, self._clips, self._cuts = content.header, content.rows, content.clips, content.cuts

    @property
    def table(self) -> Table:
        """What it holds so far."""
        return Table(self._header, tuple(self._rows), self._cuts)

    def append(self, row: Row) -> None:
        """Add a row, all of it or nothing. Raises OSError if it can't be written."""
        lines = b""
        told: dict[str, Any] = {
            "repeat": row.repeat,
            "wall_s": row.wall_s,
            "deployment": row.deployment.model_dump(mode="json"),
        }
        if row.failure is not None:
            told["failure"] = row.failure.model_dump(mode="json")
        if row.measurement is not None:
            exclude = {"texts", "engine", "accuracy", "batch_samples"}
            told["measurement"] = row.measurement.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
            if row.measurement.accuracy is not None:
                lines, told["accuracy"] = self._accuracy(row.measurement.accuracy)
        self._write(lines + _line(_rounded(told)))
        self._rows.append(row)

    def cut(self, cut: CutLine) -> None:
        """Add a way to cut, as ``append`` does."""
        self._write(_line(cut.model_dump(mode="json")))
        self._cuts[cut.chunking] = cut

    def _write(self, lines: bytes) -> None:
        size = self._path.stat().st_size
        try:
            with self._path.open("ab") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            os.truncate(self._path, size)
            raise

    def _accuracy(self, accuracy: Accuracy) -> tuple[bytes, dict[str, Any]]:
        """Clips are the same for nearly all rows: they have a line of their own, rows say what differs from it."""
        clips: Clips = tuple((count.clip, count.reference_errors, count.length) for count in accuracy.clips)
        line = b""
        if clips not in self._clips:
            self._clips.append(clips)
            line = _line({"clips": clips})
        told: dict[str, Any] = accuracy.model_dump(mode="json", include={"unit", "tokens", "utterances"})
        differs = {str(n): one.errors for n, one in enumerate(accuracy.clips) if one.errors != one.reference_errors}
        return line, told | {"clips": self._clips.index(clips), "errors": differs}

    def close(self) -> None:
        """Let another process write; idempotent."""
        if self._lock.is_locked:
            self._lock.release()
            with contextlib.suppress(OSError):
                Path(f"{self._path}.lock").unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _check_same(path: Path, found: TableHeader, wanted: TableHeader) -> None:
    changed = [name for name in _SAME if getattr(found, name) != getattr(wanted, name)]
    if changed:
        raise DocumentError(
            f"{path} must be resumed with what it was begun with, but "
            + ", ".join(f"{name} was {getattr(found, name)} and is now {getattr(wanted, name)}" for name in changed)
            + ". Give another --out, or delete it to begin anew."
        )


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value
