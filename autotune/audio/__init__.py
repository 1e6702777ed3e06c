"""What is transcribed: reading audio files, audio profiles, and the workloads drawn from them."""

from autotune.audio.profile import AudioProfile, builtin_profiles, load_profile
from autotune.audio.reading import AudioInfo, AudioScan, audio_info, read_audio, scan_audio
from autotune.audio.workload import Recording, Shard, Workload, build_workload, workload_from_audio

__all__ = [
    "AudioInfo",
    "AudioProfile",
    "AudioScan",
    "Recording",
    "Shard",
    "Workload",
    "audio_info",
    "build_workload",
    "builtin_profiles",
    "load_profile",
    "read_audio",
    "scan_audio",
    "workload_from_audio",
]
