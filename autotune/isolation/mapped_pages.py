"""The pages of files that a process has in its memory, which a fork leaves out: the kernel maps them at their next use.

A forked child would need less memory than a fresh process that has imported the same libraries, and would fault for
their pages while it is measured.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

__all__ = ["map_pages", "mapped_pages"]

_ENTRY_BYTES = 8
_PRESENT = 0x80
"""In the highest byte of an entry (https://docs.kernel.org/admin-guide/mm/pagemap.html)."""


def mapped_pages() -> list[int]:
    """Addresses of the pages of files that this process can read without a fault. OSError where that can't be seen."""
    page = os.sysconf("SC_PAGE_SIZE")
    addresses: list[int] = []
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
            # address permissions offset device inode path
            span, permissions, _, _, _, *path = line.split(maxsplit=5)
            if not permissions.startswith("r") or not path or not path[0].startswith("/"):
                continue
            start, end = (int(address, 16) for address in span.split("-"))
            entries = os.pread(pagemap.fileno(), (end - start) // page * _ENTRY_BYTES, start // page * _ENTRY_BYTES)
            highest_bytes = entries[_ENTRY_BYTES - 1 :: _ENTRY_BYTES]
            addresses += [start + number * page for number, byte in enumerate(highest_bytes) if byte & _PRESENT]
    return addresses


def map_pages(addresses: list[int]) -> None:
    """Map the pages at these addresses, which were mapped in the process that forked this one."""
    for address in addresses:
        ctypes.string_at(address, 1)
