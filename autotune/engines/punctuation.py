"""The session that classifies words for punctuation: ONNX Runtime on the CPU. Never imports torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from autotune.engines.onnxruntime_session import import_onnxruntime, runtime_errors
from autotune.engines.tensors import check_undamaged
from autotune.errors import ModelError, TrialMismatch
from autotune.isolation.out_of_memory import allocation_failures_as_memory_error
from autotune.model_directory import PunctuationVocabulary

__all__ = ["GRAPH_FILE", "PunctuationSession", "read_vocabulary", "write_vocabulary"]

GRAPH_FILE = "model.onnx"
_VOCABULARY_FILE = "vocabulary.json"


def write_vocabulary(folder: Path, vocabulary: PunctuationVocabulary) -> None:
    """Keep a vocabulary beside an exported graph. Raises OSError."""
    text = json.dumps(asdict(vocabulary), ensure_ascii=False)
    (folder / _VOCABULARY_FILE).write_text(text, encoding="utf-8")


def read_vocabulary(folder: Path) -> PunctuationVocabulary:
    """The vocabulary that ``write_vocabulary`` kept. Raises ModelError."""
    try:
        fields = json.loads((folder / _VOCABULARY_FILE).read_text(encoding="utf-8"))
        return PunctuationVocabulary(**{**fields, "marks": tuple(fields["marks"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{folder} must hold an exported punctuation model, but: {error}. Remove it.") from error


class PunctuationSession:
    """One session with threads of its own; for one thread. Owns them until ``close``."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Load the graph of an exported punctuation model.

        Raises:
            EngineUnavailableError: ONNX Runtime is missing.
            ModelError: the file isn't loadable, or was damaged.
            TrialMismatch: it runs with another number of threads.
        """
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Texts come now and then: threads that spin in between would take cores from the engines.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = folder / GRAPH_FILE
        check_undamaged(path)
        try:
            with allocation_failures_as_memory_error():
                self._session: Any = ort.InferenceSession(
                    str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
                )
        except MemoryError:
            raise
        except Exception as error:
            raise ModelError(f"{path} must be a model that ONNX Runtime loads, but: {error}") from error
        got = self._session.get_session_options().intra_op_num_threads
        if got != threads:
            raise TrialMismatch(f"punctuation must run with {threads} threads, but ONNX Runtime has {got}.")

    def classify(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """The class of each token of each row, ids in, at least one row and none empty.

        Raises RuntimeError with ONNX Runtime's message, MemoryError when an allocation failed.
        """
        lengths = np.array([len(row) for row in rows], np.int32)
        inputs = np.zeros((len(rows), int(lengths.max())), np.int32)
        for index, row in enumerate(rows):
            inputs[index, : len(row)] = row
        with allocation_failures_as_memory_error(), runtime_errors():
            logits = self._session.run(None, {"inputs": inputs, "text_lengths": lengths})[0]
        classes = logits.argmax(axis=-1)
        return [found[:length].tolist() for found, length in zip(classes, lengths, strict=True)]

    def close(self) -> None:
        """Free the session; idempotent."""
        self._session = None
