"""A copy of an exported ONNX file that sherpa-onnx takes: it ends the process unless the file says how it was made.

What it reads is in sherpa-onnx/csrc/offline-sense-voice-model.cc and offline-paraformer-model.cc; what the values are,
in scripts/sense-voice/export-onnx.py. Inputs and outputs are used in their order, whatever their names, and are those
of FunASR's own graph.
"""

import json
from pathlib import Path

from autotune.model_directory import ModelDirectory
from autotune.recognizer.frontend import read_cmvn

__all__ = ["write_sherpa_model"]


_SENSE_VOICE = {
    "model_type": "sense_voice_ctc",
    "lang_auto": 0,
    "lang_zh": 3,
    "lang_en": 4,
    "lang_yue": 7,
    "lang_ja": 11,
    "lang_ko": 12,
    "with_itn": 14,
    "without_itn": 15,
}


def write_sherpa_model(model: ModelDirectory, artifact: Path, folder: Path) -> tuple[Path, Path]:
    """Write the model and its ``tokens.txt`` into an existing folder; their paths."""
    import onnx

    loaded = onnx.load(str(artifact))
    tokens = vocabulary(model)
    del loaded.metadata_props[:]
    for key, value in metadata(model, len(tokens)).items():
        entry = loaded.metadata_props.add()
        entry.key, entry.value = key, str(value)
    onnx.save(loaded, str(folder / "model.onnx"))
    lines = "".join(f"{token} {index}\n" for index, token in enumerate(tokens))
    (folder / "tokens.txt").write_text(lines, encoding="utf-8")
    return folder / "model.onnx", folder / "tokens.txt"


def metadata(model: ModelDirectory, vocabulary_size: int) -> dict[str, object]:
    frontend = model.frontend
    if frontend.cmvn_path is None:
        raise ValueError(f"sherpa-onnx needs the model's CMVN, but {model.path} has none")
    shift, scale = read_cmvn(frontend.cmvn_path, frontend.feature_dim)
    kind = _SENSE_VOICE if model.architecture == "SenseVoiceSmall" else {"model_type": "paraformer"}
    return {
        **kind,
        "vocab_size": vocabulary_size,
        "lfr_window_size": frontend.lfr_m,
        "lfr_window_shift": frontend.lfr_n,
        "normalize_samples": 0,  # the filter bank is of samples in 16-bit range
        "neg_mean": ",".join(f"{value:.9g}" for value in shift),
        "inv_stddev": ",".join(f"{value:.9g}" for value in scale),
    }


def vocabulary(model: ModelDirectory) -> list[str]:
    """Every token in the order of its id."""
    if model.bpe_path is not None:
        import sentencepiece

        pieces = sentencepiece.SentencePieceProcessor()
        pieces.Load(str(model.bpe_path))
        return [str(pieces.IdToPiece(index)) for index in range(pieces.GetPieceSize())]
    assert model.tokens_path is not None
    text = model.tokens_path.read_text(encoding="utf-8")
    return list(json.loads(text)) if model.tokens_path.suffix == ".json" else text.split()
