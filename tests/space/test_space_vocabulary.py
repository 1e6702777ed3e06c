"""The vocabulary of search spaces is what a deployment and its engine have, neither more nor less."""

import pytest

from autotune.engines import ENGINES, engine_class
from autotune.errors import DocumentError
from autotune.space.vocabulary import Vocabulary, flatten
from tests.deployment_example import example_deployment


@pytest.mark.parametrize("engine", sorted(set(ENGINES) - {"funasr"}))
@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_every_field_of_a_deployment_and_every_option_of_its_engine_has_a_name(engine: str, device: str) -> None:
    found = engine_class(engine)
    # Punctuation comes with --punc-model, and isn't searched.
    fields = {path for path in flatten(example_deployment()) if "_options." not in path} - {"punctuation"}
    options = {f"session_options.{key}" for key in found.SESSION_OPTIONS}
    options |= {f"provider_options.{key}" for key in found.PROVIDER_OPTIONS.get(device[:4], {})}
    assert set(Vocabulary.of_engine(engine, device, where="here").paths) == fields | options


@pytest.mark.parametrize(
    ("path", "good", "bad", "must"),
    [
        ("instances", "cores", "core", 'a whole number or "cores"'),
        ("batch.max_size", 4, "cores", "a whole number, but"),
        ("batch.max_size", 4, 4.5, "a whole number, but"),
        ("batch.max_wait_s", 0, True, "a number of seconds"),
        ("fp32_share", 0.5, "half", "a number, but"),
        ("pinning", False, 0, "one of false, true"),
        ("language", "yue", "xx", "one of auto, zh, en"),
        ("graph", "fused", "fuse", 'Did you mean "fused"'),
        ("chunking.method", "none", "funasr", "one of none, fixed, vad, but"),
        ("chunking.vad_model", "/models/fsmn", 7, '"silero" or the path of a directory'),
        ("device", "cuda", "gpu", "cpu, cuda"),
        ("provider_options.use_tf32", "0", 0, 'one of "0", "1"'),
    ],
)
def test_values_are_of_the_fields_kind(path: str, good: object, bad: object, must: str) -> None:
    vocabulary = Vocabulary.of_engine("onnxruntime", "cuda:0", where="here")
    vocabulary.check_value(path, good, where="here")
    with pytest.raises(DocumentError, match=f"^here: must be .*{must}"):
        vocabulary.check_value(path, bad, where="here")
