"""Documents of a workload: recordings, what is said where in them, and the shards that they are measured in."""

from __future__ import annotations

from typing import Literal

from autotune.audio.profile import Arrival, Slo
from autotune.documents import Document

__all__ = ["AudioSource", "Recording", "Shard", "Turn", "Workload"]

AudioSource = Literal["embedded", "user"]
"""Whose audio: synthesised from the embedded clips, or the user's own files."""


class Turn(Document):
    """One embedded clip in a synthesised recording, whole."""

    clip: str
    """Id of the embedded clip: its file's stem."""
    start_s: float
    end_s: float
    """Where in the recording it ends, in seconds; turns are in order and don't overlap."""
    text: str


class Recording(Document):
    """One audio file of a workload."""

    id: str
    path: str
    """Absolute path of the file."""
    audio_s: float
    arrival_s: float
    """Seconds after the shard's start: when it arrives, or begins to be spoken (real time); 0.0 in a closed loop."""
    text: str | None
    """What is said in it, where known: always for synthesised recordings."""
    turns: tuple[Turn, ...] = ()
    """The clips that are said in it, with their places; empty for the user's files."""


class Shard(Document):
    """Recordings that are measured together, in the order of their arrival."""

    index: int
    recordings: tuple[Recording, ...]
    audio_s: float
    """Seconds of audio in all of its recordings."""


class Workload(Document):
    """The recordings on which a study measures every deployment."""

    profile: str
    """Name of the audio profile."""
    seed: int
    arrival: Arrival
    shards: tuple[Shard, ...]
    warmup: tuple[Recording, ...]
    """Recordings that are transcribed before anything is measured."""
    source: AudioSource
    sha256: str
    """Digest of ids, lengths, arrivals, texts and file contents of shards and warm-up; equal on all machines that have
    the same files."""
    speech_share: float | None
    """Share of frames that Silero VAD calls speech, as the profile declares it; None for the user's own audio."""
    slo: Slo | None = None
    """What the audio profile promises; None: nothing."""
    hearing: tuple[Recording, ...] = ()
    """Recordings that are transcribed for their texts alone, all at once; they have no arrival. Empty: nothing is."""
    hearing_sha256: str = ""
    """As ``sha256``, of ``hearing``; empty where that is."""
    hot_words: tuple[str, ...] = ()
    """Words that a SeacoParaformer listens for in every recording; empty: none."""

    @property
    def audio_s(self) -> float:
        """Seconds of audio in all shards."""
        return sum(shard.audio_s for shard in self.shards)

    @property
    def judged(self) -> tuple[Recording, ...]:
        """The recordings by whose texts deployments are judged: the hearing, or all timed ones where there is none."""
        return self.hearing or tuple(recording for shard in self.shards for recording in shard.recordings)
