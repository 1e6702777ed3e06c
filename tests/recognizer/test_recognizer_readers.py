"""Several readers give what one gives: the same segments and texts, in order, within the same bound, until given up."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.arrays import Float32
from autotune.deployment import Batch, Chunking, Deployment
from autotune.errors import AudioError
from autotune.recognizer import Recognizer, Transcript
from autotune.recognizer.intake import AudioInput, Intake, Reader
from autotune.recognizer.request import Request
from autotune.recognizer.transcription import Transcription
from tests.fake_engine import fake_deployment
from tests.recognizer.conftest import VAD
from tests.recognizer.test_recognizer_intake import MEMORY, Gate, dispatcher, long_file, path_to

MakeRecognizer = Callable[..., Recognizer]

SMALL = Batch(max_size=2, max_audio_s=8, max_wait_s=0).model_dump()
WINDOWS = Chunking(method="fixed", window_s=3, overlap_s=0.5)


@pytest.mark.parametrize("chunking", [VAD, WINDOWS, Chunking(method="none")])
@settings(max_examples=8, deadline=None)
@given(readers=st.integers(2, 5), cuts=st.lists(st.integers(1, 39), min_size=1, max_size=6, unique=True))
def test_any_number_of_readers_gives_the_same(
    fake_recognizer: MakeRecognizer, speech: Float32, chunking: Chunking, readers: int, cuts: list[int]
) -> None:
    places = [0, *(cut * 16000 for cut in sorted(cuts)), len(speech)]
    recordings = [speech[start:stop] for start, stop in itertools.pairwise(places)]
    results = []
    for count in (1, readers):
        with fake_recognizer(chunking=chunking.model_dump(), batch=SMALL, readers=count, instances=2) as ours:
            results.append(ours.transcribe(recordings))
            assert ours.stats().stages_s["chunk"] > 0
    assert results[0] == results[1]


def test_recordings_are_read_side_by_side() -> None:
    """Features of two recordings are begun before either's are finished."""
    both, gate = threading.Barrier(2), Gate(open_=True)
    ours = dispatcher(gate, Batch(max_size=1, max_audio_s=1, max_wait_s=0))

    def features(waveform: Float32) -> Float32:
        both.wait(30)
        return waveform

    path = dataclasses.replace(path_to(ours, Chunking(method="none")), content=features, turns=threading.Semaphore(2))
    recordings = [np.zeros(16000, np.float32)] * 2
    results = Transcription(Intake(path, 10.0, readers=2), recordings, 2, None).result()
    assert [result.audio_s for result in results] == [1.0, 1.0]
    ours.close()


@pytest.mark.parametrize("as_files", [False, True])
@pytest.mark.parametrize(("readers", "order"), [(1, [1, 4, 2, 5, 3]), (2, [5, 4, 3, 2, 1])])
def test_several_readers_take_the_largest_first_and_keep_the_order_of_results(
    readers: int, order: list[int], as_files: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[float] = []
    take = Reader.take

    def noted(self: Reader, audio: AudioInput, request: Request) -> None:
        taken.append(soundfile.info(audio).duration if isinstance(audio, Path) else len(audio) / 16000)
        if len(taken) <= readers:
            begun.wait(30)
        take(self, audio, request)

    begun = threading.Barrier(readers)
    monkeypatch.setattr(Reader, "take", noted)
    ours = dispatcher(Gate(open_=True), Batch(max_size=1, max_audio_s=1, max_wait_s=0))
    recordings: list[AudioInput] = [np.zeros(16000 * seconds, np.float32) for seconds in (1, 4, 2, 5, 3)]
    if as_files:
        for number, samples in enumerate(recordings):
            soundfile.write(tmp_path / f"{number}.wav", samples, 16000)
        recordings = [tmp_path / f"{number}.wav" for number in range(5)]
    intake = Intake(path_to(ours, Chunking(method="none")), 100.0, readers=readers)
    results = Transcription(intake, recordings, readers, None).result()
    assert [result.audio_s for result in results] == [1, 4, 2, 5, 3]
    assert set(taken[:readers]) == set(order[:readers])
    assert readers > 1 or taken == order
    ours.close()


def test_each_transcript_is_handed_over_once(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    given_out: dict[int, Transcript] = {}
    with fake_recognizer(chunking=VAD.model_dump(), batch=SMALL, readers=3) as ours:
        recordings = [speech[: seconds * 16000] for seconds in (30, 5, 20, 1)]
        work = ours.transcription(recordings, given_out.__setitem__)
        results = work.result()
        assert work.done_s == pytest.approx(56.0)
    assert [given_out[place] for place in range(4)] == results
    assert [result.audio_s for result in results] == [30.0, 5.0, 20.0, 1.0]


@pytest.mark.parametrize("readers", [1, 3])
def test_giving_up_ends_all_of_it(fake_recognizer: MakeRecognizer, readers: int) -> None:
    """An engine of 100 × real time is given up after its first text; what was done is known, and it can go on."""
    slow = {"speed": "100x", "fault": "none"}
    with fake_recognizer(
        chunking={"method": "fixed", "window_s": 1}, batch=SMALL, readers=readers, session_options=slow
    ) as ours:
        minute = np.zeros(60 * 16000, np.float32)
        work = ours.transcription([minute[:16000], *[minute] * 200], lambda _, __: work.abandon())
        with pytest.raises(CancelledError):
            work.result()
        assert 1.0 <= work.done_s < 12_000
        assert ours.transcribe([minute[: 2 * 16000]])[0].audio_s == 2.0


def test_one_bad_file_ends_all_readers(fake_recognizer: MakeRecognizer, speech: Float32, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF nothing")
    with fake_recognizer(chunking=VAD.model_dump(), batch=SMALL, readers=3) as ours:
        with pytest.raises(AudioError, match=r"bad\.wav"):
            ours.transcribe([speech, tmp_path / "bad.wav", *[speech] * 20])
        assert ours.queue().segments == 0
        assert ours.transcribe([speech, speech])[1].segments


def test_a_short_call_is_not_held_up_by_a_long_one(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    with fake_recognizer(chunking=VAD.model_dump(), batch=SMALL, readers=2) as ours:
        archive = ours.transcription([speech] * 400)

        def read() -> None:
            with contextlib.suppress(CancelledError):
                archive.result()

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        assert ours.transcribe([speech[: 5 * 16000]] * 2)[0].audio_s == 5.0
        assert archive.done_s < 400 * len(speech) / 16000
        archive.abandon()
        reading.join(30)
        assert not reading.is_alive()


def test_a_key_without_readers_is_what_it_was() -> None:
    plain = fake_deployment()
    assert json.loads(plain.canonical()).keys() == plain.model_dump().keys() - {"readers", "punctuation"}
    assert Deployment.model_validate(json.loads(plain.canonical())) == plain
    assert fake_deployment(readers=2).key != plain.key
    assert fake_deployment(readers=1).key == plain.key == "d5704c23c666c427"


@pytest.mark.slow
def test_64_recordings_at_once_need_little_memory(paraformer_path: Path, speech: Float32, tmp_path: Path) -> None:
    files = [str(long_file(tmp_path / "long.wav", speech, 120))] * 64  # 469 MiB of samples
    deployment = fake_deployment(chunking=VAD.model_dump())
    peaks = []
    for readers, recordings in ((1, files[:1]), (4, files)):
        request = json.dumps(
            [
                deployment.model_copy(update={"readers": readers}).model_dump(mode="json"),
                str(paraformer_path),
                recordings,
            ]
        )
        program = (
            MEMORY.replace("for file in files:", "for file in [files]:")
            .replace("(transcript,) = recognizer.transcribe([file])", "transcript = recognizer.transcribe(file)[-1]")
            .replace("*files = json", "files = json")
        )
        done = subprocess.run(
            [sys.executable, "-c", program], input=request, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        peaks.append(json.loads(done.stdout.rpartition("RESULT")[2])[0][-1])
    assert peaks[1] - peaks[0] <= 150 * 2**20
