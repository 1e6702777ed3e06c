"""What users name as outputs: found out beforehand, written whole or not at all."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.deploy_yaml import read_deployment_file, write_deployment_file
from autotune.errors import DocumentError
from autotune.files import (
    atomic_write,
    cache_dir,
    check_writable,
    locked,
    private_directory,
    publish,
    staging,
    state_dir,
    write_output,
)
from tests.deployment_example import example_file

WRITERS: list[Callable[[Path], None]] = [
    check_writable,
    lambda path: write_output(path, b"new"),
    lambda path: write_deployment_file(path, example_file()),
]


@pytest.mark.parametrize(("directory", "variable"), [(cache_dir, "XDG_CACHE_HOME"), (state_dir, "XDG_STATE_HOME")])
def test_a_user_without_a_home_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch, directory: Callable[[], Path], variable: str
) -> None:
    for name in ("HOME", variable):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 123_456)  # nobody's in the password database
    with pytest.raises(DocumentError, match=f"Set {variable}"):
        directory()


@pytest.mark.parametrize("write", WRITERS)
def test_unwritable_paths_are_found_before_measuring(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    cases = {
        tmp_path: "is a directory",
        tmp_path / "absent" / "deploy.yaml": "is not a directory",
        tmp_path / "file" / "deploy.yaml": "is not a directory",
        Path("/dev/null"): "regular file",
        Path("/proc/deploy.yaml"): "must be writable",
    }
    for path, message in cases.items():
        with pytest.raises(DocumentError, match=message):
            write(path)


def test_checking_leaves_nothing_behind_and_keeps_what_is_there(tmp_path: Path) -> None:
    check_writable(tmp_path / "deploy.yaml")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "deploy.yaml").write_text("old", encoding="utf-8")
    check_writable(tmp_path / "deploy.yaml")
    assert (tmp_path / "deploy.yaml").read_text(encoding="utf-8") == "old"


def test_writing_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "link.yaml").symlink_to(tmp_path / "real.yaml")
    for write in WRITERS[1:]:
        write(tmp_path / "link.yaml")
        assert (tmp_path / "link.yaml").is_symlink()
    assert read_deployment_file(tmp_path / "real.yaml") == example_file()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_users_said_is_theirs_alone(tmp_path: Path) -> None:
    folder = private_directory(tmp_path / "cache" / "references")
    assert mode(folder) == 0o700
    atomic_write(folder / "texts.json", b"{}", mode=0o600)
    assert mode(folder / "texts.json") == 0o600
    folder.chmod(0o755)  # as an earlier version made it
    assert mode(private_directory(folder)) == 0o700


def test_writing_leaves_the_umask_alone(tmp_path: Path) -> None:
    """It belongs to all threads: for a moment without it, another thread's files could be written by everybody."""
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            atomic_write(tmp_path / "document", b"content")

    thread = threading.Thread(target=write)
    before = os.umask(0o027)
    thread.start()
    try:
        modes = set()
        for number in range(2000):
            (tmp_path / f"other-{number}").touch()
            modes.add(mode(tmp_path / f"other-{number}"))
        modes.add(mode(tmp_path / "document"))
    finally:
        done.set()
        thread.join()
        os.umask(before)
    assert modes == {0o640}


def test_a_published_folder_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with locked(tmp_path, "key"), staging(tmp_path, "key") as folder:
            (folder / "file").write_bytes(b"1")
            publish(folder, tmp_path / "key")
    finally:
        os.umask(before)
    assert mode(tmp_path / "key") == 0o700
