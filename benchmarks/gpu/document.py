"""``docs/benchmarks/gpu.json``, one entry a model and group, and the tables that ``docs/gpu.md`` has of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune.files import atomic_write
from benchmarks.published import publish

__all__ = ["line_of", "merged", "save", "tables", "write_tables"]

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
SITTING = ("model", "group", "hardware", "versions", "date", "audio_s")
"""Where these are equal, rows of several runs belong together."""
TITLES = {
    "space": "Recordings of 2 to 10 minutes, cut and batched",
    "question": "Whole recordings of about 2 minutes, one at a time",
}

Entry = dict[str, Any]


def save(entry: Entry, out: Path) -> None:
    """Into the document, whatever other models and groups it holds."""
    known = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
    atomic_write(out, (json.dumps(merged(known, entry), indent=1, ensure_ascii=False) + "\n").encode())


def merged(known: Sequence[Entry], entry: Entry) -> list[Entry]:
    """``entry`` in place of what was known of its model and group; rows of the same sitting stay if it lacks them."""
    same = [one for one in known if (one["model"], one["group"]) == (entry["model"], entry["group"])]
    others = [one for one in known if one not in same]
    measured = {row["name"] for row in entry["rows"]}
    earlier: list[Entry] = []
    left = dict.fromkeys(entry["not_run"])
    for one in same:
        if all(one[key] == entry[key] for key in SITTING):
            earlier += [row for row in one["rows"] if row["name"] not in measured]
            left |= dict.fromkeys(one["not_run"])
    rows = [*earlier, *entry["rows"]]
    names = {row["name"] for row in rows}
    return [*others, {**entry, "rows": rows, "not_run": [name for name in left if name not in names]}]


def line_of(row: Entry) -> str:
    """One row for people who wait."""
    if "error" in row:
        return f"{row['name']}: {row['error']}"
    parts = [
        f"RTFx {row['rtfx_samples'][0]:.0f}, again {again(row)}",
        memory(row),
        f"load {row['load_s']:.1f} s",
        texts(row),
        nodes(row),
        f"{row['wall_s']:.0f} s in all",
    ]
    return f"{row['name']}: {', '.join(part for part in parts if part)}"


def again(row: Entry) -> str:
    """Median RTFx of the passes after the first: every shape is known by then."""
    later = row["rtfx_samples"][1:]
    return f"{statistics.median(later):.0f}" if later else "–"


def memory(row: Entry) -> str:
    gpu = row["peak_gpu_memory_bytes"]
    return f"{row['peak_memory_bytes'] / 2**30:.1f} GiB" + ("" if gpu is None else f" + GPU {gpu / 2**30:.1f} GiB")


def nodes(row: Entry) -> str:
    """``CUDA 1509, CPU 15``; empty but for ONNX Runtime."""
    found = row["engine"]["details"].get("nodes_per_provider") or {}
    return ", ".join(f"{name.removesuffix('ExecutionProvider')} {count}" for name, count in found.items())


def texts(row: Entry) -> str:
    """``0.23% differ``, or ``–`` for the deployment that others are compared with; and the error rate if known."""
    compared = row["compared_with"] != row["name"] and row["difference"] is not None
    told = f"{row['difference']:.2%} differ" if compared else "–"
    return told if row["errors"] is None else f"{told}, {row['errors']['unit'].upper()} {row['errors']['rate']:.2%}"


def write_tables(document: Path, page: Path) -> None:
    """Between the page's markers."""
    publish(page, BEGIN, END, tables(json.loads(document.read_text(encoding="utf-8"))))


def tables(entries: Sequence[Entry]) -> str:
    return "\n\n".join(table_of(entry) for entry in entries)


def table_of(entry: Entry) -> str:
    versions = ", ".join(f"{name} {found}" for name, found in entry["versions"].items())
    lines = [
        f"### {TITLES[entry['group']]}: `{entry['model']}`",
        "",
        f"{entry['hardware']}; driver {entry['profile']['gpus'][0]['driver']}; {entry['date']}; {versions}. "
        f"{entry['audio_s']:.0f} s of audio a pass.",
        "",
        "| deployment | RTFx, first pass | RTFx, later passes | memory | nodes | texts |",
        "|---|---|---|---|---|---|",
        *(cells(row) for row in sorted(entry["rows"], key=fastest_first)),
    ]
    if entry["not_run"]:
        lines += ["", "Not run for lack of time: " + "; ".join(entry["not_run"]) + "."]
    return "\n".join(lines)


def fastest_first(row: Entry) -> float:
    return -float(row.get("rtfx", 0.0))


def cells(row: Entry) -> str:
    if "error" in row:
        return f"| {row['name']} | failed: {row['error']} | | | | |"
    first = f"{row['rtfx_samples'][0]:.0f}"
    return f"| {row['name']} | {first} | {again(row)} | {memory(row)} | {nodes(row)} | {texts(row)} |"
