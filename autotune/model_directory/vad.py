"""The directory of a FunASR FSMN-VAD as autotune reads it: plain files, no torch, no code from the directory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.digests import file_sha256
from autotune.documents import read_yaml
from autotune.errors import DocumentError, ModelError
from autotune.model_directory.recognition import FRONT_ENDS, named_files

__all__ = ["VAD_CLASS", "VAD_ENCODER", "VadDirectory"]

VAD_CLASS, VAD_ENCODER = "FsmnVADStreaming", "FSMN"
"""FunASR's classes of ``fsmn-vad``, which are made of numbers alone."""
_WHERE = f'(chunking.vad_model). It must be "silero" or the directory of a FunASR {VAD_CLASS} model.'
_NAMES = ("window", "cmvn_file")
"""Settings that are texts: the front end's window, and its file, which is looked for here."""


@dataclass(frozen=True)
class VadDirectory:
    """A directory with ``config.yaml`` and the weights of an FSMN-VAD; trusted for data only."""

    path: Path
    weights_path: Path
    cmvn_path: Path | None
    front_end: str
    """FunASR's class of the front end."""
    detection: dict[str, Any]
    """Settings of the state machine that decides what is speech (``model_conf``): numbers, and lists of them."""
    network: dict[str, Any]
    """Sizes of the network (``encoder_conf``)."""
    features: dict[str, Any]
    """Settings of the front end (``frontend_conf``), without the file of CMVN."""

    @classmethod
    def open(cls, path: Path) -> VadDirectory:
        """Read ``config.yaml`` (and ``configuration.json`` for the file of CMVN).

        Raises:
            ModelError: not a directory, a file is missing, another class, or a setting that is no number.
        """
        path = Path(path).resolve()
        if not path.is_dir():
            raise ModelError(f"The VAD model must be a directory, but {path} is not one {_WHERE}")
        config = _config(path)
        if not (path / "model.pt").is_file():
            raise ModelError(f"The VAD model's directory must hold model.pt, but {path} has none {_WHERE}")
        features = _settings(config, "frontend_conf", path)
        features.pop("cmvn_file", None)
        cmvn = named_files(path).get("cmvn_file", path / "am.mvn")
        return cls(
            path=path,
            weights_path=path / "model.pt",
            cmvn_path=cmvn if cmvn.is_file() else None,
            front_end=config["frontend"],
            detection=_settings(config, "model_conf", path),
            network=_settings(config, "encoder_conf", path),
            features=features,
        )

    @property
    def sha256(self) -> str:
        """Digest over the names and contents of the files that decide what is speech.

        Raises:
            ModelError: one of them can't be read.
        """
        digest = hashlib.sha256()
        try:
            for path in (self.path / "config.yaml", self.weights_path, *filter(None, (self.cmvn_path,))):
                digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
        except OSError as error:
            raise ModelError(f"The VAD model's files must be readable, but: {error} ({self.path}).") from error
        return digest.hexdigest()


def _config(path: Path) -> dict[str, Any]:
    """``config.yaml`` as parsed, which must name FunASR's classes of an FSMN-VAD."""
    if not (path / "config.yaml").is_file():
        raise ModelError(f"The VAD model's directory must hold config.yaml, but {path} has none {_WHERE}")
    try:
        config = read_yaml(path / "config.yaml")
    except DocumentError as error:
        raise ModelError(str(error)) from error
    config = config if isinstance(config, dict) else {}
    classes = {"model": (VAD_CLASS,), "encoder": (VAD_ENCODER,), "frontend": FRONT_ENDS}
    for key, names in classes.items():
        if (name := config.get(key)) not in names:
            allowed = " or ".join(names)
            raise ModelError(f"The VAD model's {key} must be {allowed}, but {path}/config.yaml says {name!r} {_WHERE}")
    return config


def _settings(config: dict[str, Any], section: str, path: Path) -> dict[str, Any]:
    """A section of ``config.yaml``; raises ModelError for what FunASR's classes could take for more than a number."""
    settings = config.get(section) or {}
    if not isinstance(settings, dict):
        raise ModelError(f"{section} must be a mapping, but got {settings!r:.60} ({path}/config.yaml).")
    for key, value in settings.items():
        plain = all(isinstance(item, int | float) for item in (value if isinstance(value, list) else [value]))
        if not plain and not (key in _NAMES and isinstance(value, str | None)):
            raise ModelError(
                f"{section}.{key} of a VAD model must be a number, but got {value!r:.60} ({path}/config.yaml)."
            )
    return {str(key): value for key, value in settings.items()}
