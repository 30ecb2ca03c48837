"""Trust lists from files of every kind, and what an operator is told about those that are none."""

from __future__ import annotations

import gc
import os
import weakref
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509, X509StoreContext, X509StoreContextError

from sipsua.errors import BadConfiguration
from sipsua.testing.pki import CertificateAuthority, self_signed
from sipsua.trust.policy import Policy
from sipsua.trust.store import MAXIMUM_FILE_SIZE, TrustList

ROOT = CertificateAuthority("Root A")
OTHER = CertificateAuthority("Root B")

VERSION_3 = b"\xa0\x03\x02\x01\x02"


def der(authority: CertificateAuthority) -> bytes:
    return authority.certificate.public_bytes(Encoding.DER)


def test_pem_bundle_yields_all_its_anchors_in_order(tmp_path: Path) -> None:
    (tmp_path / "both.pem").write_bytes(b"# a comment\n" + ROOT.pem + b"text between\n" + OTHER.pem)
    anchors = TrustList.from_files(tmp_path / "both.pem")
    assert [anchor.subject for anchor in anchors] == ["CN=Root A", "CN=Root B"]
    assert [anchor.path for anchor in anchors] == [str(tmp_path / "both.pem")] * 2
    assert {anchor.origin for anchor in anchors} == {"custom"}
    assert str(anchors) == "2 trust anchors"


def test_content_and_not_the_file_name_decides_between_pem_and_der(tmp_path: Path) -> None:
    (tmp_path / "der.pem").write_bytes(der(ROOT))
    (tmp_path / "pem.der").write_bytes(OTHER.pem)
    assert [anchor.der for anchor in TrustList.from_files(tmp_path / "der.pem", tmp_path / "pem.der")] == [
        der(ROOT),
        der(OTHER),
    ]


def test_same_certificate_twice_is_one_anchor_of_the_first_origin() -> None:
    built_in = TrustList.from_pem(ROOT.pem, origin="built-in")
    together = TrustList.union(built_in, TrustList.from_pem(ROOT.pem + OTHER.pem + ROOT.pem))
    assert [(anchor.subject, anchor.origin) for anchor in together] == [
        ("CN=Root A", "built-in"),
        ("CN=Root B", "custom"),
    ]


def test_empty_list_says_so_and_is_still_a_list() -> None:
    assert str(TrustList.empty()) == "no trust anchors"
    assert len(TrustList.empty()) == 0
    assert TrustList.empty()
    assert str(TrustList.from_pem(ROOT.pem)) == "1 trust anchor"


def test_lists_are_compared_by_identity() -> None:
    one, other = TrustList.from_pem(ROOT.pem), TrustList.from_pem(ROOT.pem)
    assert one != other
    assert len({one, other, one}) == 2


def test_ten_thousand_policies_of_one_list_are_one_policy_to_who_keeps_things_by_it() -> None:
    anchors = TrustList.from_pem(ROOT.pem)
    assert len({Policy(anchors=anchors) for _ in range(10_000)}) == 1


def test_anchor_is_found_by_name_whatever_its_case_and_white_space() -> None:
    anchors = TrustList.from_pem(ROOT.pem + CertificateAuthority("Root A").pem)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ROOT   a")])
    assert len(anchors.find(name)) == 2
    assert anchors.find(OTHER.certificate.subject) == ()


def test_anchor_is_found_by_its_bytes() -> None:
    anchors = TrustList.from_pem(ROOT.pem)
    anchor = anchors.anchor(der(ROOT))
    assert anchor is not None
    assert (
        anchor.fingerprint
        == x509.load_pem_x509_certificate(ROOT.pem)
        .fingerprint(
            x509.load_pem_x509_certificate(ROOT.pem).signature_hash_algorithm  # type: ignore[arg-type]
        )
        .hex()
    )
    assert anchors.anchor(der(OTHER)) is None


def test_intermediate_given_as_anchor_is_trusted_without_its_root() -> None:
    intermediate = ROOT.intermediate()
    leaf = X509.from_cryptography(intermediate.issue("sip.example.com").certificate)
    store = TrustList.from_pem(intermediate.pem).store_at(datetime.now(UTC))
    assert len(X509StoreContext(store, leaf).get_verified_chain()) == 2


def test_leaf_given_as_anchor_is_trusted() -> None:
    issued = ROOT.issue("sip.example.com")
    store = TrustList.from_pem(issued.certificate_pem).store_at(datetime.now(UTC))
    X509StoreContext(store, X509.from_cryptography(issued.certificate)).verify_certificate()


def test_store_at_judges_dates_as_of_that_time_whatever_the_zone() -> None:
    leaf = X509.from_cryptography(ROOT.issue("sip.example.com").certificate)
    with pytest.raises(X509StoreContextError, match="expired"):
        X509StoreContext(
            TrustList.from_pem(ROOT.pem).store_at(datetime(2099, 1, 1, tzinfo=UTC)), leaf
        ).verify_certificate()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hello", "neither a PEM nor a DER certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 of 1"),
        (ROOT.pem + b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", "certificate 2 of 2"),
        (ROOT.pem[:20], "holds no certificate but an unfinished PEM block"),
        (ROOT.pem[:200], "is cut off: END CERTIFICATE is missing"),
        (ROOT.pem + OTHER.pem[:200], "is cut off: END CERTIFICATE is missing"),
        (ROOT.pem[:200] + b"\n" + OTHER.pem, "is cut off: END CERTIFICATE is missing"),
        (ROOT.pem[:200] + b"\n" + OTHER.pem + b"-----END CERTIFICATE-----\n", "is cut off: END CERTIFICATE is missing"),
        (b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", "PKCS7"),
        (der(ROOT) + b"\0", "neither a PEM nor a DER certificate"),
        (der(ROOT).replace(VERSION_3, b"\xa0\x03\x02\x01\x01"), "neither a PEM nor a DER certificate"),
    ],
)
def test_file_without_a_certificate_is_a_configuration_error(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(BadConfiguration, match=says) as caught:
        TrustList.from_files(path)
    assert str(path) in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("encrypted", [False, True])
def test_private_key_by_mistake_is_recognized_and_not_shown(
    tmp_path: Path, encoding: Encoding, encrypted: bool
) -> None:
    key = ROOT.key.private_bytes(
        encoding, PrivateFormat.PKCS8, BestAvailableEncryption(b"x") if encrypted else NoEncryption()
    )
    path = tmp_path / "ca.pem"
    path.write_bytes(key)
    with pytest.raises(BadConfiguration, match="private key") as caught:
        TrustList.from_files(path)
    lines = [line.decode("latin-1") for line in key.split(b"\n") if line and not line.startswith(b"-----")]
    assert not any(line in str(caught.value) for line in lines)


def test_key_beside_the_certificate_is_passed_over() -> None:
    issued = self_signed("sip.example.com")
    assert len(TrustList.from_pem(issued.key_pem + issued.certificate_pem)) == 1


def test_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="there is no file"):
        TrustList.from_files(tmp_path / "absent.pem")


def test_directory_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="cannot read"):
        TrustList.from_files(tmp_path)


def test_path_with_nul_is_a_configuration_error() -> None:
    with pytest.raises(BadConfiguration, match="cannot read"):
        TrustList.from_files("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(ROOT.pem)
    path.chmod(0)
    with pytest.raises(BadConfiguration, match="cannot read"):
        TrustList.from_files(path)


def test_file_of_more_than_5_mb_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(ROOT.pem + b" " * MAXIMUM_FILE_SIZE)
    with pytest.raises(BadConfiguration, match="larger than 5 MB"):
        TrustList.from_files(path)


@pytest.mark.parametrize("path", [["ca.pem"], 5, None])
def test_what_is_no_path_is_a_configuration_error(path: object) -> None:
    with pytest.raises(BadConfiguration, match=f"a path cannot be of type {type(path).__name__} .*each file as an arg"):
        TrustList.from_files(path)  # type: ignore[arg-type]


def test_what_is_no_pem_text_is_a_configuration_error() -> None:
    with pytest.raises(BadConfiguration, match=r"the PEM text of the trust list cannot be of type [A-Za-z]*Path"):
        TrustList.from_pem(Path("ca.pem"))  # type: ignore[arg-type]


def test_equal_unions_are_one_list_however_often_their_parts_were_parsed() -> None:
    parts = [(TrustList.from_pem(ROOT.pem, "built-in"), TrustList.from_pem(OTHER.pem)) for _ in range(3)]
    unions = [TrustList.union(*both) for both in parts]
    assert len(set(unions)) == 1
    assert TrustList.union(*reversed(parts[0])) is not unions[0]
    assert TrustList.union(TrustList.from_pem(ROOT.pem), TrustList.from_pem(OTHER.pem)) is not unions[0]


def test_a_union_that_nobody_holds_is_let_go() -> None:
    union = TrustList.union(TrustList.from_pem(ROOT.pem), TrustList.from_pem(OTHER.pem))
    gone = weakref.ref(union)
    del union
    gc.collect()
    assert gone() is None


def test_bytes_in_memory_are_told_apart_by_the_name_that_is_given() -> None:
    with pytest.raises(BadConfiguration, match="the upload is empty"):
        TrustList.from_pem(b"", where="the upload")


def test_a_certificate_that_only_openssl_refuses_is_named(tmp_path: Path) -> None:
    # What is in a name, here the issuer's, the first parser does not look at.
    broken = der(ROOT).replace(b"Root A", b"R\x80ot A", 1)
    path = tmp_path / "ca.der"
    path.write_bytes(broken)
    with pytest.raises(BadConfiguration) as caught:
        TrustList.from_files(path)
    assert f"CN=Root A in {path} is broken inside" in caught.value.what
    assert "asn1" not in caught.value.what
    with pytest.raises(BadConfiguration, match=r"^the upload: .* OpenSSL does not take it"):
        TrustList.from_pem(broken, where="the upload")


@pytest.mark.parametrize(
    "piece",
    [
        *[b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN X509 CERTIFICATE-----\n", b"-----BEGIN A-----\n"],
        *[b"-----BEGIN PRIVATE KEY-----\n", b"-----BEGIN " + b"A" * 1000, b"-----BEGIN CERTIFICATE-----\n-----END"],
        b"-----BEGIN CERTIFICATE-----\n-----END X509 CERTIFICATE-----\n",
    ],
)
def test_a_file_of_nothing_but_beginnings_is_refused_in_linear_time(piece: bytes) -> None:
    # What takes quadratic time does not come to an end.
    with pytest.raises(BadConfiguration) as caught:
        TrustList.from_pem(piece * (MAXIMUM_FILE_SIZE // len(piece)))
    assert len(caught.value.what) < 300


def test_a_file_of_many_kinds_of_blocks_is_told_in_few_words() -> None:
    with pytest.raises(BadConfiguration, match=r"holds no certificate but A0, A1, A10, A100, A1000 \("):
        TrustList.from_pem(b"".join(b"-----BEGIN A%d-----\n" % number for number in range(2000)))
