"""Reading ahead is bounded, streams are heard as files are, and a bad file takes nothing along."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from autotune.arrays import Float32
from autotune.deployment import Batch, Chunking
from autotune.engines import Engine
from autotune.errors import AudioError
from autotune.recognizer import Recognizer
from autotune.recognizer.batching import OFFLINE
from autotune.recognizer.chunking import Chunkers, Piece
from autotune.recognizer.decoding import Decoded
from autotune.recognizer.dispatcher import Dispatcher, SegmentJob
from autotune.recognizer.intake import Intake, IntakePath, queue_limit_s
from autotune.recognizer.request import Request
from autotune.recognizer.stats import Stats
from tests.fake_engine import fake_deployment
from tests.recognizer.conftest import VAD

MakeRecognizer = Callable[..., Recognizer]

MEMORY = """
import json, sys
from pathlib import Path
from autotune.deployment import Deployment
from autotune.model_directory import ModelDirectory
from autotune.recognizer import Recognizer

def peak_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

deployment, model, *files = json.load(sys.stdin)
peaks, segments = [], []
with Recognizer.load(Deployment.model_validate(deployment), ModelDirectory.open(Path(model))) as recognizer:
    for file in files:
        (transcript,) = recognizer.transcribe([file])
        peaks.append(peak_bytes())
        segments.append([len(transcript.segments), transcript.audio_s, transcript.segments[-1].end_s])
print("RESULT" + json.dumps([peaks, segments]))
"""


class HeldEngine:
    """Stands for an engine where only the dispatcher is looked at."""


class Gate:
    """Runs batches when it is let; remembers what waited meanwhile."""

    def __init__(self, *, open_: bool) -> None:
        self.ran: list[float] = []
        self.go = threading.Event()
        if open_:
            self.go.set()

    def __call__(self, engine: Engine, jobs: Sequence[SegmentJob]) -> list[Decoded]:
        assert self.go.wait(30)
        self.ran += [job.audio_s for job in jobs]
        return [Decoded("好") for _ in jobs]


def dispatcher(gate: Gate, policy: Batch) -> Dispatcher:
    return Dispatcher([HeldEngine()], policy, gate, stats=Stats())  # type: ignore[list-item]


def path_to(ours: Dispatcher, chunking: Chunking) -> IntakePath:
    return IntakePath(
        chunkers=Chunkers(chunking),
        content=lambda waveform: waveform,
        dispatcher=ours,
        stats=Stats(),
        turns=threading.Semaphore(1),
    )


def job(request: Request, piece: Piece) -> SegmentJob:
    return request.add(piece, piece.samples)


def second(start: int) -> Piece:
    return Piece(start * 16000, np.zeros(16000, np.float32))


def test_queue_limits_leave_room_for_whole_batches() -> None:
    def limit(instances: int, batch_s: float) -> float:
        batch = Batch(max_size=8, max_audio_s=batch_s, max_wait_s=0)
        return queue_limit_s(fake_deployment(instances=instances, batch=batch.model_dump()))

    assert limit(1, 60) == 240
    assert limit(4, 60) == 600
    assert limit(1, 480) == 960
    assert limit(2, 1920) == 3840


def test_reading_waits_while_the_queue_is_full() -> None:
    gate = Gate(open_=False)
    ours = dispatcher(gate, Batch(max_size=1, max_audio_s=1, max_wait_s=0))
    intake = Intake(path_to(ours, Chunking(method="fixed", window_s=1)), 10.0)
    done = threading.Event()

    def read() -> None:
        own = intake.reader()
        own.take(np.zeros(60 * 16000, np.float32), intake.begin(OFFLINE))
        own.flush()
        done.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    # It stops by itself: a first lot of 3 s running or waiting, another of 5 s waiting, and one in hand.
    assert not done.wait(0.3)
    assert ours.queue().audio_s <= 10.0
    gate.go.set()
    assert done.wait(30)
    reader.join()
    while len(gate.ran) < 60:
        time.sleep(0.01)
    ours.close()


def test_a_segment_longer_than_the_queue_still_goes_through() -> None:
    gate = Gate(open_=True)
    ours = dispatcher(gate, Batch(max_size=1, max_audio_s=1, max_wait_s=0))
    intake = Intake(path_to(ours, Chunking(method="none")), 10.0)
    requests = [intake.begin(OFFLINE) for _ in range(3)]
    reader = intake.reader()
    for request in requests:
        reader.take(np.zeros(30 * 16000, np.float32), request)
    reader.flush()
    assert [request.future.result(timeout=30).audio_s for request in requests] == [30.0] * 3
    ours.close()


def test_closing_frees_whoever_waits_for_room() -> None:
    gate = Gate(open_=False)
    ours = dispatcher(gate, Batch(max_size=1, max_audio_s=1, max_wait_s=0))
    request = Request(OFFLINE)
    ours.put([job(request, second(index)) for index in range(3)])
    caught: list[BaseException] = []

    def put() -> None:
        try:
            ours.put([job(request, second(3))], limit_s=1.0)
        except RuntimeError as error:
            caught.append(error)

    waiting = threading.Thread(target=put, daemon=True)
    waiting.start()
    closing = threading.Thread(target=ours.close, daemon=True)
    closing.start()
    waiting.join(30)
    gate.go.set()
    closing.join(30)
    assert "closed" in str(caught[0])


def test_a_bad_file_takes_nothing_along(fake_recognizer: MakeRecognizer, speech: Float32, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", np.concatenate([speech] * 4), 16000)
    soundfile.write(tmp_path / "bad.flac", np.concatenate([speech] * 2), 16000)
    content = (tmp_path / "bad.flac").read_bytes()
    (tmp_path / "bad.flac").write_bytes(content[: len(content) // 2] + b"\0" * (len(content) // 2))
    batch = Batch(max_size=2, max_audio_s=8, max_wait_s=0).model_dump()
    with fake_recognizer(chunking={"method": "fixed", "window_s": 4}, batch=batch) as ours:
        with pytest.raises(AudioError, match=r"bad\.flac"):
            ours.transcribe([tmp_path / "good.wav", tmp_path / "bad.flac"])
        expected = ours.transcribe([speech])
        assert expected[0].segments
        assert ours.submit(speech).result(timeout=30) == expected[0]


def test_an_engine_that_fails_ends_the_reading(fake_recognizer: MakeRecognizer, tmp_path: Path) -> None:
    batch = Batch(max_size=1, max_audio_s=1, max_wait_s=0).model_dump()
    options = {"speed": "instant", "fault": "raise"}
    with (
        fake_recognizer(chunking={"method": "fixed", "window_s": 1}, batch=batch, session_options=options) as ours,
        pytest.raises(RuntimeError, match="failed as asked"),
    ):
        ours.transcribe([np.zeros(600 * 16000, np.float32)])


@pytest.mark.parametrize(
    "chunking", [VAD, Chunking(method="fixed", window_s=3, overlap_s=0.5), Chunking(method="none")]
)
@pytest.mark.parametrize("block", [160, 5_000, 10**9])
def test_a_stream_does_not_depend_on_its_blocks(
    fake_recognizer: MakeRecognizer, speech: Float32, chunking: Chunking, block: int
) -> None:
    with fake_recognizer(chunking=chunking.model_dump()) as ours:
        results = []
        for size in (block, 3_333):
            stream = ours.stream()
            buffer = np.empty(min(size, len(speech)), np.float32)
            for start in range(0, len(speech), size):
                part = speech[start : start + size]
                buffer[: len(part)] = part  # a caller may use one buffer for all
                stream.feed(buffer[: len(part)])
            assert stream.finish() is stream.finish()
            results.append(stream.finish().result(timeout=30))
            with pytest.raises(RuntimeError, match="finish"):
                stream.feed(speech[:10])
        assert results[0] == results[1]
        assert results[0].audio_s == pytest.approx(len(speech) / 16000)
        if chunking.method == "vad":
            (file,) = ours.transcribe([speech])
            assert [(one.start_s, one.end_s) for one in results[0].segments] == [
                (one.start_s, one.end_s) for one in file.segments
            ]


def test_a_stream_without_audio_is_an_empty_transcript(fake_recognizer: MakeRecognizer) -> None:
    with fake_recognizer(chunking=VAD.model_dump()) as ours:
        result = ours.stream().finish().result(timeout=30)
        assert (result.text, result.segments, result.audio_s) == ("", (), 0.0)
        with pytest.raises(AudioError, match="float32"):
            ours.stream().feed([0.0])  # type: ignore[arg-type]


def test_segments_of_a_stream_run_while_it_goes_on(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    with fake_recognizer(chunking=VAD.model_copy(update={"merge_s": 0.0}).model_dump()) as ours:
        stream = ours.stream()
        stream.feed(speech[: 30 * 16000])
        deadline = time.monotonic() + 30
        while not ours.stats().batches and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ours.stats().batches > 0
        assert stream.finish().result(timeout=30).audio_s == 30.0


def long_file(path: Path, samples: Float32, seconds: int) -> Path:
    """Tile ``samples``, block by block, µ-law."""
    with soundfile.SoundFile(path, "w", 16000, 1, subtype="ULAW", format="WAV") as file:
        left = seconds * 16000
        while left > 0:
            file.write(samples[: min(left, len(samples))])
            left -= len(samples)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("chunking", [Chunking(method="fixed", window_s=15, overlap_s=1), VAD], ids=["fixed", "vad"])
def test_an_hour_needs_no_more_memory_than_five_minutes(
    paraformer_path: Path, speech: Float32, tmp_path: Path, chunking: Chunking
) -> None:
    files = [long_file(tmp_path / f"{seconds}.wav", speech, seconds) for seconds in (300, 3600)]
    deployment = fake_deployment(chunking=chunking.model_dump()).model_dump(mode="json")
    request = json.dumps([deployment, str(paraformer_path), *map(str, files)])
    done = subprocess.run([sys.executable, "-c", MEMORY], input=request, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peaks, segments = json.loads(done.stdout.rpartition("RESULT")[2])
    assert peaks[1] - peaks[0] <= 50 * 2**20
    assert [audio_s for _, audio_s, _ in segments] == [300, 3600]
    assert segments[1][0] > 10 * segments[0][0]
    assert segments[1][2] > 3590
