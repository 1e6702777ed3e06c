"""A FunASR model directory as autotune reads it: plain files, no torch, no code from the directory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from autotune.documents import read_yaml
from autotune.errors import DocumentError, ModelError

__all__ = [
    "FRONT_ENDS",
    "SUPPORTED_ARCHITECTURES",
    "Architecture",
    "FrontendConfig",
    "Given",
    "ModelDirectory",
    "named_files",
    "read_tokens",
]

Architecture = Literal["SenseVoiceSmall", "Paraformer", "BiCifParaformer", "SeacoParaformer"]
SUPPORTED_ARCHITECTURES: tuple[str, ...] = get_args(Architecture)
FRONT_ENDS = ("WavFrontend", "WavFrontendOnline", "wav_frontend")
_PARAFORMER_ZH = "paraformer-zh (iic/speech_seaco_paraformer_large_asr_nat-zh-cn-16k-common-vocab8404-pytorch)"
_OFFLINE = f"Use the offline model, which serves streams too: {_PARAFORMER_ZH}."
_OTHER_CLASSES = {
    "ParaformerStreaming": ("a streaming Paraformer", _OFFLINE),
    "ContextualParaformer": (
        "a Paraformer that always takes hot words",
        f"Use {_PARAFORMER_ZH}, which runs without them too.",
    ),
    "FsmnVADStreaming": ("a voice activity detector", "Pass its directory with --vad-model."),
    "CTTransformer": ("a punctuation model", "Pass its directory with --punc-model, beside a recognition model."),
    "CTTransformerStreaming": ("a punctuation model", ""),
    "MonotonicAligner": ("a model of timestamps", ""),
    "CAMPPlus": ("a speaker model", ""),
    "Emotion2vec": ("a model of emotions", ""),
    "WhisperWarp": ("Whisper", "Use SenseVoiceSmall (iic/SenseVoiceSmall) for several languages."),
    "FunASRNano": ("a large language model", "Use SenseVoiceSmall (iic/SenseVoiceSmall) for several languages."),
}
"""Class that FunASR has and isn't supported → what it is, and what to use instead."""
Given = Literal["onnx-fp32", "onnx-int8"]
_GIVEN_FILES: dict[Given, str] = {"onnx-fp32": "model.onnx", "onnx-int8": "model_quant.onnx"}
"""Format → the file that FunASR's export, funasr_onnx and its C++ runtime have of it."""
_PARTS = {
    "encoder": ("SANMEncoder", "SenseVoiceEncoderSmall", "ConformerEncoder"),
    "decoder": ("ParaformerSANMDecoder", "ParaformerSANDecoder"),
    "predictor": ("CifPredictor", "CifPredictorV2", "CifPredictorV3"),
    "seaco_decoder": ("ParaformerSANMDecoder", "ParaformerSANDecoder"),
}
"""FunASR's classes that are made of numbers alone. Others load models of their own, such as Whisper's encoder."""


@dataclass(frozen=True)
class FrontendConfig:
    """FunASR's ``WavFrontend``: kaldi fbank, low frame rate stacking, CMVN."""

    sample_rate_hz: int
    window: str
    n_mels: int
    frame_length_ms: float
    frame_shift_ms: float
    lfr_m: int
    """Frames that are stacked into one."""
    lfr_n: int
    """Frames from the start of one stacked frame to that of the next."""
    cmvn_path: Path | None
    """kaldi-nnet CMVN file (``am.mvn``): <AddShift> then <Rescale>."""

    @property
    def feature_dim(self) -> int:
        """Size of one stacked frame: n_mels × lfr_m (560 for the published models)."""
        return self.n_mels * self.lfr_m

    @property
    def frame_s(self) -> float:
        """Seconds between stacked frames (0.06 for the published models)."""
        return self.frame_shift_ms * self.lfr_n / 1000


@dataclass(frozen=True)
class ModelDirectory:
    """What recognizer and engines need to know of a model, read from its directory.

    The directory is trusted for data only: nothing in it is ever imported or unpickled with code.
    """

    path: Path
    architecture: Architecture
    weights_path: Path
    """``model.pt``, or the file that was named in its place; of a directory without them the ONNX file that others are
    compared with."""
    config: dict[str, Any]
    """``config.yaml`` as parsed."""
    frontend: FrontendConfig
    tokens_path: Path | None
    """``tokens.json`` or ``tokens.txt`` (CharTokenizer)."""
    bpe_path: Path | None
    """sentencepiece model (SentencepiecesTokenizer)."""
    given: dict[Given, Path] = field(default_factory=dict)
    """The ONNX files of a directory without ``model.pt``, fp32 first; empty where there is a ``model.pt``."""
    weights_named: bool = False
    """Whether it was opened by the file of its weights."""

    @property
    def spec(self) -> Path:
        """What ``open`` takes for the same model."""
        return self.weights_path if self.weights_named else self.path

    @property
    def gives_times(self) -> bool:
        """Whether its network has FunASR's second CIF, of whose weights, three a frame, times of tokens are made."""
        conf = self.config.get("predictor_conf")
        return (
            # A given ONNX file's outputs are FunASR's own, computed at every call: its times aren't used.
            not self.given
            and self.architecture in ("BiCifParaformer", "SeacoParaformer")
            and self.config.get("predictor") == "CifPredictorV3"
            and isinstance(conf, dict)
            and conf.get("upsample_times") == 3
            and conf.get("upsample_type") in ("cnn", "cnn_blstm")
        )

    @property
    def takes_hot_words(self) -> bool:
        """Whether its network has FunASR's branch for hot words, in the form of the published models."""
        conf = {**(self.config.get("model_conf") or {}), **self.config}
        return (
            not self.given
            and self.architecture == "SeacoParaformer"
            and self.tokens_path is not None
            and self.config.get("seaco_decoder") == "ParaformerSANMDecoder"
            and conf.get("bias_encoder_type", "lstm") == "lstm"
            and not conf.get("bias_encoder_bid", False)
        )

    @classmethod
    def open(cls, path: Path) -> ModelDirectory:
        """Read ``config.yaml`` (and ``configuration.json`` for file names) of a FunASR model directory.

        Args:
            path: the directory, or a file of weights in it, such as ``model.pt.avg10`` that training leaves.

        Raises:
            ModelError: not a directory, a file is missing, the class is unsupported, or the front end is.
        """
        # By its own name: a hub's cache holds links to files that lie elsewhere.
        chosen = Path(path).name if Path(path).is_file() else None
        path = (Path(path) if chosen is None else Path(path).parent).resolve()
        if not path.is_dir():
            raise ModelError(f"The model must be a directory, or a file of weights in one, but {path} is neither.")
        _check_not_deepspeeds(path)
        config_path = path / "config.yaml"
        if not config_path.is_file():
            raise ModelError(
                f"A FunASR model directory must hold config.yaml, but {path} has none. "
                "Pass the directory that FunASR downloaded (config.yaml, model.pt, am.mvn, tokens)."
            )
        try:
            config = read_yaml(config_path)
        except DocumentError as error:
            raise ModelError(str(error)) from error
        if not isinstance(config, dict):
            raise ModelError(f"{config_path} must hold a mapping, but got {type(config).__name__}.")
        architecture = config.get("model")
        if architecture not in SUPPORTED_ARCHITECTURES:
            raise ModelError(_unsupported(config, config_path))
        _check_parts(config, config_path)
        weights, given = _weights(path, chosen)
        tokens, bpe = _tokenizer_files(path, config)
        return cls(
            path=path,
            architecture=cast(Architecture, architecture),
            weights_path=next(iter(given.values()), weights),
            config=config,
            frontend=_frontend(path, config),
            tokens_path=tokens,
            bpe_path=bpe,
            given=given,
            weights_named=chosen is not None,
        )

    @property
    def checkpoint(self) -> Path:
        """``model.pt``, for PyTorch. Raises ModelError of a directory that has ONNX files alone."""
        if self.given:
            raise ModelError(
                f"PyTorch needs model.pt, but {self.path} holds {', '.join(path.name for path in self.given.values())} "
                "alone. Use an engine for ONNX files: onnxruntime or openvino."
            )
        return self.weights_path


def _weights(path: Path, chosen: str | None) -> tuple[Path, dict[Given, Path]]:
    """The weights for PyTorch, or else the ONNX files; ``chosen`` is the name of a file that the user picked."""
    if chosen is not None:
        if ".pt" not in chosen:
            raise ModelError(f"A model's weights must be a file such as model.pt or model.pt.avg10, but got {chosen}.")
        return path / chosen, {}
    weights = named_files(path).get("init_param") or path / "model.pt"
    given = {} if weights.is_file() and weights.suffix != ".onnx" else _given_files(path)
    if given or weights.is_file():
        return weights, given
    _check_not_deepspeeds(weights)
    left = sorted(file for file in path.glob("model.pt.*") if file.is_file())
    names = ", ".join(file.name for file in left)
    raise ModelError(
        f"A FunASR model directory must hold its weights, but {weights} is missing, and so are "
        f"{' and '.join(_GIVEN_FILES.values())}."
        + (f" Training left {names}: name the one that is meant, such as --model {left[0]}." if left else "")
    )


def _check_not_deepspeeds(path: Path) -> None:
    """Raise ModelError for a directory in which DeepSpeed keeps weights, which FunASR itself can't load."""
    file = path / "mp_rank_00_model_states.pt"
    if path.is_dir() and path.name.startswith("model.pt") and not (path / "config.yaml").is_file():
        raise ModelError(
            f"{path} must be a file, but is a directory, as DeepSpeed writes. Make a file beside it with DeepSpeed's "
            f'zero_to_fp32.py, or, of ZeRO 1 and 2, of the entry "module" of {file.name}, and name it: '
            f"--model {path}.plain."
        )


def _given_files(path: Path) -> dict[Given, Path]:
    return {kind: path / name for kind, name in _GIVEN_FILES.items() if (path / name).is_file()}


def _unsupported(config: dict[str, Any], where: Path) -> str:
    """What is said of a class that can't be tuned: what it is, and what to use instead."""
    name = config.get("model")
    what, instead = _OTHER_CLASSES.get(str(name), ("", ""))
    if isinstance(name, str) and name.islower():
        what = "a directory of funasr 0.x"
        instead = _OFFLINE if "online" in name else f"Use the current one: {_PARAFORMER_ZH}, or paraformer."
    return (
        f"The model class must be one of {', '.join(SUPPORTED_ARCHITECTURES)}, but got {name!r}"
        f"{f', {what}' if what else ''} ({where}: model). {instead}"
    ).rstrip()


def _check_parts(config: dict[str, Any], where: Path) -> None:
    model_conf = config.get("model_conf") or {}
    if not isinstance(model_conf, dict):
        raise ModelError(f"model_conf must be a mapping, but got {model_conf!r:.60} ({where}).")
    for settings in (model_conf, config):  # FunASR takes them from either
        for part, classes in _PARTS.items():
            if (name := settings.get(part)) is not None and name not in classes:
                raise ModelError(f"{part} must be one of {', '.join(classes)}, but got {name!r} ({where}: {part}).")


def named_files(path: Path) -> dict[str, Path]:
    """Files that the ``configuration.json`` of a directory names, those that are there.

    Raises:
        ModelError: it is damaged, one leaves the directory, or FunASR would read another file than ``config.yaml``.
    """
    return {key: path / name for key, name in _names(path).items() if (path / name).is_file()}


def _names(path: Path) -> dict[str, str]:
    """Every file name in ``configuration.json``; raises what ``named_files`` raises."""
    meta_path = path / "configuration.json"
    if not meta_path.is_file():
        return {}
    try:
        meta = json.loads(meta_path.read_text(encoding="utf-8")).get("file_path_metas", {})
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{meta_path} must be a JSON object, but: {error}") from error
    names: dict[str, str] = {}
    for key, value in [
        *meta.items(),
        *[(k, v) for m in meta.values() if isinstance(m, dict) for k, v in m.items()],
    ]:
        if isinstance(value, str):
            # By its name: a hub's cache holds links to files that lie elsewhere.
            if Path(value).is_absolute() or ".." in Path(value).parts:
                raise ModelError(f"{meta_path} must name files inside the directory, but {key} is {value!r}.")
            if key == "config" and Path(value) != Path("config.yaml"):
                raise ModelError(f"{meta_path} must name config.yaml as the config, but names {value!r}.")
            names[key] = value
    return names


def _file(path: Path, key: str, config: dict[str, Any], section: str, usual: Iterable[Path]) -> Path | None:
    """A file of a directory: where ``configuration.json`` says, else ``config.yaml``, else at its usual places.

    FunASR's training writes absolute paths into ``config.yaml``, and copies a ``configuration.json`` whose files stay
    with the pretrained model.

    Raises:
        ModelError: one of them names a file, and there is none.
    """
    settings = config.get(section) or {}
    configured = settings.get(key) if isinstance(settings, dict) else None
    asked = [path / value for value in (_names(path).get(key), configured) if isinstance(value, str)]
    found = next((file for file in (*asked, *usual) if file.is_file()), None)
    if found is None and asked:
        raise ModelError(
            f"{path} must hold {asked[0].name} ({section}.{key}), but {' and '.join(map(str, asked))} is missing. Copy "
            "it from the model that this one was trained from, or download the directory again."
        )
    return found


def _tokenizer_files(path: Path, config: dict[str, Any]) -> tuple[Path | None, Path | None]:
    tokenizer = config.get("tokenizer")
    if tokenizer == "SentencepiecesTokenizer":
        usual = (*sorted(path.glob("*.bpe.model")), path / "bpe.model")
        bpe = _file(path, "bpemodel", config, "tokenizer_conf", usual)
        if bpe is None:
            raise ModelError(f"A SentencepiecesTokenizer needs a *.bpe.model file, but {path} has none.")
        return None, bpe
    if tokenizer == "CharTokenizer":
        tokens = _file(path, "token_list", config, "tokenizer_conf", (path / "tokens.json", path / "tokens.txt"))
        if tokens is None:
            raise ModelError(f"A CharTokenizer needs tokens.json, but {path} has none.")
        return tokens, None
    raise ModelError(
        f"The tokenizer must be CharTokenizer or SentencepiecesTokenizer, but got {tokenizer!r} "
        f"({path / 'config.yaml'}: tokenizer)."
    )


def read_tokens(path: Path) -> list[str]:
    """The tokens of a CharTokenizer by their ids: a JSON list, or lines of a token each, perhaps with its id after it.

    Raises:
        ModelError: not readable, or no list of tokens.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tokens = json.loads(text) if path.suffix == ".json" else [line.rstrip() for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} must be a list of tokens, but: {error}") from error
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ModelError(f"{path} must be a list of strings, one for each token.")
    numbered = [token.rpartition(" ") for token in tokens]
    if path.suffix != ".json" and all(number == str(place) for place, (_, _, number) in enumerate(numbered)):
        return [token.rstrip() for token, _, _ in numbered]
    return tokens


def _frontend(path: Path, config: dict[str, Any]) -> FrontendConfig:
    where = f"{path / 'config.yaml'}: frontend"
    if config.get("frontend") not in FRONT_ENDS:
        raise ModelError(f"The front end must be WavFrontend, but got {config.get('frontend')!r} ({where}).")
    conf = config.get("frontend_conf") or {}
    if conf.get("fs", 16000) != 16000:
        raise ModelError(f"The sample rate must be 16000 Hz, but got {conf['fs']} ({where}_conf.fs).")
    try:
        return FrontendConfig(
            sample_rate_hz=16000,
            window=str(conf.get("window", "hamming")),
            n_mels=int(conf.get("n_mels", 80)),
            frame_length_ms=float(conf.get("frame_length", 25)),
            frame_shift_ms=float(conf.get("frame_shift", 10)),
            lfr_m=int(conf.get("lfr_m", 1)),
            lfr_n=int(conf.get("lfr_n", 1)),
            cmvn_path=_file(path, "cmvn_file", config, "frontend_conf", (path / "am.mvn",)),
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"The front end's settings must be numbers, but: {error} ({where}_conf).") from error
