"""Make the embedded Mandarin clips with espeak-ng: ``python scripts/make_clips.py``.

The same espeak-ng and libsndfile give the same bytes. Needs espeak-ng ≥1.51 (``apt install espeak-ng``); nothing that
is installed with autotune does. The voice is ``cmn-latn-pinyin``: 1.51's plain ``cmn`` reads characters as English.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from autotune.audio.reading import SAMPLE_RATE_HZ, Float32
from autotune.audio.vad import FRAME_SAMPLES, SileroVad

CLIPS = Path(__file__).parent.parent / "autotune" / "audio" / "clips"
RMS = 10 ** (-23 / 20)
EDGE_S = 0.03

# Variants of espeak-ng's formant voices that stay natural; the robots and whisperers are left out.
VARIANTS = [
    "f2",
    "m3",
    "Annie",
    "m7",
    "f4",
    "Denis",
    "belinda",
    "m1",
    "f5",
    "michel",
    "Alicia",
    "m4",
    "f3",
    "john",
    "steph",
    "m2",
]

SENTENCES = [
    "请您稍等。",
    "好的，谢谢。",
    "没有问题。",
    "我们明天见。",
    "可以开始了。",
    "声音有点小。",
    "请打开客厅的灯。",
    "现在几点钟了？",
    "我听不太清楚。",
    "帮我订一张火车票。",
    "今天的天气怎么样？",
    "请把音量调低一点。",
    "这个问题我们下周再讨论。",
    "他昨天已经回到北京了。",
    "麻烦您再重复一遍电话号码。",
    "导航到最近的地铁站入口。",
    "会议改到星期三上午十点半。",
    "孩子们在公园里放风筝，玩得很开心。",
    "这家餐厅的牛肉面味道非常不错。",
    "我们需要在月底之前完成这份报告。",
    "语音识别系统的速度取决于硬件和配置。",
    "今天下午三点我们在会议室讨论新的项目计划。",
    "请问从这里到飞机场坐出租车大概需要多长时间？",
    "图书馆每天早上八点开门，晚上九点半关门。",
    "医生建议他每天散步半个小时，少吃油腻的食物。",
    "由于台风的影响，明天所有的航班都可能会推迟起飞。",
    "我们公司去年的销售额比前年增长了百分之二十五左右。",
    "春天到了，山上的桃花都开了，很多游客来这里拍照留念。",
    "为了保护环境，请大家尽量乘坐公共交通工具，少开车。",
    "经过三个月的努力，工程师们终于解决了服务器响应太慢的问题。",
    "小时候我常常坐在院子里，听奶奶讲那些有趣的故事。",
    "如果您想查询账户余额，请按一，如果需要人工服务，请按零。",
    "谢谢你。",
    "知道了。",
]


def main() -> None:
    """Write the clips and ``clips.json``."""
    CLIPS.mkdir(parents=True, exist_ok=True)
    vad = SileroVad()
    entries: list[dict[str, Any]] = []
    for index, text in enumerate(SENTENCES):
        settings: dict[str, Any] = {
            "voice": f"cmn-latn-pinyin+{VARIANTS[index % len(VARIANTS)]}",
            "speed": 153 + (index * 29) % 56,
            "pitch": 35 + (index * 13) % 31,
        }
        waveform = trimmed(speak(text, settings))
        name = f"clip-{index:02d}.ogg"
        (CLIPS / name).write_bytes(ogg_opus(waveform, serial=index + 1))
        decoded, _ = soundfile.read(CLIPS / name, dtype="float32")
        entries.append({"file": name, "text": text, **settings, **facts(decoded, vad)})
    document = {"made_by": "scripts/make_clips.py", "sample_rate_hz": SAMPLE_RATE_HZ, "clips": entries}
    (CLIPS / "clips.json").write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    durations = [float(entry["duration_s"]) for entry in entries]
    size = sum(path.stat().st_size for path in CLIPS.iterdir())
    print(f"{len(entries)} clips, {sum(durations):.1f} s, {size / 1e3:.0f} kB", file=sys.stderr)


def speak(text: str, settings: dict[str, Any]) -> Float32:
    """One sentence, 16 kHz mono."""
    command = ["espeak-ng", "-v", settings["voice"], "-s", str(settings["speed"]), "-p", str(settings["pitch"])]
    done = subprocess.run([*command, "--stdout", text], check=True, capture_output=True)
    # A streamed wav has no length in its header: take what follows the header.
    rate = struct.unpack_from("<I", done.stdout, 24)[0]
    samples = np.frombuffer(done.stdout[44:], "<i2").astype(np.float32) / 32768
    return np.asarray(soxr.resample(samples, rate, SAMPLE_RATE_HZ, quality="VHQ"), np.float32)


def trimmed(waveform: Float32) -> Float32:
    """Silence at both ends cut down to 30 ms, level set to −23 dBFS RMS, peaks below full scale."""
    loud = np.flatnonzero(np.abs(waveform) > 0.01 * np.abs(waveform).max())
    edge = int(EDGE_S * SAMPLE_RATE_HZ)
    cut = waveform[max(loud[0] - edge, 0) : loud[-1] + edge]
    return cut * min(RMS / float(np.sqrt(np.mean(cut**2))), 0.9 / float(np.abs(cut).max()))


def facts(waveform: Float32, vad: SileroVad) -> dict[str, float]:
    """Length, and how much of it Silero calls speech when the clip stands between pauses."""
    pad = np.zeros(SAMPLE_RATE_HZ, np.float32)
    speech = vad.probabilities(np.concatenate([pad, waveform, pad])) >= 0.5
    return {
        "duration_s": round(len(waveform) / SAMPLE_RATE_HZ, 4),
        "speech_s": round(float(speech.sum()) * FRAME_SAMPLES / SAMPLE_RATE_HZ, 4),
    }


def ogg_opus(waveform: Float32, *, serial: int) -> bytes:
    """Ogg Opus at libsndfile's default bitrate; its random stream serial is replaced so that bytes repeat."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE_HZ, format="OGG", subtype="OPUS")
    data = bytearray(buffer.getvalue())
    start = 0
    while start < len(data):
        segments = data[start + 26]
        end = start + 27 + segments + sum(data[start + 27 : start + 27 + segments])
        struct.pack_into("<I", data, start + 14, serial)
        struct.pack_into("<I", data, start + 22, 0)
        struct.pack_into("<I", data, start + 22, _ogg_crc(bytes(data[start:end])))
        start = end
    return bytes(data)


def _ogg_crc(page: bytes) -> int:
    """CRC-32 of a page, https://www.rfc-editor.org/rfc/rfc3533#section-6 (polynomial 04C11DB7, not reflected)."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


if __name__ == "__main__":
    main()
