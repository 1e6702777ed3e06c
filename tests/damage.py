"""What a disk, or a copy that was cut off, makes of a file: as long as before, and full of zeros from its middle on."""

from pathlib import Path

__all__ = ["zero_half"]


def zero_half(path: Path) -> None:
    """Overwrite the second half of a file, in place."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
