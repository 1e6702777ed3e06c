"""What is transcribed: reading audio files, audio profiles, and the workloads drawn from them."""

from autotune.audio.profile import AudioProfile, builtin_profiles, load_profile
from autotune.audio.reading import audio_info, read_audio
from autotune.audio.recording import Recording, Shard, Turn, Workload
from autotune.audio.workload import build_workload, with_hearing, workload_from_audio

__all__ = [
    "AudioProfile",
    "Recording",
    "Shard",
    "Turn",
    "Workload",
    "audio_info",
    "build_workload",
    "builtin_profiles",
    "load_profile",
    "read_audio",
    "with_hearing",
    "workload_from_audio",
]
