"""torch engines: threads of the process, and what cannot be changed twice."""

import threading
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from autotune.engines import EngineOutput, load_engine

_TWICE = """
import torch
from autotune.deployment import Deployment
from autotune.engines.torch_session import set_threads
from autotune.errors import TrialMismatch
import json, sys
first = Deployment(**json.loads(sys.argv[1]))
set_threads(torch, first)
print(torch.get_num_threads(), torch.get_num_interop_threads())
set_threads(torch, first)
try:
    set_threads(torch, first.model_copy(update={"inter_op_num_threads": 5}))
except TrialMismatch as error:
    print("MISMATCH", error)
"""


def test_inter_op_threads_are_set_once_per_process(
    workshop: Any, run_python: Callable[..., "CompletedProcess[str]"]
) -> None:
    deployment = workshop.deployment("pytorch", intra_op_num_threads=3, inter_op_num_threads=7)
    done = run_python(_TWICE, deployment.canonical())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 7\nMISMATCH inter_op_num_threads must be 5")
    assert "fresh process" in done.stdout


@pytest.mark.parametrize("engine", ["pytorch", "torchscript"])
def test_float32_is_not_rounded_to_tf32(workshop: Any, engine: str) -> None:
    import torch

    torch.backends.cudnn.allow_tf32 = True  # torch's default
    load_engine(workshop.request(engine, "SenseVoiceSmall")).close()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("engine", ["pytorch", "torchscript"])
def test_a_worker_thread_runs_with_the_deployments_threads(workshop: Any, engine: str) -> None:
    import torch

    loaded, batch = workshop.engine(engine, "SenseVoiceSmall"), workshop.batch([20])
    seen: list[tuple[int, EngineOutput]] = []

    def work() -> None:
        torch.set_num_threads(1)
        output = loaded.run(batch)
        seen.append((torch.get_num_threads(), output))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen[0][0] == 2
    assert seen[0][1].ids is not None
    assert seen[0][1].ids.tolist() == loaded.run(batch).ids.tolist()


def test_facts_report_what_torch_uses(workshop: Any) -> None:
    import torch

    loaded = load_engine(workshop.request("pytorch", "Paraformer", intra_op_num_threads=1))
    assert loaded.facts().intra_op_num_threads == torch.get_num_threads() == 1
    assert loaded.facts().runtime == f"torch {torch.__version__}"
    assert loaded.facts().details["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    loaded.close()


@pytest.mark.parametrize("architecture", ["SenseVoiceSmall", "Paraformer"])
@pytest.mark.parametrize("precision", ["bf16-autocast", "bf16"])
def test_sixteen_bits_hear_nearly_the_same(workshop: Any, architecture: str, precision: str) -> None:
    loaded: Any = load_engine(workshop.request("pytorch", architecture, session_options={"precision": precision}))
    batch = workshop.batch([60, 33, 47])
    exact, got = workshop.engine("pytorch", architecture).run(batch, scores=True), loaded.run(batch, scores=True)
    assert got.scores.dtype == np.float32
    assert np.abs(got.lengths - exact.lengths).max() <= (0 if architecture == "SenseVoiceSmall" else 2)
    shared = min(exact.scores.shape[1], got.scores.shape[1])
    difference = np.abs(got.scores[:, : shared // 2] - exact.scores[:, : shared // 2])
    assert 0 < np.median(difference) < 0.05 * np.abs(exact.scores).max()
    loaded.close()


@pytest.mark.parametrize("architecture", ["SenseVoiceSmall", "Paraformer"])
@pytest.mark.parametrize("optimize", ["freeze", "inference"])
def test_a_frozen_graph_gives_the_same(workshop: Any, architecture: str, optimize: str) -> None:
    loaded: Any = load_engine(
        workshop.request("torchscript:lean", architecture, session_options={"optimize": optimize})
    )
    for lengths in ([60, 33], [12], [40, 40, 40]):
        batch = workshop.batch(lengths, seed=len(lengths))
        exact = workshop.engine("torchscript:lean", architecture).run(batch)
        got = loaded.run(batch)
        assert got.lengths.tolist() == exact.lengths.tolist()
        assert np.mean(got.ids == exact.ids) > 0.99
    loaded.close()
