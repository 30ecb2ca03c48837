"""CRL files of every kind, and what an operator is told about those that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sipsua.errors import BadConfiguration
from sipsua.testing.pki import CertificateAuthority
from sipsua.testing.revocation import crl
from sipsua.trust.crl import CrlList
from sipsua.trust.store import comparable

ROOT = CertificateAuthority("Root")
OTHER = CertificateAuthority("Other")
FIRST, SECOND = crl(ROOT), crl(OTHER)


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER)


def test_files_of_pem_of_several_and_of_der_are_one_list_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.der").write_bytes(FIRST + b"text between\n" + SECOND)
    (tmp_path / "b.pem").write_bytes(der(FIRST))
    crls = CrlList.from_files(tmp_path / "a.der", tmp_path / "b.pem")
    assert [one.issuer.rfc4514_string() for one in crls] == ["CN=Root", "CN=Other", "CN=Root"]
    assert str(crls) == "3 CRLs"
    assert str(CrlList.from_pem(FIRST.decode())) == "1 CRL"


def test_crls_are_found_by_their_issuer() -> None:
    crls = CrlList.from_pem(FIRST + SECOND)
    assert [one.issuer for one in crls.find(comparable(OTHER.certificate.subject))] == [OTHER.certificate.subject]
    assert crls.find(comparable(ROOT.intermediate("Nobody").certificate.subject)) == ()


BAD = {
    "empty": (b" \n", "is empty"),
    "a certificate": (ROOT.pem, "holds no certificate revocation list"),
    "text": (b"hello", "holds no certificate revocation list"),
    "nothing but beginnings": (b"-----BEGIN X509 CRL-----\n" * 180_000, "holds no certificate revocation list"),
    "cut off": (der(FIRST)[:-9], "holds no certificate revocation list"),
    "broken in one block of two": (FIRST + SECOND.replace(b"M", b"N", 1), "holds no certificate revocation list"),
}


@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD.keys())
def test_file_that_holds_no_crl_is_named(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.crl").write_bytes(data)
    with pytest.raises(BadConfiguration, match=words) as caught:
        CrlList.from_files(tmp_path / "bad.crl")
    assert str(tmp_path / "bad.crl") in caught.value.what
    assert caught.value.fix


def test_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="there is no file"):
        CrlList.from_files(tmp_path / "none.crl")


@pytest.mark.parametrize("data", [None, 5, ["x"]])
def test_what_is_neither_text_nor_bytes_is_told(data: Any) -> None:
    with pytest.raises(BadConfiguration):
        CrlList.from_pem(data)
