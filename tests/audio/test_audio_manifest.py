from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.audio.manifest import parse_jsonl, parse_scp, parse_transcripts, read_manifest
from autotune.errors import DocumentError

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
paths = words.filter(lambda word: word.strip() == word)
rows = st.lists(st.tuples(paths, st.none() | words), min_size=1, max_size=20, unique_by=lambda row: row[0])


@given(rows, st.sampled_from([("audio", "text"), ("source", "target")]), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_jsonl_gives_back_what_was_written(
    listed: list[tuple[str, str | None]], names: tuple[str, str], end: str
) -> None:
    lines = [
        json.dumps({"key": f"k{index}", names[0]: path, names[1]: text, "source_len": 7}, ensure_ascii=index % 2 == 0)
        for index, (path, text) in enumerate(listed)
    ]
    entries = parse_jsonl(end.join(lines), "m.jsonl")
    assert [(entry.id, entry.audio, entry.text) for entry in entries] == [
        (f"k{index}", path, text) for index, (path, text) in enumerate(listed)
    ]
    assert [entry.line for entry in entries] == [1 + index * end.count("\n") for index in range(len(listed))]


plain = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"], exclude_characters="|"), min_size=1)
keyed = st.dictionaries(plain, st.lists(plain, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=20)


@given(keyed, st.sampled_from([" ", "\t", "  "]))
def test_scp_and_text_give_back_what_was_written(listed: dict[str, str], gap: str) -> None:
    content = "\n".join(f"{key}{gap}{value}" for key, value in listed.items()) + "\n"
    assert {entry.id: entry.audio for entry in parse_scp(content, "wav.scp")} == listed
    assert parse_transcripts(content, "text") == listed


@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | words, st.lists).map(json.dumps))
def test_whatever_a_manifest_holds_it_is_read_or_refused_with_its_line(content: str) -> None:
    for parse in (parse_jsonl, parse_scp, parse_transcripts):
        with contextlib.suppress(DocumentError):
            parse(content, "m")
            continue
        with pytest.raises(DocumentError, match=r"^(m, line |m must list)"):
            parse(content, "m")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "m.jsonl, line 2 must be a JSON object"),
        ("[" * 100_000, "m.jsonl, line 2 must be a JSON object"),
        ("[1]", "m.jsonl, line 2 must be a JSON object"),
        ('"a.wav"', "m.jsonl, line 2 must be a JSON object"),
        ('{"text": "x"}', 'm.jsonl, line 2 must hold "audio" (or "source"), a path, but holds [\'text\']'),
        ('{"audoi": "a.wav"}', 'Did you mean "audio"?'),
        ('{"audio": ""}', "line 2"),
        ('{"audio": 7}', 'm.jsonl, line 2: "audio" must be a string, but got 7'),
        ('{"audio": "b.wav", "text": ["x"]}', '"text" must be a string, but got ["x"]'),
        ('{"audio": "b.wav", "source": "b.wav"}', 'must hold "audio" or "source", but holds both'),
        ('{"audio": "b.wav", "text": "x", "target": "x"}', 'must hold "text" or "target", but holds both'),
        ('{"audio": "\\ud800.wav"}', "half a surrogate pair"),
        ('{"audio": "b.wav", "key": "a"}', "key 'a' must name one recording, but line 1 gives it to 'a.wav'"),
    ],
)
def test_wrong_lines_are_named(line: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_jsonl('{"audio": "a.wav", "key": "a"}\n' + line, "m.jsonl")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a a.wav\nb", "wav.scp, line 2 must be a key and a path, such as \"call1 wav/call1.wav\", but got 'b'"),
        ("a sox a.mp3 -t wav - |", "wav.scp, line 1 must name a file, but holds a command"),
        ("a sox a.mp3 -t wav -|  ", "autotune runs none"),
        ("a a.wav\na b.wav", "key 'a' must name one recording, but line 1 gives it to 'a.wav'"),
        (" \n\n", "wav.scp must list at least one recording, but is empty"),
    ],
)
def test_wrong_scp_lines_are_named(content: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_scp(content, "wav.scp")
    assert message in str(caught.value)


def test_a_transcript_is_given_once() -> None:
    with pytest.raises(DocumentError, match="text, line 3: key 'a' must be given once, but is in line 1"):
        parse_transcripts("a 你好\n\na 再见", "text")


@pytest.mark.parametrize(("scp", "text"), [("wav.scp", "text"), ("train_wav.scp", "train_text.txt")])
def test_transcripts_lie_beside_the_scp(tmp_path: Path, scp: str, text: str) -> None:
    (tmp_path / scp).write_text("a a.wav\nb b.wav\nc my call.wav\n", encoding="utf-8")
    assert [entry.text for entry in read_manifest(tmp_path / scp)] == [None, None, None]
    (tmp_path / text).write_text("\ufeffa 你 好\nc\nunknown x\n", encoding="utf-8")
    entries = read_manifest(tmp_path / scp)
    assert [(entry.id, entry.audio, entry.text) for entry in entries] == [
        ("a", "a.wav", "你 好"),
        ("b", "b.wav", None),
        ("c", "my call.wav", ""),
    ]


def test_a_manifest_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DocumentError, match=r"m\.jsonl must be a readable UTF-8 manifest"):
        read_manifest(tmp_path / "m.jsonl")


def test_without_a_key_the_path_names_the_recording() -> None:
    content: list[dict[str, Any]] = [{"audio": "x/a.wav"}, {"audio": "x/a.wav", "text": "again"}]
    entries = parse_jsonl("\n".join(json.dumps(line) for line in content), "m")
    assert [entry.id for entry in entries] == ["x/a.wav", "x/a.wav"]
