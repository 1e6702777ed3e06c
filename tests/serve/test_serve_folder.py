"""The private folder: locked while its process lives, swept by the next server once it is gone."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from autotune.serve.folder import PrivateFolder


def test_what_a_killed_server_left_is_swept_and_a_living_ones_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = (
        "import sys, time\nfrom autotune.serve.folder import PrivateFolder\n"
        "folder = PrivateFolder()\n(folder.path / '1').write_bytes(b'a recording')\nprint(folder.path, flush=True)\n"
        "time.sleep(1000)"
    )
    left: list[subprocess.Popen[str]] = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={"TMPDIR": str(tmp_path)}
        )
        left.append(process)
    try:
        paths = [Path(process.stdout.readline().strip()) for process in left if process.stdout is not None]
        left[0].kill()
        left[0].wait()
        (tmp_path / "autotune-server-file").write_text("no folder", encoding="ascii")
        folder = PrivateFolder()
        assert not paths[0].exists()
        assert (paths[1] / "1").exists()
        assert Path(tempfile.mkdtemp()).parent == folder.path, "temporary files go with the server"
        assert folder.path.stat().st_mode & 0o077 == 0
        folder.remove()
        assert not folder.path.exists()
        assert tempfile.gettempdir() == str(tmp_path)
    finally:
        for process in left:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
