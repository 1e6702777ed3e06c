"""FunASR's modules without its ``__init__``: a network needs few of them, and AutoModel still gets them all."""

import subprocess
from collections.abc import Callable

import pytest

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]

NETWORK = """
import sys
from autotune.engines.funasr_import import import_network_classes
tables = import_network_classes("SenseVoiceSmall", {"encoder": "SenseVoiceEncoderSmall"})
few = set(sys.modules)
assert "SenseVoiceSmall" in tables.model_classes and "SenseVoiceEncoderSmall" in tables.encoder_classes
"""


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("print('Paraformer' in tables.model_classes, 'transformers' in few)", "False False"),
        (
            "from funasr import AutoModel\nimport funasr\n"
            "print(AutoModel.__module__, funasr.__version__ > '1', 'Paraformer' in tables.model_classes)",
            "funasr.auto.auto_model True True",
        ),
        (
            "import_network_classes('Paraformer', {'encoder': 'ConformerEncoder'})\n"
            "print('ConformerEncoder' in tables.encoder_classes, 'FsmnVADStreaming' in tables.model_classes)",
            "True True",
        ),
        ("import_network_classes('Nobody', {'encoder': 'None'})\nprint('Nobody' in tables.model_classes)", "False"),
    ],
    ids=["few", "then AutoModel", "a part of another model", "a class that is nowhere"],
)
def test_what_is_imported(run_python: RunPython, code: str, printed: str) -> None:
    done = run_python(NETWORK + code)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1] == printed


def test_a_missing_funasr_is_a_missing_module(run_python: RunPython) -> None:
    done = run_python(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "import autotune.engines.funasr_import as bare\n"
        "bare.find_spec = lambda name: None if name == 'funasr' else find(name)\n"
        "try:\n    bare.skip_funasr_init()\n"
        "except ModuleNotFoundError as error:\n    print(error.name)"
    )
    assert done.stdout.strip() == "funasr", done.stderr
