"""The chain part of a verdict beside OpenSSL's own answers, on generated chains of every shape and fault.

Two OpenSSLs are asked: the one that this project verifies with, offline, and the system's through Python's `ssl`, in a handshake. What one
of them refuses is never accepted here, and what both accept is. The generator is seeded, so that a disagreement comes again.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL._util import lib
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags

from sipsua.testing.pki import CertificateAuthority, Issued, PrivateKey, extension, self_signed
from sipsua.trust.certificate import parsed
from sipsua.trust.chain import problems
from sipsua.trust.openssl import CODES
from sipsua.trust.path import Path as CertificatePath
from sipsua.trust.policy import NameRule, Policy
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import ProblemCode, Verdict
from sipsua.trust.verifier import judge

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
NAME = "sip.example.com"
SEED = 20211001  # the day after the root of the trap of 2021 expired

EC = [ec.generate_private_key(ec.SECP256R1()) for _ in range(6)]
RSA = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
WEAK: list[PrivateKey] = [
    rsa.generate_private_key(public_exponent=65537, key_size=1024),
    ec.generate_private_key(ec.SECP192R1()),
]

SAME = {
    ProblemCode.UNKNOWN_ISSUER: {
        ProblemCode.UNKNOWN_ISSUER,
        ProblemCode.INCOMPLETE_CHAIN,
        ProblemCode.SELF_SIGNED,
        # OpenSSL goes by key identifiers; of a signature that no candidate made it says that it found no issuer.
        ProblemCode.BAD_SIGNATURE,
        # And it looks for no issuer of, and takes none for, a certificate with an extension that it cannot read.
        ProblemCode.MALFORMED,
    },
    ProblemCode.SELF_SIGNED: {ProblemCode.SELF_SIGNED, ProblemCode.BAD_SIGNATURE},
}
"""Codes that are as good as the one that stands for OpenSSL's error: the same fault, seen more closely."""


@dataclass(frozen=True)
class Case:
    """What a server sends, and what a phone trusts."""

    leaf: Issued
    sent: tuple[x509.Certificate, ...]
    """After the leaf."""
    anchors: tuple[x509.Certificate, ...]
    story: str

    @property
    def chain(self) -> list[x509.Certificate]:
        return [self.leaf.certificate, *self.sent]

    @property
    def trust(self) -> TrustList:
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in self.anchors)
        return TrustList.from_pem(pem) if pem else TrustList.empty()


USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


def usage(*names: str) -> x509.Extension[x509.ExtensionType]:
    kinds = (*USAGES, "encipher_only", "decipher_only")
    return extension(x509.KeyUsage(**{kind: kind in names for kind in kinds}), critical=True)


PURPOSES = [
    [ExtendedKeyUsageOID.SERVER_AUTH],
    [ExtendedKeyUsageOID.CLIENT_AUTH],
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
    [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE],
    [ExtendedKeyUsageOID.OCSP_SIGNING],
    [x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3")],
    [x509.ObjectIdentifier("2.16.840.1.113730.4.1"), ExtendedKeyUsageOID.CODE_SIGNING],
]

SUBTREES: list[x509.GeneralName] = [
    x509.DNSName("example.com"),
    x509.DNSName("example.org"),
    x509.DNSName("sip.example.com"),
    x509.DNSName(".example.com"),
    x509.DNSName(""),
    x509.IPAddress(ip_network("192.0.2.0/24")),
    x509.IPAddress(ip_network("10.0.0.0/8")),
    x509.IPAddress(ip_network("2001:db8::/32")),
    x509.UniformResourceIdentifier("example.com"),
    x509.UniformResourceIdentifier(".example.com"),
    x509.UniformResourceIdentifier("example.org"),
    x509.RFC822Name("example.com"),
    x509.RFC822Name("alice@example.com"),
    x509.DirectoryName(x509.Name([])),
    x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])),
    x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody")])),
]

BROKEN = b"\x30\x03\x82\x01\xff"
ODD: list[x509.Extension[x509.ExtensionType]] = [
    *(
        extension(x509.UnrecognizedExtension(kind.oid, BROKEN), critical=True)
        for kind in (x509.SubjectAlternativeName, x509.BasicConstraints, x509.NameConstraints, x509.KeyUsage)
    ),
    extension(x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(x509.Name([]))], 4711)),
    extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), critical=True),
    extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")),
    extension(
        x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.5.29.32.0"), None)]), critical=True
    ),
    extension(x509.InhibitAnyPolicy(0), critical=True),
    extension(x509.PolicyConstraints(0, None), critical=True),
    extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=True),
    extension(x509.TLSFeature([x509.TLSFeatureType.status_request])),
    extension(x509.OCSPNoCheck(), critical=True),
    extension(x509.IssuerAlternativeName([x509.DNSName("ca.example")]), critical=True),
    extension(
        x509.FreshestCRL([x509.DistributionPoint([x509.UniformResourceIdentifier("http://a/")], None, None, None)])
    ),
    extension(x509.AuthorityKeyIdentifier(b"another key", None, None)),
    extension(x509.SubjectKeyIdentifier(b"yet another key")),
    extension(x509.SubjectAlternativeName([x509.RFC822Name("alice@example.com")])),
    extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("sip:sip.example.com")])),
    extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://sip.example.com:5061/x")]), critical=True
    ),
    extension(x509.SubjectAlternativeName([x509.IPAddress(ip_network("192.0.2.7/32").network_address)])),
    extension(
        x509.SubjectAlternativeName(
            [
                x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody")])),
                x509.DNSName("*.example.com"),
            ]
        )
    ),
]


def bends(random: Random, rate: float, *, authority: bool) -> dict[str, Any]:
    """What is not as it should be, each thing with a probability."""
    result: dict[str, Any] = {"key": random.choice([*EC, *EC, *RSA])}
    extensions: list[x509.Extension[x509.ExtensionType]] = []
    omit: list[x509.ObjectIdentifier] = []
    if random.random() < rate:
        result["not_before"], result["not_after"] = random.choice(
            [(NOW - 9 * DAY, NOW - DAY), (NOW + DAY, NOW + 9 * DAY), (NOW - 4000 * DAY, NOW + 4000 * DAY)]
        )
    if random.random() < rate:
        extensions.append(extension(x509.ExtendedKeyUsage(random.choice(PURPOSES)), critical=random.random() < 0.3))
    if random.random() < rate:
        extensions.append(usage(*random.sample(USAGES, random.randrange(1, 4))))
    if random.random() < rate:
        omit.append(random.choice([x509.KeyUsage.oid, x509.BasicConstraints.oid, x509.ExtendedKeyUsage.oid]))
    if random.random() < rate:
        omit += [x509.SubjectKeyIdentifier.oid, x509.AuthorityKeyIdentifier.oid][random.randrange(2) :]
    if random.random() < rate:
        ca = authority if random.random() < 0.6 else not authority
        length = random.choice([None, 0, 1, 2]) if ca else None
        extensions.append(extension(x509.BasicConstraints(ca=ca, path_length=length), critical=random.random() < 0.8))
    if random.random() < rate and authority:
        trees = random.sample(SUBTREES, random.randrange(1, 4))
        split = random.randrange(len(trees) + 1) if random.random() < 0.3 else len(trees)
        extensions.append(extension(x509.NameConstraints(trees[:split] or None, trees[split:] or None), critical=True))
    if random.random() < rate:
        extensions.append(random.choice(ODD))
    if random.random() < rate / 3:
        result["key"] = random.choice(WEAK)
    if random.random() < rate / 3:
        result["digest"] = random.choice(["sha224", "sha384", "sha1"])
    result["extensions"] = extensions
    result["omit"] = omit
    return result


def sound(issuer: PrivateKey, given: dict[str, Any]) -> dict[str, Any]:
    """Only RSA keys sign with SHA-1 here."""
    if given.get("digest") == "sha1" and not isinstance(issuer, rsa.RSAPrivateKey):
        del given["digest"]
    return given


def tampered(certificate: x509.Certificate, random: Random) -> x509.Certificate:
    """Changed after signing: in the signature, or in a date."""
    der = bytearray(certificate.public_bytes(Encoding.DER))
    if random.random() < 0.5:
        der[-1] ^= 1
    else:
        date = certificate.not_valid_after_utc.strftime("%y%m%d").encode()
        place = bytes(der).find(date)
        if place < 0:
            der[-1] ^= 1
        else:
            der[place + 5] = ord("0") + (der[place + 5] - ord("0") + 1) % 9
    try:
        changed = x509.load_der_x509_certificate(bytes(der))
        changed.not_valid_after_utc  # noqa: B018  a date that there is not raises
    except ValueError:
        return certificate
    return changed


def generate(seed: int) -> Case:
    random = Random(seed)
    rate = random.choice([0.0, 0.03, 0.08, 0.2])
    names = ["A", "B", "C", "D"] if random.random() < 0.9 else ["A", "A", "B", "A"]
    root_bends = bends(random, rate, authority=True)
    root = CertificateAuthority("Root", **sound(root_bends["key"], root_bends))
    authorities = [root]
    for level in range(random.choice([0, 0, 1, 1, 1, 2, 2, 3, 4])):
        issuer = authorities[-1]
        length = random.choice([None, None, None, 0, 1, 2])
        given = sound(issuer.key, bends(random, rate, authority=True))
        authorities.append(CertificateAuthority(names[level], issuer=issuer, path_length=length, **given))
    issuer = authorities[-1]
    given = bends(random, rate, authority=False)
    if random.random() < 0.04:
        leaf = self_signed(NAME, ca=random.random() < 0.5, **sound(given["key"], given))
    else:
        alternative = random.choice([[NAME], [NAME], [NAME, "192.0.2.1"], ["*.example.com"], [], ["sip.example.org"]])
        common_name = random.choice([None, None, NAME, "Somebody", ""]) if alternative else NAME
        leaf = issuer.issue(*alternative, common_name=common_name, **sound(issuer.key, given))
    sent = [one.certificate for one in reversed(authorities[1:])]
    story: list[str] = []

    def happens(probability: float, what: str) -> bool:
        if random.random() < probability:
            story.append(what)
            return True
        return False

    if sent and happens(rate / 2, "tampered intermediate"):
        place = random.randrange(len(sent))
        sent[place] = tampered(sent[place], random)
    if happens(rate / 2, "tampered leaf"):
        leaf = replace(leaf, certificate=tampered(leaf.certificate, random))
    if sent and happens(0.08, "one missing"):
        del sent[random.randrange(len(sent))]
    if happens(0.15, "root sent"):
        sent.append(root.certificate)
    if happens(0.1, "stranger sent"):
        sent.insert(
            random.randrange(len(sent) + 1), CertificateAuthority("Stranger", key=random.choice(EC)).certificate
        )
    if len(authorities) > 1 and happens(0.12, "twin sent"):
        # The same authority once more: renewed, expired, by another issuer, or with another key.
        place = random.randrange(1, len(authorities))
        one = authorities[place]
        twin: dict[str, Any] = {"key": one.key}
        match random.randrange(4):
            case 0:
                twin |= {"not_before": NOW - 9 * DAY, "not_after": NOW - DAY}
            case 1:
                twin["key"] = random.choice(EC)
            case 2:
                twin["path_length"] = 0
        above = (
            authorities[place - 1] if random.random() < 0.7 else CertificateAuthority("Other", key=random.choice(EC))
        )
        made = CertificateAuthority(one.name, issuer=above, **twin).certificate
        sent.insert(random.randrange(len(sent) + 1), made)
    anchors = [root.certificate]
    if happens(0.1, "cross-signed root sent"):
        other = CertificateAuthority(
            "Old root", key=random.choice(EC), not_after=NOW - DAY if random.random() < 0.5 else None
        )
        sent.append(CertificateAuthority("Root", issuer=other, key=root.key).certificate)
        if random.random() < 0.5:
            anchors.append(other.certificate)
            random.shuffle(anchors)
        if random.random() < 0.3:
            sent.append(other.certificate)
    if len(sent) > 1 and happens(0.15, "shuffled"):
        random.shuffle(sent)
    if sent and happens(0.05, "one twice"):
        sent.append(random.choice(sent))
    match random.randrange(14):
        case 0:
            story.append("nothing trusted")
            anchors = []
        case 1:
            story.append("another root of the same name trusted")
            anchors = [CertificateAuthority("Root", key=random.choice(EC)).certificate]
        case 2:
            story.append("another root of the same name trusted too")
            anchors.insert(random.randrange(2), CertificateAuthority("Root", key=random.choice(EC)).certificate)
        case 3:
            story.append("an intermediate trusted")
            anchors = [random.choice(authorities).certificate]
        case 4:
            story.append("the leaf trusted")
            anchors = [leaf.certificate]
        case 5:
            story.append("an expired twin of the root trusted too")
            anchors.insert(
                random.randrange(2),
                CertificateAuthority("Root", key=root.key, not_before=NOW - 9 * DAY, not_after=NOW - DAY).certificate,
            )
        case 6:
            story.append("leaf and root trusted")
            anchors.append(leaf.certificate)
    return Case(leaf, tuple(sent), tuple(anchors), ", ".join(story) or "as it should be")


def openssl(case: Case) -> int:
    """What OpenSSL says offline: 0, or the number of its error."""
    store = X509Store()
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(NOW)
    assert lib.X509_STORE_set_purpose(store._store, lib.X509_PURPOSE_SSL_SERVER) == 1
    for one in case.anchors:
        store.add_cert(X509.from_cryptography(one))
    leaf, *rest = (X509.from_cryptography(one) for one in case.chain)
    try:
        X509StoreContext(store, leaf, rest).verify_certificate()
    except X509StoreContextError as error:
        return int(error.errors[0])
    return 0


def shake(case: Case, file: Path) -> int | None:
    """What the system's OpenSSL says in a handshake, at its security level 2: 0, or the number of its error.

    None where it cannot serve the certificate or load the anchors, as with a P-192 key or a broken extension: nothing is compared then.
    """
    file.write_bytes(case.leaf.key_pem + b"".join(one.public_bytes(Encoding.PEM) for one in case.chain))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.set_ciphers("DEFAULT:@SECLEVEL=0")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.set_ciphers("DEFAULT:@SECLEVEL=2")
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        server.load_cert_chain(file)
        if case.anchors:
            client.load_verify_locations(cadata=b"".join(one.public_bytes(Encoding.DER) for one in case.anchors))
    except ssl.SSLError:
        return None
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    one, other = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    for end in (one, other, one):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            return int(error.verify_code)
        except ssl.SSLError:
            assert end is other
            return None
    assert one.version() is not None
    return 0


def ours(case: Case) -> Verdict:
    policy = Policy(anchors=case.trust, names=NameRule.OFF)
    return judge(case.chain, policy=policy, reference=NAME, at=NOW)


def disagreement(case: Case, verdict: Verdict, errno: int) -> str | None:
    """Why our verdict does not go with OpenSSL's answer, where it does not."""
    codes = {one.code for one in verdict.problems}
    if errno == 0:
        # OpenSSL looks at keys and signatures in a handshake only.
        strange = codes - {ProblemCode.WEAK_KEY, ProblemCode.WEAK_SIGNATURE}
        # What explains refusals has nothing to say of what is good.
        trust = case.trust
        path = CertificatePath.built(
            [one.der for one in verdict.path], [parsed(one.der) for one in verdict.chain], trust
        )
        # But for this: OpenSSL takes a DNS name with octets that are not ASCII, and leaves unread what it does not need of a pinned leaf.
        strange |= {one.code for one in problems(path, NOW)} - {ProblemCode.MALFORMED}
        if not strange and path.anchor is None:
            return "accepted without an anchor"
        return f"refused: {sorted(strange)}" if strange else None
    if verdict.accepted:
        return f"accepted, error {errno}"
    code = CODES[errno]
    if codes.isdisjoint(SAME.get(code, {code})):
        return f"error {errno} ({code}) became {sorted(codes)}"
    # Where one extension cannot be read, `cryptography` shows none: of what OpenSSL saw in the others we have its words only.
    blind = ProblemCode.MALFORMED in codes
    if not blind and any(one.evidence.startswith("OpenSSL refuses") for one in verdict.problems):
        return f"error {errno} ({code}) is not explained, beside {sorted(codes)}"
    return None


def differences(seeds: Iterable[int]) -> list[str]:
    """Where we do not go with OpenSSL, one line for each seed."""
    found = []
    for seed in seeds:
        case = generate(seed)
        if (why := disagreement(case, ours(case), openssl(case))) is not None:
            found.append(f"seed {seed} ({case.story}): {why}")
    return found


@pytest.mark.parametrize("block", range(20))
def test_verdicts_agree_with_openssl_offline(block: int) -> None:
    assert differences(range(SEED + 100 * block, SEED + 100 * (block + 1))) == []


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_verdicts_agree_with_openssl_offline_on_very_many_chains() -> None:
    assert differences(range(SEED + 2_000, SEED + 12_000)) == []


def test_generated_chains_are_of_all_kinds() -> None:
    errors = Counter(openssl(generate(seed)) for seed in range(SEED, SEED + 600))
    assert 200 < errors[0] < 400
    assert set(errors) >= {7, 9, 10, 18, 19, 20, 25, 26, 34, 47, 79}


def test_verdicts_agree_with_the_openssl_of_the_system_in_handshakes(tmp_path: Path) -> None:
    found, compared = [], 0
    for seed in range(SEED, SEED + 400):
        case = generate(seed)
        if (errno := shake(case, tmp_path / "server.pem")) is None:
            continue
        compared += 1
        verdict = ours(case)
        codes, code = {one.code for one in verdict.problems}, CODES.get(errno)
        if verdict.accepted is not (errno == 0) or (code is not None and codes.isdisjoint(SAME.get(code, {code}))):
            found.append(f"seed {seed} ({case.story}): error {errno} became {sorted(codes)}")
    assert found == []
    assert compared > 370
