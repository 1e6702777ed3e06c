"""Workloads without audio for tests of counting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.audio import Recording, Shard, Turn, Workload


def recording(name: str, turns: Sequence[tuple[str, str]] = (), *, text: str | None = None) -> Recording:
    """Turns are (clip, text), two seconds each."""
    placed = tuple(
        Turn(clip=clip, start_s=2.0 * index, end_s=2.0 * index + 1.5, text=said)
        for index, (clip, said) in enumerate(turns)
    )
    joined = "".join(said for _, said in turns) if turns else text
    return Recording(id=name, path=f"/{name}.wav", audio_s=9.0, arrival_s=0.0, text=joined, turns=placed)


def workload(*recordings: Recording, sha256: str = "0" * 64) -> Workload:
    """All in one shard."""
    return Workload.model_validate(
        {
            "profile": "test",
            "seed": 0,
            "arrival": "closed",
            "shards": [Shard(index=0, recordings=recordings, audio_s=sum(one.audio_s for one in recordings))],
            "warmup": recordings[:1],
            "source": "user",
            "sha256": sha256,
            "speech_share": None,
        }
    )


def heard(texts: Mapping[str, str | Sequence[str]]) -> dict[str, Sequence[str]]:
    """Reference texts: a string is a recording's only one."""
    return {name: (text,) if isinstance(text, str) else text for name, text in texts.items()}
