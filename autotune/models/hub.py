"""Names of FunASR's hub that can't be tuned, so that they are refused before anything is downloaded.

Read from funasr/download/name_maps_from_hub.py, which the tuner can't import: it is part of a package that loads torch.
"""

from __future__ import annotations

from autotune.errors import ModelError
from autotune.model_directory import SUPPORTED_ARCHITECTURES

__all__ = ["SUPPORTED_ALIASES", "check_supported"]

SUPPORTED_ALIASES = ("paraformer-zh", "paraformer")
"""FunASR's aliases whose models are of a supported class. Of its others, the English ones were never tried."""

_WHISPER = "tiny tiny.en base base.en small small.en medium medium.en large large-v1 large-v2 large-v3 large-v3-turbo"

_UNSUPPORTED: dict[str, tuple[str, ...]] = {
    "a streaming model": (
        "paraformer-zh-streaming",
        "iic/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-online",
        "funasr/paraformer-zh-streaming",
    ),
    "a voice activity detector (--vad-model takes its directory)": (
        "fsmn-vad",
        "iic/speech_fsmn_vad_zh-cn-16k-common-pytorch",
        "funasr/fsmn-vad",
    ),
    "a punctuation model": (
        "ct-punc",
        "ct-punc-c",
        "iic/punc_ct-transformer_cn-en-common-vocab471067-large",
        "iic/punc_ct-transformer_zh-cn-common-vocab272727-pytorch",
        "funasr/ct-punc",
    ),
    "a model of timestamps": ("fa-zh", "iic/speech_timestamp_prediction-v1-16k-offline", "funasr/fa-zh"),
    "a speaker model": ("cam++", "iic/speech_campplus_sv_zh-cn_16k-common", "funasr/campplus"),
    "a model of emotions": tuple(
        f"{owner}emotion2vec_plus_{size}"
        for owner in ("", "iic/", "emotion2vec/")
        for size in ("large", "base", "seed")
    ),
    "Whisper": (
        *(f"whisper-{size}" for size in _WHISPER.split()),
        "iic/speech_whisper-large_asr_multilingual",
        "iic/whisper-large-v3",
        "iic/whisper-large-v3-turbo",
    ),
    "a large language model": (
        "fun-asr-nano",
        "funaudiollm/fun-asr-nano-2512",
        "funaudiollm/fun-asr-mlt-nano-2512",
        "qwen-audio",
        "qwen/qwen-audio",
    ),
}
"""Description of an unsupported model → its aliases, and its ids on ModelScope and Hugging Face, in lower case."""


def check_supported(name: str) -> None:
    """Refuse an alias or hub id of a model that is known to be of another class. Raises ModelError."""
    lower = name.lower()
    # ModelScope's older name of the same owner, which many examples still have.
    same = f"iic/{lower.removeprefix('damo/')}" if lower.startswith("damo/") else lower
    for kind, names in _UNSUPPORTED.items():
        if same in names:
            raise ModelError(
                f"The model must be of a class among {', '.join(SUPPORTED_ARCHITECTURES)}, but {name!r} is {kind}. "
                f"Nothing was downloaded. Use an alias of FunASR that works ({', '.join(SUPPORTED_ALIASES)}), a hub id "
                "such as iic/SenseVoiceSmall, or a directory."
            )
