"""Single modules of FunASR without its ``__init__``, which imports all of them: 8 s of CPU, where a network needs 2 s.

Child processes only: FunASR's modules load torch.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec, module_from_spec
from typing import Any

__all__ = ["import_network_classes", "skip_funasr_init"]

_SANM = ("sanm.encoder", "paraformer.decoder", "paraformer.cif_predictor", "bicif_paraformer.cif_predictor")
_MODULES = {
    "FsmnVADStreaming": ("fsmn_vad_streaming.model", "fsmn_vad_streaming.encoder"),
    "SenseVoiceSmall": ("sense_voice.model",),
    "Paraformer": ("paraformer.model", *_SANM),
    "BiCifParaformer": ("bicif_paraformer.model", *_SANM),
    "SeacoParaformer": ("seaco_paraformer.model", *_SANM),
    "CTTransformer": ("ct_transformer.model", "sanm.encoder"),
}
"""Model class → the modules below ``funasr.models`` that register it and the parts of its published configurations."""


def skip_funasr_init() -> None:
    """Let ``import funasr.X`` import X and what X needs; using ``funasr.AutoModel`` still imports all of it.

    Changes nothing where FunASR is imported already. Raises ModuleNotFoundError if it isn't installed.
    """
    if "funasr" in sys.modules:
        return
    spec = find_spec("funasr")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("No module named 'funasr'", name="funasr")
    module, loader = module_from_spec(spec), spec.loader

    def run_init(name: str) -> Any:
        if name.startswith("__"):  # what the import system looks for is no use of FunASR
            raise AttributeError(name)
        loader.exec_module(module)  # puts FunASR's own __getattr__ in the place of this one
        return getattr(module, name)

    module.__getattr__ = run_init  # type: ignore[method-assign]
    sys.modules["funasr"] = module


def import_network_classes(architecture: str, parts: dict[str, str]) -> Any:
    """FunASR's registry (``funasr.register.tables``), with the class of a network and of its parts.

    What the modules of published models don't register is looked for in all of FunASR, and may be absent there too.

    Args:
        architecture: the model class.
        parts: kind of part, such as ``encoder`` → the class that a configuration names.
    """
    skip_funasr_init()
    tables = importlib.import_module("funasr.register").tables
    try:
        if "frontend" in parts:
            importlib.import_module("funasr.frontends.wav_frontend")
        for name in _MODULES.get(architecture, ()):
            importlib.import_module(f"funasr.models.{name}")
    except ModuleNotFoundError as error:
        # Another version of FunASR may have its classes elsewhere; torch or another dependency has no other place.
        if not (error.name or "").startswith("funasr."):
            raise
    classes = [(tables.model_classes, architecture)]
    classes += [(getattr(tables, f"{kind}_classes"), name) for kind, name in parts.items()]
    if any(name not in table for table, name in classes):
        sys.modules["funasr"].import_submodules  # noqa: B018 - its first use imports everything
    return tables
