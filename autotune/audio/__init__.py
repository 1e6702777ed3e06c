"""What is transcribed: reading audio files, audio profiles, and the workloads drawn from them."""

from autotune.audio.finding import FoundAudio, find_audio
from autotune.audio.profile import AudioProfile, Slo, builtin_profiles, load_profile
from autotune.audio.reading import AudioInfo, AudioScan, audio_info, read_audio, scan_audio
from autotune.audio.workload import Recording, Shard, Turn, Workload, build_workload, workload_from_audio

__all__ = [
    "AudioInfo",
    "AudioProfile",
    "AudioScan",
    "FoundAudio",
    "Recording",
    "Shard",
    "Slo",
    "Turn",
    "Workload",
    "audio_info",
    "build_workload",
    "builtin_profiles",
    "find_audio",
    "load_profile",
    "read_audio",
    "scan_audio",
    "workload_from_audio",
]
