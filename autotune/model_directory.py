"""A FunASR model directory as autotune reads it: plain files, no torch, no code from the directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from autotune.documents import read_yaml
from autotune.errors import DocumentError, ModelError

__all__ = ["FRONT_ENDS", "SUPPORTED_ARCHITECTURES", "Architecture", "FrontendConfig", "ModelDirectory", "named_files"]

Architecture = Literal["SenseVoiceSmall", "Paraformer", "BiCifParaformer", "SeacoParaformer"]
SUPPORTED_ARCHITECTURES: tuple[str, ...] = get_args(Architecture)
FRONT_ENDS = ("WavFrontend", "WavFrontendOnline", "wav_frontend")
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
    config: dict[str, Any]
    """``config.yaml`` as parsed."""
    frontend: FrontendConfig
    tokens_path: Path | None
    """``tokens.json`` or ``tokens.txt`` (CharTokenizer)."""
    bpe_path: Path | None
    """sentencepiece model (SentencepiecesTokenizer)."""

    @property
    def gives_times(self) -> bool:
        """Whether its network has FunASR's second CIF, of whose weights, three a frame, times of tokens are made."""
        conf = self.config.get("predictor_conf")
        return (
            self.architecture in ("BiCifParaformer", "SeacoParaformer")
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
            self.architecture == "SeacoParaformer"
            and self.tokens_path is not None
            and self.config.get("seaco_decoder") == "ParaformerSANMDecoder"
            and conf.get("bias_encoder_type", "lstm") == "lstm"
            and not conf.get("bias_encoder_bid", False)
        )

    @classmethod
    def open(cls, path: Path) -> ModelDirectory:
        """Read ``config.yaml`` (and ``configuration.json`` for file names) of a FunASR model directory.

        Raises:
            ModelError: not a directory, a file is missing, the class is unsupported, or the front end is.
        """
        path = Path(path).resolve()
        if not path.is_dir():
            raise ModelError(f"The model must be a directory, but {path} is not one.")
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
            raise ModelError(
                f"The model class must be one of {', '.join(SUPPORTED_ARCHITECTURES)}, "
                f"but got {architecture!r} ({config_path}: model)."
            )
        _check_parts(config, config_path)
        named = named_files(path)
        weights = named.get("init_param") or path / "model.pt"
        if not weights.is_file():
            raise ModelError(f"A FunASR model directory must hold its weights, but {weights} is missing.")
        tokens, bpe = _tokenizer_files(path, config, named)
        return cls(
            path=path,
            architecture=cast(Architecture, architecture),
            weights_path=weights,
            config=config,
            frontend=_frontend(path, config, named),
            tokens_path=tokens,
            bpe_path=bpe,
        )


def _check_parts(config: dict[str, Any], where: Path) -> None:
    model_conf = config.get("model_conf") or {}
    if not isinstance(model_conf, dict):
        raise ModelError(f"model_conf must be a mapping, but got {model_conf!r:.60} ({where}).")
    for settings in (model_conf, config):  # FunASR takes them from either
        for part, classes in _PARTS.items():
            if (name := settings.get(part)) is not None and name not in classes:
                raise ModelError(f"{part} must be one of {', '.join(classes)}, but got {name!r} ({where}: {part}).")


def named_files(path: Path) -> dict[str, Path]:
    """Files that the ``configuration.json`` of a directory (resolved) names.

    Raises:
        ModelError: it is damaged, one leaves the directory, or FunASR would read another file than ``config.yaml``.
    """
    meta_path = path / "configuration.json"
    if not meta_path.is_file():
        return {}
    try:
        meta = json.loads(meta_path.read_text(encoding="utf-8")).get("file_path_metas", {})
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{meta_path} must be a JSON object, but: {error}") from error
    named: dict[str, Path] = {}
    for key, value in [
        *meta.items(),
        *[(k, v) for m in meta.values() if isinstance(m, dict) for k, v in m.items()],
    ]:
        if isinstance(value, str):
            candidate = (path / value).resolve()
            if not candidate.is_relative_to(path):
                raise ModelError(f"{meta_path} must name files inside the directory, but {key} is {value!r}.")
            if key == "config" and candidate != (path / "config.yaml").resolve():
                raise ModelError(f"{meta_path} must name config.yaml as the config, but names {value!r}.")
            if candidate.is_file():
                named[key] = candidate
    return named


def _tokenizer_files(path: Path, config: dict[str, Any], named: dict[str, Path]) -> tuple[Path | None, Path | None]:
    tokenizer = config.get("tokenizer")
    bpe = named.get("bpemodel") or next(iter(sorted(path.glob("*.bpe.model"))), None) or path / "bpe.model"
    tokens = named.get("token_list") or path / "tokens.json"
    if not tokens.is_file():
        tokens = path / "tokens.txt"
    if tokenizer == "SentencepiecesTokenizer":
        if not bpe.is_file():
            raise ModelError(f"A SentencepiecesTokenizer needs a *.bpe.model file, but {path} has none.")
        return None, bpe
    if tokenizer == "CharTokenizer":
        if not tokens.is_file():
            raise ModelError(f"A CharTokenizer needs tokens.json, but {path} has none.")
        return tokens, None
    raise ModelError(
        f"The tokenizer must be CharTokenizer or SentencepiecesTokenizer, but got {tokenizer!r} "
        f"({path / 'config.yaml'}: tokenizer)."
    )


def _frontend(path: Path, config: dict[str, Any], named: dict[str, Path]) -> FrontendConfig:
    where = f"{path / 'config.yaml'}: frontend"
    if config.get("frontend") not in FRONT_ENDS:
        raise ModelError(f"The front end must be WavFrontend, but got {config.get('frontend')!r} ({where}).")
    conf = config.get("frontend_conf") or {}
    cmvn = named.get("cmvn_file") or path / "am.mvn"
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
            cmvn_path=cmvn if cmvn.is_file() else None,
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"The front end's settings must be numbers, but: {error} ({where}_conf).") from error
