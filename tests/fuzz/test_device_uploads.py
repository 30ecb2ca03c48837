"""Hostile server certificates: whatever is uploaded, it is taken or refused in words, and the phone can tell what it has."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sipsua.errors import BadConfiguration
from sipsua.phone.device import Device
from sipsua.phone.factory import Factory
from sipsua.phone.flash import Flash
from sipsua.trust.manufacturer import Manufacturer

NOW = datetime.now(UTC)
MAKER = Manufacturer.found(NOW)
SEEDS = [MAKER.issue("001565aabbcc", at=NOW, key="ec"), MAKER.issue_generic(at=NOW, key="rsa")]


def bytes_changed(dice: random.Random, pem: bytes) -> bytes:
    data = bytearray(pem)
    for _ in range(dice.randint(1, 4)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


def cut(dice: random.Random, pem: bytes) -> bytes:
    begin, end = sorted((dice.randrange(len(pem)), dice.randrange(len(pem))))
    return dice.choice((pem[:begin], pem[begin:], pem[:begin] + pem[end:], pem[begin:end] + pem))


def lines_shuffled(dice: random.Random, pem: bytes) -> bytes:
    lines = pem.splitlines(keepends=True)
    one, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def inside_changed(dice: random.Random, pem: bytes) -> bytes:
    """The text is PEM still; what it encodes is not what it was."""
    blocks = pem.split(b"-----END")
    which = dice.randrange(len(blocks) - 1)
    head, _, body = blocks[which].rpartition(b"-----\n")
    der = bytearray(base64.b64decode(body))
    for _ in range(dice.randint(1, 3)):
        der[dice.randrange(len(der))] ^= 1 << dice.randrange(8)
    blocks[which] = head + b"-----\n" + base64.encodebytes(der)
    return b"-----END".join(blocks)


@pytest.mark.parametrize("mutate", [bytes_changed, cut, lines_shuffled, inside_changed])
@pytest.mark.parametrize("rounds", [150, pytest.param(1_000, marks=[pytest.mark.heavy, pytest.mark.timeout(600)])])
def test_mutated_upload_is_taken_or_refused_and_never_anything_else(
    rounds: int, mutate: Callable[[random.Random, bytes], bytes], tmp_path: Path
) -> None:
    dice = random.Random(f"{mutate.__name__} {rounds}")
    device = Device(Flash(tmp_path / "phone"), Factory(tmp_path / "manufacturer"))
    file = tmp_path / "upload.pem"
    held, taken = None, 0
    for number in range(rounds):
        # To prove an RSA key takes 30 ms.
        data = mutate(dice, SEEDS[number % 50 == 0])
        file.write_bytes(data)
        try:
            own = device.upload(file)
        except BadConfiguration as error:
            told = error
        else:
            taken, held = taken + 1, own.certificate
            assert own.path.read_bytes() == data
            own.doubts(NOW)
            continue
        assert told.fix
        assert "upload.pem" in told.what
        assert (device.shown(1).certificate if held else device.custom) == held
    # Text between the blocks may be anything, and the bits of a signature are the server's to look at.
    assert taken < rounds
