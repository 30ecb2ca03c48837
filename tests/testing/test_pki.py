from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from sipsua.errors import Misuse
from sipsua.testing.pki import CertificateAuthority, extension, self_signed


def verify(root: CertificateAuthority, leaf: x509.Certificate, chain: tuple[x509.Certificate, ...], name: str) -> None:
    """The strictest verifier at hand is the judge of what is sound."""
    verifier = PolicyBuilder().store(Store([root.certificate])).build_server_verifier(x509.DNSName(name))
    verifier.verify(leaf, list(chain))


def test_defaults_satisfy_a_strict_verifier() -> None:
    authority = CertificateAuthority()
    issued = authority.issue("sip.example.com")
    verify(authority, issued.certificate, issued.chain, "sip.example.com")


def test_two_intermediates_satisfy_a_strict_verifier_and_the_chain_has_no_root() -> None:
    root = CertificateAuthority("root")
    upper = root.intermediate("upper", path_length=1)
    lower = upper.intermediate("lower", path_length=0)
    issued = lower.issue("sip.example.com")
    assert issued.chain == (lower.certificate, upper.certificate)
    verify(root, issued.certificate, issued.chain, "sip.example.com")


def test_rsa_all_the_way_satisfies_a_strict_verifier() -> None:
    authority = CertificateAuthority(key="rsa")
    issued = authority.issue("sip.example.com", key="rsa")
    verify(authority, issued.certificate, issued.chain, "sip.example.com")
    assert isinstance(issued.key, rsa.RSAPrivateKey)
    assert issued.key.key_size == 2048


def test_names_become_dns_ip_and_uri_entries() -> None:
    issued = CertificateAuthority().issue("*.example.com", "192.0.2.1", "2001:db8::1", uris=["sip:example.com"])
    names = issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [
        x509.DNSName("*.example.com"),
        x509.IPAddress(ip_address("192.0.2.1")),
        x509.IPAddress(ip_address("2001:db8::1")),
        x509.UniformResourceIdentifier("sip:example.com"),
    ]
    assert issued.certificate.subject.rfc4514_string() == "CN=*.example.com"


def test_common_name_without_names_makes_no_subject_alternative_name() -> None:
    certificate = CertificateAuthority().issue(common_name="sip.example.com").certificate
    assert certificate.subject.rfc4514_string() == "CN=sip.example.com"
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_empty_common_name_makes_an_empty_subject_and_a_critical_alternative_name() -> None:
    certificate = CertificateAuthority().issue("sip.example.com", common_name="").certificate
    assert not list(certificate.subject)
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_name_longer_than_a_common_name_may_be_is_cut_in_the_subject_only() -> None:
    name = "a" * 60 + ".example.com"
    certificate = CertificateAuthority().issue(name).certificate
    assert certificate.subject.rfc4514_string() == f"CN={name[:64]}"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [name]


def test_validity_purposes_and_ca_flag_bend_as_asked() -> None:
    yesterday = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    authority = CertificateAuthority()
    expired = authority.issue(
        "a", not_before=yesterday - timedelta(days=9), not_after=yesterday, purposes=(), ca=True
    ).certificate
    assert expired.not_valid_after_utc == yesterday
    assert expired.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        expired.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    for_clients = authority.issue("a", purposes=("client",)).certificate
    assert list(for_clients.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]


def test_extension_is_overridden_added_and_omitted() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    no_ca = CertificateAuthority().intermediate(
        extensions=[extension(x509.BasicConstraints(ca=False, path_length=None)), extension(unknown, critical=True)],
        omit=[x509.AuthorityKeyIdentifier.oid],
    )
    kinds = no_ca.certificate.extensions
    assert not kinds.get_extension_for_class(x509.BasicConstraints).value.ca
    assert kinds.get_extension_for_oid(x509.ObjectIdentifier("1.2.3.4")).critical
    with pytest.raises(x509.ExtensionNotFound):
        kinds.get_extension_for_class(x509.AuthorityKeyIdentifier)


def test_authority_outlives_what_it_issues_unless_told_otherwise() -> None:
    root = CertificateAuthority()
    for authority in (root, root.intermediate()):
        leaf = authority.issue("a").certificate
        assert authority.certificate.not_valid_before_utc < leaf.not_valid_before_utc
        assert leaf.not_valid_after_utc < authority.certificate.not_valid_after_utc
    end = datetime(2020, 1, 1, tzinfo=UTC)
    old = CertificateAuthority(not_before=end - timedelta(days=1), not_after=end)
    assert old.certificate.not_valid_after_utc == end


@pytest.mark.parametrize(
    ("digest", "hashing", "algorithm"),
    [
        ("sha1", hashes.SHA1(), x509.SignatureAlgorithmOID.RSA_WITH_SHA1),
        ("md5", hashes.MD5(), x509.SignatureAlgorithmOID.RSA_WITH_MD5),
    ],
)
def test_weak_keys_and_signatures_are_made_when_asked_for(
    digest: str, hashing: hashes.SHA1 | hashes.MD5, algorithm: x509.ObjectIdentifier
) -> None:
    authority = CertificateAuthority(key="rsa")
    issued = authority.issue("a", key="rsa1024", digest=digest)
    assert isinstance(issued.key, rsa.RSAPrivateKey)
    assert issued.key.key_size == 1024
    assert issued.certificate.signature_algorithm_oid == algorithm
    public = authority.certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(issued.certificate.signature, issued.certificate.tbs_certificate_bytes, padding.PKCS1v15(), hashing)


@pytest.mark.parametrize("digest", ["sha1", "md5"])
def test_old_digest_of_an_authority_with_an_ec_key_is_misuse(digest: str) -> None:
    with pytest.raises(Misuse, match="RSA"):
        CertificateAuthority().issue("a", digest=digest)


def test_serial_number_is_the_one_that_was_asked_for() -> None:
    assert CertificateAuthority().issue("a", serial=7).certificate.serial_number == 7


def test_unknown_kind_of_key_is_misuse() -> None:
    with pytest.raises(Misuse, match="'dsa'"):
        CertificateAuthority(key="dsa")


def test_self_signed_is_its_own_issuer() -> None:
    issued = self_signed("pbx.example.com")
    assert issued.chain == ()
    assert issued.certificate.issuer == issued.certificate.subject
    issued.certificate.verify_directly_issued_by(issued.certificate)


def test_authorities_of_one_name_and_key_sign_alike_with_another_key_they_do_not() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first, again, other = (CertificateAuthority("same", key=kind) for kind in (key, key, "ec"))
    certificate = first.issue("a").certificate
    certificate.verify_directly_issued_by(again.certificate)
    with pytest.raises(InvalidSignature):
        certificate.verify_directly_issued_by(other.certificate)


def test_written_files_load_again_and_the_key_is_private(tmp_path: Path) -> None:
    root = CertificateAuthority()
    issued = root.intermediate().issue("a")
    files = issued.write(tmp_path, "pbx")
    assert (files.certificate, files.key) == (tmp_path / "pbx.pem", tmp_path / "pbx.key")
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert x509.load_pem_x509_certificates(files.certificate.read_bytes()) == [issued.certificate, *issued.chain]
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    assert key.public_key() == issued.certificate.public_key()
    assert x509.load_pem_x509_certificate(root.write(tmp_path / "ca.pem").read_bytes()) == root.certificate
    issued.write(tmp_path, "pbx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "pbx.key", "pbx.pem"]


def test_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "server.key").mkdir()
    with pytest.raises(IsADirectoryError):
        self_signed("a").write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["server.key"]


def test_repr_shows_no_key() -> None:
    issued = self_signed("a")
    assert repr(issued) == "<Issued CN=a>"
    assert repr(CertificateAuthority("root")) == "<CertificateAuthority root>"
