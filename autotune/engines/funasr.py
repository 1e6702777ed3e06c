"""FunASR's AutoModel as a whole path, waveform to text: what every deployment is compared with."""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

from autotune.arrays import Float32
from autotune.engines.base import Consumed, EngineFacts, EngineInput, EngineOutput, EngineRequest
from autotune.engines.torch_session import device_of_module, import_torch, open_device, set_threads, torch_facts
from autotune.errors import EngineUnavailableError, ModelError, TrialMismatch
from autotune.isolation.out_of_memory import allocation_failures_as_memory_error
from autotune.model_directory import ModelDirectory, PunctuationDirectory, read_tokens

__all__ = ["FunasrEngine", "network_settings", "quiet"]

_BUILT_FROM = (
    *("model", "model_conf", "encoder", "encoder_conf", "decoder", "decoder_conf", "predictor", "predictor_conf"),
    *("ctc_conf", "normalize", "normalize_conf", "frontend", "seaco_decoder", "seaco_decoder_conf"),
)


class FunasrEngine:
    """``AutoModel(model, vad_model="silero-vad", ncpu=N)``, with ``punc_model`` where the deployment has punctuation.

    Hot words are those that it is loaded with: ``generate`` takes one list for all that it is given.

    See ``Engine`` for ownership and thread-safety.

    Silero VAD cuts each waveform, FunASR batches its segments by ``batch_size_s`` (which it ignores on a CPU). Nothing
    is downloaded and no code of the model directory is run. torch's thread numbers belong to the process.
    """

    name: ClassVar[str] = "funasr"
    consumes: ClassVar[Consumed] = "waveforms"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]] = {}
    NEUTRAL_OPTIONS: ClassVar[dict[str, str | bool]] = {}
    PROVIDER_OPTIONS: ClassVar[dict[str, dict[str, tuple[str, ...]]]] = {}
    TAKES_HOT_WORDS: ClassVar[bool] = True
    PINS_ITSELF: ClassVar[bool] = False

    def __init__(self, request: EngineRequest, model: Any, facts: EngineFacts) -> None:
        self._request = request
        self._model = model
        self._facts = facts
        self._hot_words = _hot_words_file(request.hot_words) if request.hot_words else None

    @classmethod
    def load(cls, request: EngineRequest) -> FunasrEngine:
        """Build AutoModel and verify threads and device; see ``Engine.load`` for what it raises."""
        deployment = request.deployment
        torch = import_torch(cls.name)
        device = open_device(torch, deployment.device)
        with quiet():
            model = _auto_model(request)
        # Importing silero_vad sets one thread for the whole process; FunASR sets ncpu again in every generate().
        set_threads(torch, deployment)
        device_name = device_of_module(model.model, device)
        facts = torch_facts(torch, device_name)
        details = {**facts.details, "torch": torch.__version__, "vad_device": device_of_module(model.vad_model, device)}
        if model.punc_model is not None:
            details["punctuation_device"] = device_of_module(model.punc_model, device)
        runtime = f"funasr {importlib.metadata.version('funasr')}"
        return cls(
            request,
            model,
            EngineFacts(runtime, device_name, facts.intra_op_num_threads, facts.inter_op_num_threads, details),
        )

    def twin(self) -> FunasrEngine:
        """Another instance with weights of its own: AutoModel is not made to be shared."""
        return self.load(self._request)

    def run(self, batch: EngineInput, *, scores: bool = False) -> EngineOutput:
        """Transcribe the waveforms in one call; silence gives ``""``. There are no scores to return.

        Raises:
            ValueError: the batch holds no waveforms, or scores are asked for.
            MemoryError: an allocation failed.
            TrialMismatch: it ran with another number of threads.
            RuntimeError: FunASR's own.
        """
        if self._model is None:
            raise RuntimeError("The engine must be open to run, but it was closed.")
        if scores:
            raise ValueError("Engine funasr must not be asked for scores: AutoModel gives texts only.")
        if not batch.waveforms:
            raise ValueError("The batch must hold waveforms, but it has none: engine funasr consumes waveforms.")
        with allocation_failures_as_memory_error():
            results = self._transcribe(batch.waveforms)
        self._verify_threads()
        texts = [str(result.get("text", "")) for result in results]
        if self._model.punc_model is None:
            return EngineOutput(texts=tuple(texts))
        raw = tuple(str(result.get("raw_text", "")) for result in results)
        return EngineOutput(texts=raw, punctuated=tuple(texts))

    def _verify_threads(self) -> None:
        import torch

        asked, got = self._request.deployment.intra_op_num_threads, torch.get_num_threads()
        if got != asked:
            raise TrialMismatch(f"FunASR must use ncpu={asked} threads, but it left torch with {got}.")

    def _transcribe(self, waveforms: Sequence[Float32]) -> list[dict[str, Any]]:
        """FunASR's result of each waveform, in one call as its users make it; empty for an empty one."""
        deployment = self._request.deployment
        # AutoModel shares the memory, and torch warns of arrays that must not be written. It divides by the duration.
        given = [item if item.flags.writeable else item.copy() for item in waveforms if item.size]
        if not given:
            return [{} for _ in waveforms]
        results = self._model.generate(
            input=given,
            batch_size_s=int(deployment.batch.max_audio_s),
            language=deployment.language,
            use_itn=deployment.text_norm == "withitn",
            **({} if self._model.punc_model is None else {"return_raw_text": True}),
            **({} if self._hot_words is None else {"hotword": self._hot_words.name}),
        )
        if len(results) != len(given):
            raise TrialMismatch(
                f"FunASR must give a result for each of {len(given)} recordings, but gave {len(results)}."
            )
        found = iter(results)
        return [next(found) if waveform.size else {} for waveform in waveforms]

    def facts(self) -> EngineFacts:
        """What torch and FunASR reported after loading."""
        return self._facts

    def close(self) -> None:
        """Free the recognition and VAD models; idempotent. ``run`` raises RuntimeError afterwards."""
        self._model = None
        if self._hot_words is not None:
            self._hot_words.close()


def _hot_words_file(words: Sequence[str]) -> IO[str]:
    """A file of hot words as FunASR takes it, gone when it is closed: in a string, blanks would part a word."""
    # In the encoding by which FunASR opens it, the locale's.
    file = tempfile.NamedTemporaryFile("w", suffix=".txt")  # noqa: SIM115
    file.write("\n".join(words))
    file.flush()
    return file


def _punctuation_settings(folder: Path | None) -> dict[str, Any]:
    """Arguments with which ``AutoModel`` punctuates; none without a punctuation model."""
    if folder is None:
        return {}
    directory = PunctuationDirectory.open(folder)
    settings = network_settings(directory.config, weights=directory.weights_path, cmvn=None)
    tokenizer = {**(directory.config.get("tokenizer_conf") or {}), "token_list": str(directory.tokens_path)}
    punc_kwargs = {**settings, "tokenizer": directory.config["tokenizer"], "tokenizer_conf": tokenizer}
    return {"punc_model": settings["model"], "punc_kwargs": punc_kwargs}


def _model_settings(model: ModelDirectory) -> dict[str, Any]:
    named: dict[str, Any] = {} if model.bpe_path is None else {"bpemodel": str(model.bpe_path)}
    if model.tokens_path is not None:
        # FunASR would take the numbers behind the tokens of a text file for parts of them.
        plain = model.tokens_path.suffix == ".json"
        named["token_list"] = str(model.tokens_path) if plain else read_tokens(model.tokens_path)
    return {
        **network_settings(model.config, weights=model.checkpoint, cmvn=model.frontend.cmvn_path),
        "tokenizer": model.config["tokenizer"],
        "tokenizer_conf": {**(model.config.get("tokenizer_conf") or {}), **named},
    }


def network_settings(config: dict[str, Any], *, weights: Path, cmvn: Path | None) -> dict[str, Any]:
    """Arguments with which ``AutoModel`` builds a network and its front end without reading their directory.

    FunASR itself would take every key of ``config.yaml``, or of a file that ``configuration.json`` names instead, as an
    argument: ``trust_remote_code`` and ``remote_code`` run code, ``punc_model``, ``vad_kwargs``, … load more models.

    Args:
        config: ``config.yaml`` as parsed; its classes are checked already.
        weights: the checkpoint.
        cmvn: the file of CMVN, if there is one.
    """
    settings = {name: copy.deepcopy(config[name]) for name in _BUILT_FROM if config.get(name) is not None}
    # Without model_conf, AutoModel would look for a directory.
    settings.setdefault("model_conf", {})
    cmvn_file = None if cmvn is None else str(cmvn)
    settings["frontend_conf"] = {**(config.get("frontend_conf") or {}), "cmvn_file": cmvn_file}
    return {**settings, "init_param": str(weights)}


def _auto_model(request: EngineRequest) -> Any:
    try:
        from funasr import AutoModel
    except ImportError as error:
        raise EngineUnavailableError(
            f"Engine funasr needs FunASR, but it cannot be imported ({error}). "
            "Install it: pip install funasr silero-vad."
        ) from error
    try:
        with allocation_failures_as_memory_error():
            return AutoModel(
                **_model_settings(request.model),
                vad_model="silero-vad",
                **_punctuation_settings(request.punctuation if request.deployment.punctuation else None),
                ncpu=request.deployment.intra_op_num_threads,
                device=request.deployment.device,
                disable_update=True,
                disable_pbar=True,
                log_level="ERROR",
            )
    except (MemoryError, EngineUnavailableError):
        raise
    except ImportError as error:
        raise EngineUnavailableError(f"Engine funasr lacks a package: {error}. Install it.") from error
    except Exception as error:
        raise ModelError(f"{request.model.path} must be a model that FunASR loads, but: {error}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the process's output clean while FunASR is loaded: it prints hints, logs by the root logger and warns."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
