"""Reading YAML that is wrong, or written to do harm: an error in words, at once."""

from functools import cached_property
from pathlib import Path

import pytest

from autotune.deploy_yaml import read_deployment_file
from autotune.documents import Document, read_yaml
from autotune.errors import DocumentError

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        f"schema: autotune/deployment/v1\ndeployment: &d\n  {BOMB.strip().replace(chr(10), chr(10) + '  ')}\n",
        "a: &a [*a]",
        "a: &a {b: *a}",
        "date: 2026-13-45",
        "date: 0000-00-00",
        "date: 2026-01-01 00:00:00 +99:99",
        "[" * 5000,
        "a: " + "{b: " * 5000,
        "number: " + "9" * 5000,
        "a: !!python/object/apply:os.system [true]",
        "\x1b[31m: [",
        "- [a, b",
    ],
    ids=range(13),
)
def test_what_is_no_document_is_refused_at_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError, match=r"x\.yaml"):
        read_deployment_file(tmp_path / "x.yaml")


def test_aliases_that_repeat_a_little_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &a {b: 1}\nc: [*a, *a]\nd: {<<: *a, e: 2}\n", encoding="utf-8")
    assert read_yaml(tmp_path / "x.yaml") == {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}], "d": {"b": 1, "e": 2}}
    (tmp_path / "x.yaml").write_text("", encoding="utf-8")
    assert read_yaml(tmp_path / "x.yaml") is None


def test_a_file_that_is_no_document_by_its_size_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"a" * (9 << 20))
    with pytest.raises(DocumentError, match="at most"):
        read_yaml(tmp_path / "x.yaml")


def test_what_a_document_has_computed_of_itself_is_not_its_copys() -> None:
    class Square(Document):
        side: float

        @cached_property
        def area(self) -> float:
            return self.side**2

    small = Square(side=2.0)
    assert small.area == 4.0
    large = small.model_copy(update={"side": 3.0})
    assert (small.area, large.area) == (4.0, 9.0)
