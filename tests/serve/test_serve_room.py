"""Uploads before they are recordings: places, room on the disk, and what is told where there is none."""

import asyncio
import errno
from pathlib import Path

import pytest

from autotune.recognizer.admission import Rejected
from autotune.serve import uploads
from autotune.serve.uploads import Receiving, Room, Upload


def test_uploads_have_room_together_and_give_it_back(tmp_path: Path) -> None:
    room = Room(tmp_path, 100)
    held = [Upload(tmp_path / f"{number}", room) for number in range(3)]
    for upload in held:
        assert upload.write(bytes(250)) == 250
    with pytest.raises(Rejected) as caught:
        held[0].write(bytes(51))
    assert caught.value.status == 507
    held[1].discard()
    held[1].discard()
    assert not (tmp_path / "1").exists()
    held[0].write(bytes(250))
    assert (tmp_path / "0").read_bytes() == bytes(500)
    for upload in held:
        upload.discard()


def test_a_disk_without_space_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(tmp_path, 1 << 20)
    upload = Upload(tmp_path / "1", room)
    monkeypatch.setattr(uploads, "SPARE_BYTES", 1 << 62)
    with pytest.raises(Rejected, match="no room"):
        upload.write(b"x")
    with pytest.raises(Rejected, match="no room"), uploads.rejected_if_full():
        raise OSError(errno.EDQUOT, "quota")
    with pytest.raises(OSError, match="other"), uploads.rejected_if_full():
        raise OSError(errno.EIO, "other")
    upload.discard()


def test_one_address_leaves_places_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "RECEIVING", 4)

    async def whole() -> None:
        receiving = Receiving(wait_s=0.1)
        release = asyncio.Event()

        async def hold(address: str) -> str:
            try:
                async with receiving.place(address):
                    await release.wait()
                    return "received"
            except Rejected as rejected:
                return rejected.reason

        greedy = [asyncio.create_task(hold("1.1.1.1")) for _ in range(6)]
        await asyncio.sleep(0.02)
        others = [asyncio.create_task(hold(f"2.2.2.{number}")) for number in range(2)]
        await asyncio.sleep(0.3)
        release.set()
        assert sorted(await asyncio.gather(*greedy)) == ["received"] * 2 + ["too_many_uploads"] * 4
        assert await asyncio.gather(*others) == ["received"] * 2
        assert await hold("1.1.1.1") == "received"

    asyncio.run(whole())
