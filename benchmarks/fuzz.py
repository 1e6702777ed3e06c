"""Every decoder with damaged files: each must be decoded, or refused with a reason, within bounds of memory and time.

    python benchmarks/fuzz.py --seconds 300
    python benchmarks/fuzz.py --seconds 60 --seed 7 --only m4a,webm --keep found

Sound files of each container and codec are damaged (bits flipped, bytes of headers replaced, cut off, parts repeated,
left out, exchanged, or taken from another file) and read in a child as an upload is: first for the length, then to the
end. What isn't an ``AudioError`` or sound, ends the child, takes longer than ``MOST_CPU_S`` or more memory than
``MOST_BYTES`` is a finding, is kept with ``--keep``, and makes the exit status 1. Prints a table, in Markdown. Needs
the extra [media].
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from autotune.arrays import Float32
from autotune.audio import audio_info
from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import SAMPLE_RATE_HZ, open_audio
from autotune.errors import AudioError

MOST_CPU_S = 10.0
"""CPU seconds for one file of at most ``2 * LARGEST`` bytes, far above what the slowest needs that is sound."""
MOST_BYTES = 256 << 20
"""Resident memory that one file may add."""
HANGS_S = 60.0
"""Wall seconds, on a busy machine, after which the child is taken to hang."""
SPEECH_S = 4.0
HEAD = 512
"""Bytes at the start of which half of the damage is done: headers decide what a decoder allocates."""
SNDFILE = {
    "wav": ("WAV", "PCM_16", 16_000),
    "wav-float": ("WAV", "FLOAT", 16_000),
    "wav-alaw": ("WAV", "ALAW", 8_000),
    "wav-adpcm": ("WAV", "IMA_ADPCM", 16_000),
    "w64": ("W64", "PCM_24", 16_000),
    "aiff": ("AIFF", "PCM_16", 16_000),
    "au": ("AU", "ULAW", 8_000),
    "caf": ("CAF", "ALAC_16", 16_000),
    "flac": ("FLAC", "PCM_16", 16_000),
    "ogg": ("OGG", "VORBIS", 16_000),
    "opus": ("OGG", "OPUS", 48_000),
    "mp3": ("MP3", "MPEG_LAYER_III", 16_000),
}
"""What libsndfile writes: format, subtype, sample rate."""
MEDIA = {
    "m4a": ("ipod", "aac", 44_100),
    "mp4": ("mp4", "aac", 44_100),
    "mov": ("mov", "pcm_s16le", 16_000),
    "webm": ("webm", "libopus", 48_000),
    "mkv": ("matroska", "aac", 44_100),
    "wma": ("asf", "wmav2", 44_100),
    "aac": ("adts", "aac", 44_100),
    "ts": ("mpegts", "aac", 44_100),
    "flv": ("flv", "aac", 44_100),
    "avi": ("avi", "mp3", 44_100),
}
"""What FFmpeg writes: container, codec, sample rate."""
AMR_FRAME_BYTES = 31


def written(samples: Float32, container: str, codec: str, rate: int) -> bytes:
    """float32 [samples], 16 kHz, as FFmpeg writes it."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, "mono", rate, frame_size=context.frame_size or 1024)
        for plain in (*resampler.resample(frame), *resampler.resample(None), None):
            for packet in stream.encode(plain):
                out.mux(packet)
    return file.getvalue()


def sound_files() -> dict[str, bytes]:
    """A sound file of each kind, of the same speech."""
    speech = np.concatenate([clip.waveform for clip in embedded_clips()])[: round(SPEECH_S * SAMPLE_RATE_HZ)]
    files = {}
    for name, (form, subtype, rate) in SNDFILE.items():
        content = io.BytesIO()
        soundfile.write(content, soxr.resample(speech, SAMPLE_RATE_HZ, rate), rate, format=form, subtype=subtype)
        files[name] = content.getvalue()
    for name, (container, codec, rate) in MEDIA.items():
        files[name] = written(speech, container, codec, rate)
    rng = random.Random(0)
    # 12.2 kbit/s, of random parameters: no encoder of AMR is at hand.
    files["amr"] = b"#!AMR\n" + b"".join(b"\x3c" + rng.randbytes(AMR_FRAME_BYTES) for _ in range(200))
    return files


Damage = Callable[[bytearray, random.Random, bytes], bytearray]


def place(data: bytearray, rng: random.Random) -> int:
    """An offset, half of the time in the headers."""
    return rng.randrange(min(len(data), HEAD) if rng.random() < 0.5 else len(data))


def flip_bits(data: bytearray, rng: random.Random, _other: bytes) -> bytearray:
    for _ in range(rng.choice((1, 2, 8, 64))):
        data[place(data, rng)] ^= 1 << rng.randrange(8)
    return data


def replace_number(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    at, width = place(data, rng), rng.choice((1, 2, 4, 8))
    extreme = (0, 1, (1 << 8 * width) - 1, (1 << 8 * width - 1) - 1, 1 << 8 * width - 1)
    value = rng.choice((*extreme, rng.getrandbits(8 * width)))
    data[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))
    return data


def cut_off(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    return data[: place(data, rng) + 1]


def leave_out(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    at = place(data, rng)
    del data[at : at + rng.choice((1, 4, 100, 4_000))]
    return data or bytearray(b"\0")


def repeat(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    at, length = place(data, rng), rng.choice((1, 4, 100, 4_000))
    part = data[at : at + length]
    return data[:at] + part * rng.choice((2, 10)) + data[at:]


def exchange(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    first, second = place(data, rng), place(data, rng)
    length = rng.choice((4, 100, 1_000))
    data[first : first + length], data[second : second + length] = (
        data[second : second + length],
        data[first : first + length],
    )
    return data


def splice(data: bytearray, rng: random.Random, other: bytes) -> bytearray:
    return data[: place(data, rng)] + other[rng.randrange(len(other)) :]


def join(data: bytearray, rng: random.Random, other: bytes) -> bytearray:
    return data + other if rng.random() < 0.5 else bytearray(other) + data


DAMAGES: tuple[Damage, ...] = (flip_bits, replace_number, cut_off, leave_out, repeat, exchange, splice, join)


def damaged(files: dict[str, bytes], name: str, rng: random.Random) -> bytes:
    """A sound file of that kind, damaged once to three times."""
    data = bytearray(files[name])
    for damage in rng.choices(DAMAGES, k=rng.choice((1, 1, 2, 3))):
        other = files[rng.choice((name, rng.choice(list(files))))]
        data = damage(data, rng, other)[: 2 * LARGEST]
    return bytes(data)


LARGEST = 400_000
"""Bytes that no undamaged file has."""


def child() -> None:
    """Read each file that is named on stdin, and say on stdout how it went."""
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak of this file alone
        before, began = resident("VmRSS"), time.process_time()
        verdicts = [verdict(audio_info, path), verdict(read_to_end, path)]
        answer = {
            "verdicts": verdicts,
            "cpu_s": time.process_time() - began,
            "bytes": max(0, resident("VmHWM") - before),
        }
        print(json.dumps(answer), flush=True)


def verdict(read: Callable[[Path], object], path: Path) -> str:
    """``sound``, ``refused``, or what nobody expects."""
    try:
        read(path)
    except AudioError:
        return "refused"
    except Exception as error:  # noqa: BLE001 - a finding
        return f"{type(error).__name__}: {error}"
    return "sound"


def read_to_end(path: Path) -> None:
    with open_audio(path) as audio:
        for _ in audio.blocks:
            pass


def resident(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{name}:")[2].split()[0]) << 10


class Child:
    """The process that decodes, started again when it has ended."""

    def __init__(self) -> None:
        self._process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, "--child"]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def read(self, path: Path) -> dict[str, Any]:
        """What the child says of a file, or ``ended`` with why it says nothing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], HANGS_S)
        line = self._process.stdout.readline() if ready else ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        why = "hangs" if not ready else f"ends with {self._process.wait()}"
        self.close()
        self._process = self._started()
        return {"ended": why}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass
class Row:
    """What came of the damaged files of one kind."""

    verdicts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    cpu_s: float = 0.0
    bytes: int = 0

    def add(self, answer: dict[str, Any]) -> str | None:
        """Count an answer; returns what is wrong with it."""
        wrong = answer.get("ended")
        if wrong is None:
            self.cpu_s, self.bytes = max(self.cpu_s, answer["cpu_s"]), max(self.bytes, answer["bytes"])
            other = [said for said in answer["verdicts"] if said not in ("sound", "refused")]
            if other:
                wrong = other[0]
            elif answer["cpu_s"] > MOST_CPU_S:
                wrong = f"takes {answer['cpu_s']:.1f} CPU seconds"
            elif answer["bytes"] > MOST_BYTES:
                wrong = f"takes {answer['bytes'] >> 20} MiB"
        self.verdicts["finding" if wrong else answer["verdicts"][1]] += 1
        if wrong:
            self.findings.append(wrong)
        return wrong


@contextlib.contextmanager
def decoding() -> Iterator[Child]:
    decoder = Child()
    try:
        yield decoder
    finally:
        decoder.close()


def fuzz(options: argparse.Namespace) -> dict[str, Row]:
    files, rng = sound_files(), random.Random(options.seed)
    assert max(map(len, files.values())) < LARGEST
    names = options.only.split(",") if options.only else list(files)
    rows = {name: Row() for name in names}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, decoding() as decoder:
        for name, content in files.items():
            (sound := Path(folder) / name).write_bytes(content)
            answer = decoder.read(sound)
            if answer.get("verdicts") != ["sound", "sound"]:
                raise SystemExit(f"{name} must be sound before it is damaged, but: {answer}")
        for number in range(sys.maxsize):
            if time.monotonic() - began > options.seconds:
                break
            name = names[number % len(names)]
            (path := Path(folder) / f"damaged-{name}").write_bytes(damaged(files, name, rng))
            wrong = rows[name].add(decoder.read(path))
            if wrong:
                print(f"{name}, file {number}: {wrong}", file=sys.stderr, flush=True)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{options.seed}-{number}.{name}").write_bytes(path.read_bytes())
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="Kinds, with commas.")
    parser.add_argument("--keep", type=Path, help="Directory for the files that are findings.")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child()
        return
    rows = fuzz(options)
    print("| kind | files | decoded | refused | findings | most memory | most CPU |\n|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        counts = row.verdicts
        print(
            f"| {name} | {counts.total()} | {counts['sound']} | {counts['refused']} | {len(row.findings)} | "
            f"{row.bytes / 2**20:.0f} MiB | {row.cpu_s:.2f} s |"
        )
    sys.exit(any(row.findings for row in rows.values()))


if __name__ == "__main__":
    main()
