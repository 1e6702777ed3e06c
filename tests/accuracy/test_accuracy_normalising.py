import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.accuracy.text import normalise, token_name, tokenise

TEXTS = st.text(max_size=40)
LETTERS = st.text("天地玄黄abcあいハ한글3", max_size=30)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<|zh|><|NEUTRAL|><|Speech|><|woitn|>你好，世界。", "你好世界"),
        ("打开 客厅 的 灯！", "打开客厅的灯"),
        ("😊你好😡", "你好"),
        ("❤️ 1️⃣", "1"),
        ("ＡＢＣ１２３", "abc123"),
        ("ｶﾀｶﾅ", "カタカナ"),
        ("Hello,  WORLD", "hello world"),
        ("It's well-known.", "its well known"),
        ("It’s", "its"),
        ("我 用 Python 写 的", "我用 python 写的"),
        ("三 3", "三 3"),
        ("Straße", "strasse"),
        ("안녕 하세요?", "안녕하세요"),
        ("《书》「名」、……——", "书名"),
        ("100%", "100"),
        (" \t\n\u200b\u00a0", ""),
        ("", ""),
    ],
)
def test_what_may_differ_is_taken_out(text: str, plain: str) -> None:
    assert normalise(text) == plain


@given(TEXTS)
def test_twice_is_once(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(LETTERS, LETTERS)
def test_punctuation_and_case_never_count(left: str, right: str) -> None:
    assert normalise(f"{left}，{right}。".upper()) == normalise(f"{left} {right}")


@given(TEXTS)
def test_no_space_is_left_over(text: str) -> None:
    plain = normalise(text)
    assert plain == " ".join(plain.split())
    assert " " not in tokenise(text, "characters")
    assert "".join(tokenise(text, "characters")) == "".join(tokenise(text, "words"))


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["打开客厅的灯"], "characters"),
        (["turn on the light"], "words"),
        (["打开灯", "turn on the light in the living room"], "words"),
        (["打开客厅的灯并且播放 jazz"], "characters"),
        (["안녕하세요"], "characters"),
        (["สวัสดี"], "characters"),
        (["guten Tag", "день"], "words"),
        ([""], "characters"),
    ],
)
def test_the_script_decides_what_is_counted(texts: list[str], name: str) -> None:
    assert token_name(texts) == name


def test_tokens() -> None:
    assert tokenise("打开 TV。", "characters") == ("打", "开", "t", "v")
    assert tokenise("Turn on, please!", "words") == ("turn", "on", "please")
