"""FunASR's own code in a child: few of its modules, since importing all of them takes half of such a test's CPU time.

``AutoModel`` finds the classes that a configuration names among those that were imported; an absent one is an error.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["FEW_MODULES", "ask_funasr"]

FEW_MODULES = """
import json, sys
from autotune.engines.funasr_import import skip_funasr_init
skip_funasr_init()
"""
"""What comes before ``import funasr.X`` in a child that needs X alone."""

_AUTOMODEL = """
import importlib
from autotune.engines.funasr_import import import_network_classes
importlib.import_module("funasr.tokenizer.char_tokenizer")
importlib.import_module("funasr.tokenizer.sentencepiece_tokenizer")
importlib.import_module("funasr.models.specaug.specaug")
for name in ("SenseVoiceSmall", "Paraformer", "BiCifParaformer", "SeacoParaformer", "FsmnVADStreaming"):
    import_network_classes(name, {"frontend": "WavFrontend"})
from funasr.auto.auto_model import AutoModel
import soundfile, soxr

def auto_model(path):
    return AutoModel(model=path, ncpu=1, device="cpu", disable_update=True, disable_pbar=True, log_level="ERROR")

def samples(clip):
    wave, rate = soundfile.read(clip, dtype="float32")
    return wave if rate == 16000 else soxr.resample(wave, rate, 16000)
"""


def ask_funasr(code: str, request: Any = None, *, automodel: bool = True) -> Any:
    """``result`` as ``code`` leaves it, from ``request``; ``automodel`` gives it ``auto_model`` and ``samples``."""
    program = FEW_MODULES + (_AUTOMODEL if automodel else "")
    program += f"\nrequest = json.load(sys.stdin)\n{code}\nprint('RESULT' + json.dumps(result))\n"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.rpartition("RESULT")[2])
