"""Hostile files: whatever is uploaded or lies in the flash, nothing but BadConfiguration comes of it, and the list stays as it was.

Seeds are certificates of many kinds, as PEM and as DER; mutations are drawn from a seeded generator, so that a failure comes again.
"""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from sipsua.errors import BadConfiguration
from sipsua.phone.cfg import VERSION_LINE
from sipsua.phone.flash import Flash
from sipsua.phone.provisioning import provision
from sipsua.phone.settings import FILE, Settings
from sipsua.phone.trusted import TrustedCertificate, TrustedCertificates
from sipsua.testing.pki import CertificateAuthority, self_signed
from sipsua.trust.builtin import built_in_roots
from sipsua.trust.store import TrustList

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ROOT = CertificateAuthority("Root")
DERS = [
    *[anchor.der for anchor in built_in_roots()][::8],
    *[
        issued.certificate.public_bytes(Encoding.DER)
        for issued in (
            ROOT.issue("sip.example.com", "192.0.2.1", uris=["sip:example.com"]),
            self_signed("*.example.com", key="rsa"),
            self_signed(common_name="phone"),
        )
    ],
]
ISSUED = ROOT.issue("phone")
PIECES = [
    *[
        b"\0",
        b"\xff",
        b"\x80",
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x02\x01\x00",
        b"\x02\x01\xff",
        b"\x13\x02ab",
    ],
    *[
        b"\x17\x0d991332256199Z",
        b"\x18\x0f99991231235959Z",
        b"\x0c\x02\xff\xfe",
        b"\x1e\x02\xd8\x00",
        b"\x06\x01\x80",
        b"\xa0\x03\x02\x01",
    ],
    *[b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----\n", b"-----BEGIN ", b"PRIVATE KEY-----", b"-----"],
    *[b"\n", b"\r\n", b"=", b"AAAA", b"# 3 certificates\n", b"X509 CERTIFICATE"],
]


@pytest.fixture(autouse=True)
def no_power_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk is most of the work, and not what is tried here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def mutated(dice: random.Random) -> bytes:
    """One to three certificates, hurt inside, outside, or both."""
    parts = []
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        der = dice.choice(DERS)
        if dice.random() < 0.7:
            der = wounded(der, dice)
        parts.append(pem(der) if dice.random() < 0.6 else der)
    if dice.random() < 0.1:
        parts.insert(dice.randrange(len(parts) + 1), ISSUED.key_pem)
    data = b"".join(parts)
    return wounded(data, dice) if dice.random() < 0.3 else data


def wounded(data: bytes, dice: random.Random) -> bytes:
    hurt = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 5])):
        at = dice.randrange(len(hurt) + 1)
        what = dice.randrange(5)
        if what == 0:
            hurt[at:at] = dice.choice(PIECES)
        elif what == 1:
            del hurt[at : at + dice.randint(1, 40)]
        elif what == 2:
            hurt[at : at + 1] = bytes([dice.randrange(256)])
        elif what == 3:
            piece = dice.choice(PIECES)
            hurt[at : at + len(piece)] = piece
        else:
            hurt[at:at] = hurt[at : at + dice.randint(1, 40)]
    return bytes(hurt)


def rounds(few: int, many: int) -> Iterable[object]:
    return [few, pytest.param(many, marks=[pytest.mark.heavy, pytest.mark.timeout(600)])]


@pytest.mark.parametrize("count", rounds(500, 20_000))
def test_a_mutated_upload_is_taken_or_refused_and_the_list_is_whole(tmp_path: Path, count: int) -> None:
    dice = random.Random(940)
    flash = Flash(tmp_path / "phone")
    trusted = TrustedCertificates(flash)
    taken = 0
    for number in range(count):
        data = mutated(dice)
        before = [one.certificate.fingerprint for one in trusted.list()]
        name = f"{number}{dice.choice(['.pem', '.der', '.cer', '.crt'])}"
        added: tuple[TrustedCertificate, ...] = ()
        refused = None
        try:
            added = trusted.put(name, data, NOW).added
        except BadConfiguration as error:
            refused = error
        assert refused is None or (name in refused.what and refused.fix)
        taken += len(added)
        after = trusted.list()
        assert [one.certificate.fingerprint for one in after] == before + [one.certificate.fingerprint for one in added]
        assert len(trusted.trust_list()) == len(after) <= 10
        assert all(one.as_json()["serial"] for one in after)
        if len(after) > 7:
            assert len(TrustList.from_pem(trusted.pem())) == len(after)
            trusted.delete_all()
    # Wounds in signatures and names leave certificates: the mutations reach behind the first look.
    assert taken > count / 20


@pytest.mark.parametrize("count", rounds(300, 10_000))
def test_a_mutated_file_in_the_flash_is_listed_or_told(tmp_path: Path, count: int) -> None:
    dice = random.Random(941)
    flash = Flash(tmp_path / "phone")
    trusted = TrustedCertificates(flash)
    trusted.put("ca.pem", ROOT.pem + pem(DERS[0]))
    stored = flash.path("trusted/01-ca.pem")
    whole = stored.read_bytes()
    told = 0
    for _ in range(count):
        stored.write_bytes(wounded(whole, dice))
        refused = None
        try:
            assert len(trusted.list()) > 0
        except BadConfiguration as error:
            refused = error
        if refused is not None:
            assert str(stored) in refused.what
            told += 1
    assert 0 < told < count


LINES = [
    *[f"static.security.ca_cert = {value}" for value in ("0", "1", "2", "", "%NULL%")],
    *["sip.tls_listen_port = 5071", "security.cn_validation=1", "# comment", "account.1.label = Ä", ""],
    *["static.trusted_certificates.delete = http://localhost/all", "static.trusted_certificates.url = ca.pem"],
    "static.server_certificates.delete = http://localhost/all",
]


@pytest.mark.parametrize("count", rounds(300, 10_000))
def test_a_mutated_configuration_is_followed_or_told(tmp_path: Path, count: int) -> None:
    dice = random.Random(942)
    flash = Flash(tmp_path / "phone")
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    told = 0
    for _ in range(count):
        lines = [VERSION_LINE, *(dice.choice(LINES) for _ in range(8))]
        data = "\n".join(lines).encode()
        (tmp_path / "phone.cfg").write_bytes(wounded(data, dice) if dice.random() < 0.9 else data)
        refused = None
        try:
            done = provision(flash, tmp_path / "phone.cfg", NOW)
            assert Settings.read(flash).ca_cert == done.settings.ca_cert
        except BadConfiguration as error:
            refused = error
        if refused is not None:
            assert "phone.cfg" in refused.what
            told += 1
        stored = flash.read(FILE)
        assert stored is None or stored.startswith(VERSION_LINE.encode())
    assert 0 < told < count
