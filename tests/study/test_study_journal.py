from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from autotune.errors import AutotuneError, DocumentError
from autotune.study.budget import Budget
from autotune.study.storage import open_journal, open_storage
from autotune.study.study import TuningStudy
from tests.study.synthetic_search import BASELINES, SyntheticRunner, ignore, tiny_space


def study(folder: Path) -> TuningStudy:
    return TuningStudy.open(
        open_storage(folder / "s.journal"), name="t", space=tiny_space(folder), seed=1, identity={"model": "x"}
    )


def run(folder: Path, trials: int) -> SyntheticRunner:
    runner = SyntheticRunner()
    with study(folder) as opened:
        opened.run(runner, Budget(trials=trials), baselines=BASELINES, on_event=ignore)
    return runner


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_torn_at_every_byte_of_the_last_record(tmp_path: Path) -> None:
    """The last record tells the last trial's value: without it that trial alone is measured again."""
    run(tmp_path, 4)
    journal = tmp_path / "s.journal"
    whole = journal.read_bytes()
    last = len(lines_of(journal)[-1])
    for left in range(last):
        journal.write_bytes(whole[: len(whole) - last + left])
        with study(tmp_path) as opened:
            before = opened.records
            assert [record.state for record in before] == ["complete"] * 4 + ["fail"]
            runner = SyntheticRunner()
            result = opened.run(runner, Budget(trials=4), baselines=BASELINES, on_event=ignore)
        assert runner.asked == [before[-1].deployment]
        assert [record.state for record in result.trials][-1] == "complete"
        with study(tmp_path) as again:
            assert again.records == result.trials


def test_torn_in_the_middle_of_a_trial(tmp_path: Path) -> None:
    """Cut inside every record of the last two trials: whatever is lost, it is the one that was being written."""
    run(tmp_path, 3)
    journal = tmp_path / "s.journal"
    finished = journal.read_bytes()
    run(tmp_path, 4)
    whole = journal.read_bytes()
    added = whole[len(finished) :].splitlines(keepends=True)
    ends = [len(finished), *(len(finished) + sum(map(len, added[: count + 1])) for count in range(len(added)))]
    assert len(ends) > 8
    for start, end in itertools.pairwise(ends):
        journal.write_bytes(whole[: (start + end) // 2])
        runner = run(tmp_path, 4)
        assert len(runner.asked) in (1, 2)
        with study(tmp_path) as opened:
            assert [record.state for record in opened.records if record.state != "fail"] == ["complete"] * 5


def test_zeros_after_a_power_cut_are_cut(tmp_path: Path) -> None:
    run(tmp_path, 3)
    journal = tmp_path / "s.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b"\0" * 4096)
    open_journal(journal).close()
    assert journal.read_bytes() == whole
    journal.write_bytes(whole + b"\0\0\n")
    assert run(tmp_path, 3).asked == []
    assert journal.read_bytes().startswith(whole)
    assert b"\0" not in journal.read_bytes()


def test_damage_before_the_end_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    run(tmp_path, 3)
    journal = tmp_path / "s.journal"
    lines = lines_of(journal)
    journal.write_bytes(b"".join([*lines[:5], b'{"op_code":\n', *lines[5:]]))
    with pytest.raises(DocumentError, match=r"s.journal must be a journal.*Move the file away"):
        open_journal(journal)
    journal.write_bytes(b"".join(lines))
    open_journal(journal).close()


def test_a_record_that_cannot_be_written_is_taken_back(tmp_path: Path) -> None:
    """A file-size limit stands for a full disk: the write stops half-way, and the journal stays whole."""
    script = """
import resource, signal, sys
from pathlib import Path
from autotune.study.storage import open_journal
path = Path(sys.argv[1])
journal = open_journal(path)
study = journal.create_new_study([1], "s")
size = path.stat().st_size
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
try:
    journal.set_study_user_attr(study, "big", "x" * 1000)
except OSError:
    assert path.stat().st_size == size
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.set_study_user_attr(study, "small", 1)
    print(journal.get_study_user_attrs(study))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "j")], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip().endswith("{'small': 1}")


def test_one_writer(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "j")
    with pytest.raises(AutotuneError, match=r"another autotune is running this study \(pid \d+"):
        open_journal(tmp_path / "j")
    journal.close()
    journal.close()
    open_journal(tmp_path / "j").close()


def test_unwritable_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        open_journal(tmp_path / "file" / "j")


def test_optuna_itself_reads_the_journal(tmp_path: Path) -> None:
    run(tmp_path, 4)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "s.journal"))
    names = optuna.get_all_study_names(optuna.storages.JournalStorage(backend))
    assert len(names) == 1
    assert names[0].startswith("t-")
