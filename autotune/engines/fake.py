"""A deterministic engine without a runtime: simulated speed and every fault a trial must survive."""

from __future__ import annotations

import os
import signal
import time
from typing import ClassVar

import numpy as np

from autotune.arrays import Float32, Int32
from autotune.engines.base import Consumed, EngineFacts, EngineInput, EngineOutput, EngineRequest
from autotune.engines.tensors import UPSAMPLED, model_inputs, wants_alphas
from autotune.errors import EngineUnavailableError, TrialMismatch

__all__ = ["FakeEngine"]

_TOKENS_PER_S = 4.4
_PROMPT_POSITIONS = 4
_FIRST_ID, _VOCABULARY = 3, 24
"""Ids below 3 are blank, start and end in both architectures; every tokenizer has 24 entries."""


class FakeEngine:
    """Ids from a hash of the features; see ``Engine`` for ownership and thread-safety.

    SenseVoice gives frames + 4 positions, three of four blank; Paraformer 4.4 tokens a second. Each row's ids depend
    on that row's valid frames alone. ``speed`` is simulated by sleeping: padded seconds / speed. ``fault`` fires in
    every ``run`` but the first, which belongs to loading (``load_engine``); those that end in ``_load``, in ``load``.
    """

    name: ClassVar[str] = "fake"
    consumes: ClassVar[Consumed] = "features"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]] = {
        "speed": ("instant", "1000x", "100x", "10x"),
        "fault": (
            "none",
            "crash_load",
            "hang_load",
            "segfault",
            "oom",
            "hang",
            "garbage_stdout",
            "exit_1",
            "mismatch",
            "raise",
            "memory_error",
            "sigkill",
        ),
    }
    NEUTRAL_OPTIONS: ClassVar[dict[str, str | bool]] = {}
    PROVIDER_OPTIONS: ClassVar[dict[str, dict[str, tuple[str, ...]]]] = {}
    TAKES_HOT_WORDS: ClassVar[bool] = False
    PINS_ITSELF: ClassVar[bool] = False

    def __init__(self, request: EngineRequest) -> None:
        self._request = request
        self._open = True
        self._called = False

    @classmethod
    def load(cls, request: EngineRequest) -> FakeEngine:
        """Nothing to load; see ``Engine.load`` for what it raises."""
        deployment = request.deployment
        if deployment.device != "cpu":
            raise EngineUnavailableError(
                f"The fake engine must run on cpu, but got device {deployment.device}. Choose device cpu, or install "
                "an engine with CUDA support."
            )
        if deployment.session_options["fault"] == "crash_load":
            os.abort()
        if deployment.session_options["fault"] == "hang_load":
            _fire("hang")
        return cls(request)

    def twin(self) -> FakeEngine:
        """Another instance; it shares nothing with this one."""
        twin = self.load(self._request)
        twin._called = True
        return twin

    def run(self, batch: EngineInput, *, scores: bool = False) -> EngineOutput:
        """Execute one batch, or commit the fault that the deployment's option ``fault`` names.

        Raises:
            RuntimeError: the engine is closed. What the fault raises is passed on.
        """
        if not self._open:
            raise RuntimeError("The engine must be open to run, but it was closed.")
        speech, lengths = model_inputs(self._request, batch)[:2]
        if self._called:
            _fire(str(self._request.deployment.session_options["fault"]))
        self._called = True
        speed = str(self._request.deployment.session_options["speed"])
        frame_s = self._request.model.frontend.frame_s
        if speed != "instant":
            time.sleep(speech.shape[0] * speech.shape[1] * frame_s / float(speed.removesuffix("x")))
        if self._request.model.architecture == "SenseVoiceSmall":
            ids, valid = _frame_ids(speech), lengths + np.int32(_PROMPT_POSITIONS)
        else:
            ids, valid = _token_ids(speech, lengths, frame_s)
        alphas = _even_alphas(lengths, valid) if wants_alphas(self._request, batch) else ()
        return EngineOutput(ids=ids, lengths=valid, scores=_one_hot(ids) if scores else None, alphas=alphas)

    def facts(self) -> EngineFacts:
        """The deployment's own numbers: there is no runtime to contradict them."""
        deployment = self._request.deployment
        return EngineFacts(
            runtime="fake",
            device="cpu",
            intra_op_num_threads=deployment.intra_op_num_threads,
            inter_op_num_threads=deployment.inter_op_num_threads,
            details=dict(deployment.session_options),
        )

    def close(self) -> None:
        """Refuse to run from now on."""
        self._open = False


def _hashes(speech: Float32) -> Int32:
    # Of the bits, in integers: exact, so that a row's hash is the same in every batch.
    sums = speech.view(np.uint32).sum(axis=-1, dtype=np.uint64)
    mixed = sums * np.uint64(0x9E3779B97F4A7C15)
    hashes: Int32 = (mixed >> np.uint64(40)).astype(np.int32)
    return hashes


def _frame_ids(speech: Float32) -> Int32:
    hashes = _hashes(speech)
    tokens = _FIRST_ID + hashes // 4 % (_VOCABULARY - _FIRST_ID)
    ids = np.where(hashes % 4 == 0, tokens, 0).astype(np.int32)
    tags = np.tile(np.arange(_FIRST_ID, _FIRST_ID + _PROMPT_POSITIONS, dtype=np.int32), (len(ids), 1))
    return np.concatenate([tags, ids], axis=1)


def _token_ids(speech: Float32, lengths: Int32, frame_s: float) -> tuple[Int32, Int32]:
    counts = np.maximum(np.rint(lengths * frame_s * _TOKENS_PER_S), 1).astype(np.int32)
    positions = np.arange(int(counts.max()))
    frames = np.minimum(positions * lengths[:, None] // counts[:, None], lengths[:, None] - 1)
    hashes = np.take_along_axis(_hashes(speech), frames, axis=1)
    return (_FIRST_ID + hashes % (_VOCABULARY - _FIRST_ID)).astype(np.int32), counts


def _even_alphas(frames: Int32, tokens: Int32) -> tuple[Float32, ...]:
    steps = frames * UPSAMPLED
    return tuple(np.full(step, token / step, np.float32) for step, token in zip(steps, tokens, strict=True))


def _one_hot(ids: Int32) -> Float32:
    return np.eye(_VOCABULARY, dtype=np.float32)[ids]


def _fire(fault: str) -> None:
    match fault:
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit_1":
            os._exit(1)
        case "hang":
            while True:
                time.sleep(3600)
        case "oom":
            _exhaust_memory()
        case "memory_error":
            raise MemoryError("fake engine: out of memory")
        case "mismatch":
            raise TrialMismatch("fake engine: it must run on what the deployment says, but does not.")
        case "raise":
            raise RuntimeError("fake engine: failed as asked")
        case "garbage_stdout":
            noise = bytes(range(256)) * 64 + b'\n{"not": "ours"\n'
            os.write(1, noise)
            os.write(2, noise)


def _exhaust_memory() -> None:
    import resource

    # Without a limit of the process itself, filling memory would take its neighbours along.
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        np.empty(2**60, dtype=np.uint8)
    held = []
    while True:
        held.append(np.ones(2**26, dtype=np.uint8))
