"""Two threads that call a binding for the first time together: OpenVINO's deadlocks, unless its engine was loaded.

What a thread switch does by chance is made certain: both threads hand the GIL over at every call of a Python function,
so that whoever runs Python inside a native lock (a C++ static guard that imports numpy) meets the other one before it.
"""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

import autotune.models

EMBEDDED = Path(autotune.models.__file__).parent / "embedded"
Run = Callable[..., "CompletedProcess[str]"]

_TOGETHER = """
import faulthandler, os, sys, threading, time

def together(*calls):
    faulthandler.dump_traceback_later(float(sys.argv[1]), exit=True)
    barrier, done = threading.Barrier(len(calls)), []

    def first_call(call):
        barrier.wait()
        sys.setprofile(lambda *_: time.sleep(1e-4))
        call()
        sys.setprofile(None)
        done.append(call)

    threads = [threading.Thread(target=first_call, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("ENDED", len(done), flush=True)
    os._exit(0)
"""

_ENGINE = f"""{_TOGETHER}
import json, warnings
from pathlib import Path
import numpy as np
from autotune.deployment import Deployment
from autotune.engines import EngineInput, EngineRequest, engine_class, load_engine
from autotune.model_directory import ModelDirectory

warnings.simplefilter("ignore")
deployment = Deployment(**json.loads(sys.argv[3]))
request = EngineRequest(deployment, ModelDirectory.open(Path(sys.argv[4])), Path(sys.argv[5]) if sys.argv[5] else None)
first = load_engine(request) if sys.argv[2] == "loaded" else engine_class(deployment.engine).load(request)
features = np.ones((1, 9, 560), np.float32)
batch = EngineInput(features, np.array([9], np.int32), (np.load(sys.argv[6]),) if sys.argv[6] else ())
together(*(lambda engine=engine: engine.run(batch) for engine in (first, first.twin())))
"""

_BINDINGS = {
    "soundfile": "import soundfile; together(*[lambda: soundfile.read(sys.argv[2], 1000, dtype='float32')] * 2)",
    "soxr": "import numpy as np, soxr; x = np.zeros(4800, np.float32); together(*[lambda: "
    "soxr.ResampleStream(48000, 16000, 1, 'float32', 'HQ').resample_chunk(x, last=True)] * 2)",
    "sentencepiece": "import sentencepiece; pieces = sentencepiece.SentencePieceProcessor(); pieces.Load(sys.argv[2]); "
    "together(*[lambda: (pieces.DecodeIds([5, 6]), pieces.IdToPiece(5))] * 2)",
    "silero": "import numpy as np; from autotune.audio.vad import SileroVad; vad = SileroVad(); "
    "together(*[lambda: vad.probabilities(np.zeros(16000, np.float32))] * 2)",
}
_FAILS_AFTER_S, _HANGS_AFTER_S = "60", "6"


@pytest.fixture
def run_engine(workshop: Any, run_python: Run, tmp_path: Path) -> Callable[..., "CompletedProcess[str]"]:
    def run(engine: str, how: str, after_s: str) -> "CompletedProcess[str]":
        request, waveform = workshop.request(engine, "SenseVoiceSmall", intra_op_num_threads=1, instances=2), ""
        if engine == "funasr":
            waveform = str(tmp_path / "speech.npy")
            np.save(waveform, speech())
        files = (str(request.model.path), str(request.artifact or ""), waveform)
        return run_python(_ENGINE, after_s, how, request.deployment.canonical(), *files)

    return run


def speech() -> Any:
    from autotune.audio.embedded import embedded_clips

    return embedded_clips()[0].waveform[:32000]


def test_openvino_deadlocks_if_two_threads_call_it_first(run_engine: Any) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    done = run_engine("openvino:lean", "bare", _HANGS_AFTER_S)
    if "ENDED" in done.stdout:
        pytest.skip("this OpenVINO no longer looks for numpy inside a static guard")
    assert "Timeout" in done.stderr
    assert done.stderr.count("in infer") == 2


@pytest.mark.parametrize("engine", ["openvino", "openvino:lean"])
def test_after_loading_twins_may_call_it_together(run_engine: Any, engine: str) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    done = run_engine(engine, "loaded", _FAILS_AFTER_S)
    assert done.stdout.endswith("ENDED 2\n"), done.stderr


@pytest.mark.parametrize("engine", ["onnxruntime:lean", "torchscript:lean", "pytorch", "funasr"])
def test_no_other_runtime_deadlocks_in_its_first_call(run_engine: Any, engine: str) -> None:
    done = run_engine(engine, "bare", _FAILS_AFTER_S)
    assert done.stdout.endswith("ENDED 2\n"), done.stderr


@pytest.mark.parametrize("binding", sorted(_BINDINGS))
def test_no_other_binding_deadlocks_in_its_first_call(run_python: Run, tmp_path: Path, binding: str) -> None:
    import soundfile

    file = tmp_path / "x.wav"
    soundfile.write(file, np.zeros(1600, np.float32), 16000)
    if binding == "sentencepiece":
        file = next(EMBEDDED.glob("*.bpe.model"))
    done = run_python(f"{_TOGETHER}\n{_BINDINGS[binding]}", _FAILS_AFTER_S, str(file))
    assert done.stdout.endswith("ENDED 2\n"), done.stderr
