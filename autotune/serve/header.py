"""What a client of FunASR's WebSocket protocol declares about a recording."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from autotune.deployment import Language, TextNorm
from autotune.hot_words import parse_hot_words
from autotune.recognizer.asked import Asked
from autotune.serve.service import Service

__all__ = ["Header"]

MODES = ("offline", "online", "2pass")
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8000, 48000


@dataclass(frozen=True)
class Header:
    """What a client declares about a recording."""

    mode: str = "2pass"
    wav_name: str = "demo"
    wav_format: str = "pcm"
    audio_fs: int = 16000
    svs_lang: Language | None = None
    """SenseVoice's language for this recording; None: the deployment's."""
    svs_itn: bool | None = None
    """Whether SenseVoice writes numbers as digits and punctuates; None: as the deployment was measured."""
    hotwords: object = ""
    """Words between blanks, or a JSON object of them with weights, as FunASR's clients send it."""

    def updated(self, message: Mapping[str, Any]) -> Header:
        """This header with the values that a message changes; a client may send some of them at any time.

        Raises:
            ValueError: a value is not allowed; the text names it.
        """
        header = self
        if "mode" in message:
            if message["mode"] not in MODES:
                raise ValueError(f"mode must be one of {', '.join(MODES)}, but got {message['mode']!r}")
            header = replace(header, mode=message["mode"])
        header = replace(
            header,
            wav_name=f"{message.get('wav_name', header.wav_name)}"[:200],
            wav_format=f"{message.get('wav_format', header.wav_format)}"[:200],
        )
        if "audio_fs" in message:
            rate = message["audio_fs"]
            # Some clients send numbers as text, which FunASR's server takes.
            rate = int(rate) if isinstance(rate, str) and re.fullmatch(r"\d{1,6}", rate) else rate
            if isinstance(rate, bool) or not isinstance(rate, int) or not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ:
                raise ValueError(f"audio_fs must be in {LOWEST_RATE_HZ}..{HIGHEST_RATE_HZ} Hz, but got {rate!r}")
            header = replace(header, audio_fs=rate)
        if "svs_lang" in message:
            if message["svs_lang"] not in get_args(Language):
                raise ValueError(
                    f"svs_lang must be one of {', '.join(get_args(Language))}, but got {message['svs_lang']!r:.40}"
                )
            header = replace(header, svs_lang=message["svs_lang"])
        # Looked at only by a server that takes them: clients send them to every server.
        header = replace(header, hotwords=message.get("hotwords", header.hotwords))
        if "svs_itn" in message:
            if not isinstance(message["svs_itn"], bool):
                raise ValueError(f"svs_itn must be true or false, but got {message['svs_itn']!r:.40}")
            header = replace(header, svs_itn=message["svs_itn"])
        return header

    def asked(self, service: Service) -> Asked:
        """What the recording asks for, as far as the model can give it: FunASR's clients send SenseVoice's settings to
        every server, and take times where they come. Raises DocumentError for hot words that are none."""
        hot_words = parse_hot_words(self.hotwords) if service.takes_hot_words else ()
        if not service.chooses_language:
            return Asked(service.times_words, hot_words=hot_words)
        text_norm: TextNorm | None = None if self.svs_itn is None else "withitn" if self.svs_itn else "woitn"
        return Asked(service.times_words, self.svs_lang, text_norm)

    @property
    def raw(self) -> bool:
        """Whether binary messages hold bare samples rather than parts of a file."""
        return self.wav_format.lower() == "pcm"
