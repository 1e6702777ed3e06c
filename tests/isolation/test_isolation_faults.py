"""Every fault that a child can commit, and what becomes of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from autotune.errors import DocumentError, ModelError, TrialCrashed, TrialOutOfMemory, TrialTimeout

RunFault = Callable[..., dict[str, Any]]


def test_a_segfault_is_named_and_its_stack_is_kept(run_fault: RunFault) -> None:
    with pytest.raises(TrialCrashed, match="killed by SIGSEGV") as caught:
        run_fault("segfault")
    assert caught.value.exit_code == -signal.SIGSEGV
    assert "selftest.py" in caught.value.stderr_tail


def test_sigkill_by_somebody_is_not_out_of_memory(run_fault: RunFault) -> None:
    with pytest.raises(TrialCrashed, match="killed by SIGKILL") as caught:
        run_fault("signal", signal=int(signal.SIGKILL))
    assert caught.value.exit_code == -signal.SIGKILL


@pytest.mark.parametrize("code", [0, 1, 42])
def test_leaving_without_a_result_is_a_crash_with_its_exit_code(run_fault: RunFault, code: int) -> None:
    with pytest.raises(TrialCrashed, match=f"exited with status {code} without a result") as caught:
        run_fault("exit", code=code)
    assert caught.value.exit_code == code
    assert caught.value.stderr_tail == "last words"


def test_system_exit_is_an_exit(run_fault: RunFault) -> None:
    with pytest.raises(TrialCrashed, match="exited with status 3"):
        run_fault("system_exit", code=3)


@pytest.mark.parametrize("ignore_sigterm", [False, True])
def test_a_hang_is_killed_at_the_limit_and_says_how_far_it_came(
    run_fault: RunFault, is_alive: Callable[[int], bool], ignore_sigterm: bool
) -> None:
    pids: list[int] = []
    with pytest.raises(TrialTimeout, match=r"within 3 s, but still ran after 'hanging'"):
        run_fault("hang", timeout_s=3, ignore_sigterm=ignore_sigterm, on_event=lambda _, data: pids.append(data["pid"]))
    assert [is_alive(pid) for pid in pids] == [False]


@pytest.mark.parametrize("leave", [False, True])
def test_grandchildren_end_with_the_child(run_fault: RunFault, dies: Callable[[int], bool], leave: bool) -> None:
    seen: list[dict[str, Any]] = []

    def run() -> dict[str, Any]:
        return run_fault("grandchild", leave=leave, timeout_s=3, on_event=lambda _, data: seen.append(data))

    if leave:
        assert run() == {}
    else:
        with pytest.raises(TrialTimeout):
            run()
    assert dies(seen[0]["pid"])
    assert dies(seen[0]["grandchild"])


def test_garbage_on_stdout_and_stderr_changes_nothing(run_fault: RunFault) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    result = run_fault("garbage", on_event=lambda *event: heard.append(event))
    assert result == {"payload": {"fault": "garbage"}}
    assert heard == [("echo", {"between": True})]


def test_garbage_on_the_pipe_itself_is_a_crash(run_fault: RunFault) -> None:
    with pytest.raises(TrialCrashed, match="not its protocol"):
        run_fault("corrupt_pipe")


def test_a_flood_of_events_does_not_outrun_the_limit(run_fault: RunFault) -> None:
    with pytest.raises(TrialTimeout, match="'flood'"):
        run_fault("flood", timeout_s=2)


def test_megabytes_of_stderr_neither_block_nor_pile_up(run_fault: RunFault) -> None:
    assert run_fault("big_stderr", lines=20_000) == {"lines": 20_000}
    with pytest.raises(TrialCrashed) as caught:
        run_fault("big_stderr", lines=20_000, then_exit=True)
    tail = caught.value.stderr_tail.splitlines()
    assert len(tail) == 40
    assert tail[-1].startswith("line 19999 ")


def test_autotunes_own_errors_keep_class_and_message(run_fault: RunFault) -> None:
    with pytest.raises(ModelError, match=r"^die Größe: 不对$") as caught:
        run_fault("raise", kind="ModelError", message="die Größe: 不对")
    assert type(caught.value) is ModelError
    with pytest.raises(TrialCrashed, match=r"^inner$") as crashed:
        run_fault("raise", kind="TrialCrashed", message="inner")
    assert crashed.value.exit_code == 7
    with pytest.raises(DocumentError, match="fault must be one of"):
        run_fault("misspelt")


def test_a_class_of_its_own_becomes_its_nearest_public_base(run_fault: RunFault) -> None:
    with pytest.raises(ModelError, match=r"^private$") as caught:
        run_fault("raise", kind="private", message="private")
    assert type(caught.value) is ModelError


@pytest.mark.parametrize("kind", ["RuntimeError", "KeyboardInterrupt"])
def test_other_exceptions_are_crashes_with_type_message_and_traceback(run_fault: RunFault, kind: str) -> None:
    with pytest.raises(TrialCrashed, match=f"raised {kind}: on purpose") as caught:
        run_fault("raise", kind=kind, message="on purpose")
    assert "selftest.py" in caught.value.stderr_tail


def test_a_result_that_is_not_json_is_a_crash(run_fault: RunFault) -> None:
    with pytest.raises(TrialCrashed, match="TypeError: Object of type object is not JSON"):
        run_fault("not_json")


def test_a_result_that_is_not_a_dict_is_a_crash(run_fault: RunFault) -> None:
    with pytest.raises(TrialCrashed, match="must return a dict, but it returned list"):
        run_fault("not_a_dict")


def test_memory_error_is_out_of_memory(run_fault: RunFault) -> None:
    with pytest.raises(TrialOutOfMemory, match="ran out of memory: MemoryError"):
        run_fault("memory_error", address_space_bytes=256 << 20)


def test_a_runtimes_own_words_for_no_memory_are_out_of_memory(run_fault: RunFault) -> None:
    with pytest.raises(TrialOutOfMemory, match="DefaultCPUAllocator"):
        run_fault("raise", kind="RuntimeError", message="DefaultCPUAllocator: can't allocate memory: 9 bytes")
