import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.accuracy import Accuracy, Judge
from autotune.errors import TrialMismatch
from tests.accuracy.workloads import heard, recording, workload

LAMP, SONG, STOP = ("lamp", "打开客厅的灯"), ("song", "播放一首歌"), ("stop", "停止")
ONE = recording("one", [LAMP, SONG, LAMP])
TWO = recording("two", [STOP, SONG])


def judge() -> Judge:
    """The reference mishears the song once."""
    return Judge(
        workload(ONE, TWO),
        heard({"one": [LAMP[1], "播放一手歌", LAMP[1]], "two": [STOP[1], SONG[1]]}),
    )


def counts(accuracy: Accuracy) -> dict[str, tuple[int, int, int]]:
    return {count.clip: (count.errors, count.reference_errors, count.length) for count in accuracy.clips}


def test_errors_count_for_the_clip_at_whose_place_they_are() -> None:
    accuracy = judge().assess({"one": "打开客厅的，灯。播放一首哥打客厅的灯", "two": "停止播放一首歌呀"})
    assert counts(accuracy) == {"lamp": (1, 0, 12), "song": (2, 1, 10), "stop": (0, 0, 2)}
    assert accuracy.unit == "cer"
    assert accuracy.tokens == "characters"
    assert accuracy.utterances == 5
    assert accuracy.rate == 3 / 24
    assert accuracy.reference_rate == 1 / 24
    assert accuracy.increase == pytest.approx(2 / 24)


def test_the_worst_are_shown_side_by_side() -> None:
    accuracy = judge().assess({"one": "打开客厅的灯播放一手歌打开客厅", "two": "停止"})
    first, second = accuracy.worst
    assert (first.clip, first.errors, first.reference_errors) == ("song", 5, 0)
    assert (first.expected, first.got, first.reference_got) == ("播放一首歌", "", "播放一首歌")
    assert (second.clip, second.errors, second.got) == ("lamp", 2, "打开客厅")
    many = judge().assess({"one": "", "two": ""})
    assert len(many.worst) == 3
    assert [text.errors - text.reference_errors for text in many.worst] == [6, 6, 5]


def test_a_perfect_text_beats_the_reference() -> None:
    accuracy = judge().assess({"one": ONE.text or "", "two": TWO.text or ""})
    assert accuracy.rate == 0
    assert accuracy.increase == pytest.approx(-1 / 24)
    assert accuracy.worst == ()


@given(st.permutations([ONE, TWO, recording("three", [STOP]), recording("four", [SONG, STOP])]))
def test_the_order_of_recordings_changes_nothing(recordings: list[object]) -> None:
    texts = {"one": "打开客厅的灯播放一手歌打开客厅", "two": "停播放一首歌", "three": "", "four": "播放首歌停止呀"}
    reference = {"one": [LAMP[1], SONG[1], LAMP[1]], "two": ["停", SONG[1]], "three": ["停止"], "four": ["播", "停止"]}
    accuracy = Judge(workload(*recordings), heard(reference)).assess(texts)  # type: ignore[arg-type]
    straight = Judge(workload(ONE, TWO, recording("three", [STOP]), recording("four", [SONG, STOP])), heard(reference))
    assert accuracy.clips == straight.assess(texts).clips


def test_words_are_counted_where_words_have_spaces() -> None:
    english = workload(recording("a", text="Turn on the light, please."), recording("b", text="It's late"))
    accuracy = Judge(english, heard({"a": "turn on the light please", "b": "its late"})).assess(
        {"a": "turn on a light", "b": "Its late!"}
    )
    assert accuracy.unit == "wer"
    assert counts(accuracy) == {"a": (2, 0, 5), "b": (0, 0, 2)}
    assert accuracy.worst[0].got == "turn on a light"


def test_without_transcripts_the_reference_is_what_is_expected() -> None:
    own = Judge(workload(recording("a"), recording("b")), heard({"a": "打开客厅的灯", "b": "停止"}))
    assert own.unit == "disagreement"
    assert own.against == "fp32 PyTorch's text"
    accuracy = own.assess({"a": "打开客厅灯", "b": "停止"})
    assert counts(accuracy) == {"a": (1, 0, 6), "b": (0, 0, 2)}
    assert accuracy.reference_rate == 0
    assert accuracy.rate == accuracy.increase == 1 / 8


def test_with_transcripts_of_some_files_only_those_count() -> None:
    some = Judge(workload(recording("a", text="停止"), recording("b")), heard({"a": "停", "b": "什么都可以"}))
    assert some.unit == "cer"
    assert counts(some.assess({"a": "停止", "b": "没有"})) == {"a": (0, 1, 2)}


def test_insertions_where_nothing_is_said_count() -> None:
    silent = Judge(workload(recording("a", text="停止"), recording("b", text="")), heard({"a": "停止", "b": ""}))
    accuracy = silent.assess({"a": "停止", "b": "幻觉"})
    assert counts(accuracy) == {"a": (0, 0, 2), "b": (2, 0, 0)}
    assert accuracy.worst[0].got == "幻觉"


def test_of_a_long_recording_the_worst_stretch_is_shown() -> None:
    said = "一二三四五六七八九十" * 20
    got = said[:100] + "坏" * 10 + said[110:]
    (worst,) = Judge(workload(recording("a", text=said)), heard({"a": said})).assess({"a": got}).worst
    assert worst.errors == 10
    assert len(worst.expected) == 40
    assert worst.got.count("坏") == 10


def test_nothing_to_judge_by() -> None:
    empty = Judge(workload(recording("a")), heard({"a": "……"}))
    assert empty.length == 0
    with pytest.raises(ValueError, match="nothing is"):
        empty.assess({"a": "停止"})


def test_a_missing_text_is_a_mismatch() -> None:
    with pytest.raises(TrialMismatch, match="two was not"):
        judge().assess({"one": "打开"})


def test_other_transcripts_are_another_question() -> None:
    def digest(text: str) -> str:
        return Judge(workload(recording("a", text=text)), heard({"a": "停止"})).sha256

    assert digest("停止") == digest("停止。")
    assert digest("停止") != digest("停下")


BASELINE = {"one": "打开客厅灯播放一手歌打开客厅的灯", "two": "停止播放一首歌"}


def test_errors_of_funasrs_default_stand_beside_the_others() -> None:
    reference = heard({"one": [LAMP[1], "播放一手歌", LAMP[1]], "two": [STOP[1], SONG[1]]})
    both = Judge(workload(ONE, TWO), reference, BASELINE)
    accuracy = both.assess({"one": ONE.text or "", "two": "停止播放一首歌呀"})
    assert {count.clip: count.baseline_errors for count in accuracy.clips} == {"lamp": 1, "song": 1, "stop": 0}
    assert accuracy.rate == 1 / 24
    assert accuracy.increase == 0
    assert accuracy.baseline_rate == both.baseline_rate == 2 / 24
    assert accuracy.baseline_increase == pytest.approx(-1 / 24)
    assert counts(accuracy) == counts(judge().assess({"one": ONE.text or "", "two": "停止播放一首歌呀"}))


def test_funasrs_default_needs_no_hearing() -> None:
    reference = heard({"one": [LAMP[1], "播放一手歌", LAMP[1]], "two": [STOP[1], SONG[1]]})
    both = Judge(workload(ONE, TWO), reference, BASELINE)
    share = both.assess_baseline({"two"})
    assert share is not None
    assert (share.baseline_increase, len(share.clips), share.available) == (0, 2, 3)
    assert judge().assess_baseline({"two"}) is None


def test_the_hearing_is_judged_and_the_timed_shards_are_not() -> None:
    own = workload(ONE).model_copy(update={"hearing": (TWO,)})
    accuracy = Judge(own, heard({"two": [STOP[1], SONG[1]]})).assess({"two": "停止播放一首歌", "one": "什么"})
    assert {count.clip for count in accuracy.clips} == {"stop", "song"}
    assert (accuracy.available, accuracy.extendable) == (2, True)
    embedded = own.model_copy(update={"source": "embedded"})
    assert not Judge(embedded, heard({"two": [STOP[1], SONG[1]]})).assess({"two": "停"}).extendable


def test_recordings_in_which_nothing_is_said_can_not_be_judged() -> None:
    silent = Judge(workload(recording("a", text="停止"), recording("b", text="")), heard({"a": "停止", "b": ""}))
    assert silent.expects(["a", "b"])
    assert not silent.expects(["b"])
    assert not silent.expects(["unknown"])
