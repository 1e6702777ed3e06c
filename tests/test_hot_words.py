"""Lists of hot words in every form that people and clients write them."""

from pathlib import Path

import pytest

from autotune.errors import DocumentError
from autotune.hot_words import checked_hot_words, parse_hot_words, read_hot_words


def test_lists_as_people_and_clients_write_them(tmp_path: Path) -> None:
    assert parse_hot_words("魔搭  达摩院 ") == ("魔搭", "达摩院")
    assert parse_hot_words("魔搭,达摩院、 hello") == ("魔搭", "达摩院", "hello")
    assert parse_hot_words('{"魔搭": 20, "达摩院": 30}') == ("魔搭", "达摩院")
    assert parse_hot_words({"魔搭": 20}) == ("魔搭",)
    assert parse_hot_words("") == ()
    for wrong in (3, '{"a": ', ["魔搭"], None):
        with pytest.raises(DocumentError, match="hotwords must be words or a JSON object"):
            parse_hot_words(wrong)
    (tmp_path / "words.txt").write_text("魔搭 20\n\nhello world\n达摩院\n", encoding="utf-8")
    assert read_hot_words(str(tmp_path / "words.txt"), "--hotwords") == ("魔搭", "hello world", "达摩院")
    assert (
        read_hot_words("魔搭 达摩院", "--hotwords")
        == read_hot_words("魔搭，达摩院", "--hotwords")
        == ("魔搭", "达摩院")
    )
    with pytest.raises(DocumentError, match="a file that exists"):
        read_hot_words(str(tmp_path / "absent.txt"), "--hotwords")
    with pytest.raises(DocumentError, match="at most 2000 hot words"):
        checked_hot_words([str(number) for number in range(2001)])
    with pytest.raises(DocumentError, match="at most 60 characters"):
        checked_hot_words(["字" * 61])
