"""FunASR's own network of a model directory as a torch module: built, filled strictly, wrapped for export.

Child processes only: everything here loads torch and funasr.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.engines.funasr_import import import_network_classes
from autotune.errors import ModelError
from autotune.model_directory import ModelDirectory, read_tokens

if TYPE_CHECKING:
    import torch

    from autotune.engines.hot_words_export import HotWordsExport
    from autotune.engines.network_export import ExportModule
    from autotune.formats import GraphName

__all__ = [
    "build_network",
    "count_parameters",
    "empty_network",
    "export_module",
    "fill",
    "read_weights",
    "vocabulary_size",
    "wrap",
    "wrap_hot_words",
]

_NESTED = ("state_dict", "model_state_dict", "model")
"""Keys under which FunASR's checkpoints hold the weights, in the order that FunASR unwraps them."""

_RUNS_AS = {"SeacoParaformer": "BiCifParaformer"}
"""Class → the class whose network it is. FunASR runs SeacoParaformer's branch for hot words only when it is given some
(``_seaco_decode_with_ASF``), and without that branch the network is BiCifParaformer's."""


def build_network(model: ModelDirectory, *, hot_words: bool = False) -> torch.nn.Module:
    """FunASR's network with the directory's weights, float32 on the CPU, in evaluation mode.

    Args:
        model: whose weights are read.
        hot_words: SeacoParaformer with its branch for hot words.

    Raises:
        ModelError: the configuration does not build, the weights are damaged, hold code, or do not fit exactly.
    """
    checkpoint = model.checkpoint
    network = empty_network(model, hot_words=hot_words)
    fill(network, read_weights(checkpoint), checkpoint)
    return network.eval()


def export_module(model: ModelDirectory, graph: GraphName = "funasr") -> ExportModule:
    """The network in a form that is exported, traced and run: plain tensors in, plain tensors out.

    Raises:
        ModelError: see ``build_network``.
    """
    return wrap(build_network(model), model, graph)


def wrap(network: torch.nn.Module, model: ModelDirectory, graph: GraphName = "funasr") -> ExportModule:
    """The export form of a network, which it takes over: FunASR's export classes replace layers in place."""
    from autotune.engines.lean_export import LeanParaformerExport, LeanSenseVoiceExport
    from autotune.engines.network_export import ParaformerExport, SenseVoiceExport

    feature_dim = model.frontend.feature_dim
    if graph != "funasr":
        kind = {"fused": graph != "lean", "masked": graph != "unmasked"}
        if model.architecture == "SenseVoiceSmall":
            return LeanSenseVoiceExport(network, feature_dim, **kind).eval()
        return LeanParaformerExport(network, model, **kind).eval()
    if model.architecture == "SenseVoiceSmall":
        return SenseVoiceExport(network, feature_dim).eval()
    return ParaformerExport(network, model).eval()


def wrap_hot_words(network: torch.nn.Module, model: ModelDirectory, graph: GraphName = "lean") -> HotWordsExport:
    """The export form of a network that was built with ``hot_words``; lean whatever the graph without them is."""
    from autotune.engines.hot_words_export import HotWordsExport

    return HotWordsExport(network, model, fused=graph in ("fused", "unmasked")).eval()


def count_parameters(network: torch.nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(parameter.numel() for parameter in network.parameters())


def vocabulary_size(model: ModelDirectory) -> int:
    """Size of the tokenizer, which FunASR makes the size of the output layer. Raises ModelError."""
    if model.bpe_path is not None:
        import sentencepiece

        try:
            return int(sentencepiece.SentencePieceProcessor(model_file=str(model.bpe_path)).get_piece_size())
        except (OSError, RuntimeError) as error:
            raise ModelError(f"{model.bpe_path} must be a sentencepiece model, but: {error}") from error
    assert model.tokens_path is not None
    return len(read_tokens(model.tokens_path))


def empty_network(model: ModelDirectory, *, hot_words: bool = False) -> torch.nn.Module:
    """FunASR's network as configured, weights not yet read (initialised by torch on the current device).

    Args:
        model: what is configured.
        hot_words: SeacoParaformer with its branch for hot words.

    Raises:
        ModelError: the installed FunASR lacks a class that the configuration names, or the class refuses its settings.
    """
    name = model.architecture if hot_words else _RUNS_AS.get(model.architecture, model.architecture)
    settings = {**(model.config.get("model_conf") or {}), **model.config}
    parts = {
        kind: str(settings[kind]) for kind in ("encoder", "decoder", "predictor") if settings.get(kind) is not None
    }
    with warnings.catch_warnings():
        # FunASR's modules emit SyntaxWarning and DeprecationWarning while they are imported.
        warnings.simplefilter("ignore")
        tables = import_network_classes(name, parts)
    cls = tables.model_classes.get(name)
    if cls is None:
        raise ModelError(f"The installed FunASR must have the class {name}, but has not. Upgrade funasr.")
    # FunASR builds a Paraformer without decoder and predictor too, which fails when it runs.
    for part in ("encoder",) if model.architecture == "SenseVoiceSmall" else ("encoder", "decoder", "predictor"):
        if part not in parts:
            raise ModelError(f"{part} must be named, but {model.path / 'config.yaml'} has none.")
    settings |= {"input_size": model.frontend.feature_dim, "vocab_size": vocabulary_size(model), "specaug": None}
    try:
        return cls(**settings)  # type: ignore[no-any-return]
    except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError) as error:
        raise ModelError(
            f"FunASR's {name} must be buildable from {model.path / 'config.yaml'}, but: {type(error).__name__}: {error}"
        ) from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, read without running any code that it may hold.

    Raises:
        ModelError: truncated, not a checkpoint, holds Python objects other than tensors, or no tensors.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(_refused(path, str(error))) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path} must be a complete PyTorch checkpoint, but it is damaged or cut short "
            f"({path.stat().st_size} bytes: {_first_line(error)}). Copy or download it again."
        ) from error
    for key in _NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not any(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path} must hold a mapping of names to tensors, but holds {type(state).__name__}.")
    return {
        str(name).removeprefix("module."): value for name, value in state.items() if isinstance(value, torch.Tensor)
    }


def fill(network: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Give a network the weights of a file, every one of its own. Raises ModelError where they don't fit exactly."""
    import torch

    expected = network.state_dict()
    missing = [name for name in expected if name not in weights]
    shapes = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    wrong = {"missing": missing, "of another shape": shapes}
    if any(wrong.values()):
        problems = "; ".join(f"{len(names)} {what}: {_few(names)}" for what, names in wrong.items() if names)
        raise ModelError(
            f"The weights in {path} must fit config.yaml and the tokenizer, but {problems}. "
            "Use the config.yaml and tokens that belong to these weights."
        )
    broken = [name for name in expected if not bool(torch.isfinite(weights[name]).all())]
    if broken:
        raise ModelError(f"The weights in {path} must be finite, but NaN or infinity is in {_few(broken)}.")
    # What the network has no place for (left-overs of training, a branch for hot words) is left out.
    network.load_state_dict({name: weights[name] for name in expected}, strict=True)


def _refused(path: Path, message: str) -> str:
    names = sorted(set(re.findall(r"(?:GLOBAL|function or class) ([\w.]+)", message)))
    if names or _is_pickle(path):
        named = f" ({', '.join(names)})" if names else ""
        return (
            f"{path} must hold tensors only, but it is a pickle with other Python objects in it{named}: loading "
            "those could run code, so the file was refused and nothing of it was run. "
            "Use weights saved as a plain state_dict."
        )
    return (
        f"{path} must be a complete PyTorch checkpoint, but it is damaged or something else "
        f"({path.stat().st_size} bytes). Copy or download it again."
    )


def _is_pickle(path: Path) -> bool:
    """Whether the file is one whole pickle; looks at its opcodes without running them."""
    try:
        with path.open("rb") as file:
            return sum(1 for _ in pickletools.genops(file)) > 0
    except (ValueError, OSError):
        return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _few(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
