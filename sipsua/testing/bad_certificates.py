"""Servers whose certificates are bad: their validity, their chain, what they may be used for, how strong they are, whether they can
be read.

Each `make_…` and each lambda of the table below makes a PKI that is sound but for one thing. Where a chain has an intermediate, the fault
of the leaf is not also one of the chain, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from sipsua.testing.bad_case import (
    GOOD,
    INTERMEDIATE,
    ROOT,
    Case,
    Kind,
    Must,
    Setup,
    Site,
    ago,
    cases_of,
    good,
    good_tls12,
    only,
    refused,
    shown,
    warned,
)
from sipsua.testing.huge_key import huge_key
from sipsua.testing.pki import CertificateAuthority, extension, key_usage, self_signed
from sipsua.trust.policy import TlsVersion
from sipsua.trust.verdict import ProblemCode


def three(
    *,
    root: dict[str, Any] | None = None,
    intermediate: dict[str, Any] | None = None,
    leaf: dict[str, Any] | None = None,
) -> Callable[[Site], Setup]:
    """Root, intermediate and leaf for the names of a site, each bent by the arguments that `pki` takes."""

    def make(site: Site) -> Setup:
        top = CertificateAuthority(ROOT, **root or {})
        middle = top.intermediate(INTERMEDIATE, **intermediate or {})
        return shown(site, middle.issue(site.name, site.address, **leaf or {}), top)

    return make


def make_self_signed(site: Site) -> Setup:
    return shown(site, self_signed(site.name, site.address), CertificateAuthority(ROOT))


def make_self_signed_ca(site: Site) -> Setup:
    return shown(site, self_signed(site.name, site.address, ca=True), CertificateAuthority(ROOT))


def make_untrusted_root(site: Site) -> Setup:
    return replace(good(site), anchors=(CertificateAuthority("another root").certificate,))


def make_root_of_same_name(site: Site) -> Setup:
    return replace(good(site), anchors=(CertificateAuthority(ROOT).certificate,))


def make_untrusted_root_sent(site: Site) -> Setup:
    setup = good(site)
    return replace(
        setup, chain=(*setup.chain, *setup.anchors), anchors=(CertificateAuthority("another root").certificate,)
    )


def make_root_sent(site: Site) -> Setup:
    setup = good(site)
    return replace(setup, chain=(*setup.chain, *setup.anchors))


def make_incomplete(site: Site) -> Setup:
    return replace(good(site), chain=())


def make_incomplete_below(site: Site) -> Setup:
    """Of two intermediates the lower one, which the leaf's issuer is, is not sent."""
    root = CertificateAuthority(ROOT)
    upper = root.intermediate("upper intermediate")
    leaf = upper.intermediate("lower intermediate").issue(site.name, site.address)
    return shown(site, leaf, root, chain=(upper.certificate,))


def make_incomplete_with_aia(site: Site) -> Setup:
    root = CertificateAuthority(ROOT)
    where = x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://ca.invalid/intermediate.cer")
    )
    access = extension(x509.AuthorityInformationAccess([where]))
    leaf = root.intermediate(INTERMEDIATE).issue(site.name, site.address, extensions=[access])
    return shown(site, leaf, root, chain=())


def make_out_of_order(site: Site) -> Setup:
    root = CertificateAuthority(ROOT)
    leaf = root.intermediate("upper intermediate").intermediate("lower intermediate").issue(site.name, site.address)
    return shown(site, leaf, root, chain=tuple(reversed(leaf.chain)))


def make_stranger(site: Site) -> Setup:
    setup = good(site)
    stranger = CertificateAuthority("another root").intermediate("stranger").certificate
    return replace(setup, chain=(*setup.chain, stranger))


def make_huge_chain(site: Site) -> Setup:
    setup = good(site)
    return replace(setup, chain=setup.chain * 300)


def make_cross_signed(site: Site) -> Setup:
    """The trap of 2021: the new root is trusted, and the chain that is sent goes on from it to an old root, which has expired."""
    old = CertificateAuthority("old root", not_before=ago(3650), not_after=ago(1))
    new = CertificateAuthority("new root")
    crossed = CertificateAuthority("new root", issuer=old, key=new.key)
    leaf = new.intermediate(INTERMEDIATE).issue(site.name, site.address)
    return shown(site, leaf, new, old, chain=(*leaf.chain, crossed.certificate))


def flipped(certificate: x509.Certificate) -> x509.Certificate:
    """The certificate with the last octet of its signature changed."""
    der = bytearray(certificate.public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_certificate(bytes(der))


def constrained(permitted: str | None = None, excluded: str | None = None) -> Callable[[Site], Setup]:
    """An intermediate that may issue for these DNS names only, or not for those."""

    def make(site: Site) -> Setup:
        subtrees = x509.NameConstraints(
            [x509.DNSName(permitted)] if permitted else None, [x509.DNSName(site.fill(excluded))] if excluded else None
        )
        return three(intermediate={"extensions": [extension(subtrees, critical=True)]})(site)

    return make


def make_bad_signature(site: Site) -> Setup:
    setup = good(site)
    return replace(setup, leaf=replace(setup.leaf, certificate=flipped(setup.leaf.certificate)))


def make_bad_signature_of_ca(site: Site) -> Setup:
    setup = good(site)
    return replace(setup, chain=tuple(map(flipped, setup.chain)))


_control, _validity, _chain = cases_of(Kind.CONTROL), cases_of(Kind.VALIDITY), cases_of(Kind.CHAIN)
_purpose, _strength, _form = cases_of(Kind.PURPOSE), cases_of(Kind.STRENGTH), cases_of(Kind.FORM)

_PAST = {"not_before": datetime(2020, 1, 1, tzinfo=UTC), "not_after": datetime(2021, 1, 1, tzinfo=UTC)}
_FUTURE = {"not_before": datetime(2090, 1, 1, tzinfo=UTC), "not_after": datetime(2091, 1, 1, tzinfo=UTC)}
_UNKNOWN = extension(
    x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), critical=True
)
_CLIENT_ONLY = extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))


_EXPIRED, _NOT_YET, _UNKNOWN_CA = "certificate_expired", "bad_certificate", "unknown_ca"

CERTIFICATE_CASES: tuple[Case, ...] = (
    _control("good", "Nothing is wrong with it.", good, GOOD),
    _control("good-tls-1.2", "Nothing is wrong with it; it speaks TLS 1.2.", good_tls12, GOOD),
    _control("good-tls-1.3", "Nothing is wrong with it; it speaks TLS 1.3.", only(TlsVersion.TLS1_3), GOOD),
    _control("root-sent", "It sends its root too, which is allowed and of no use.", make_root_sent, GOOD),
    _control(
        "rsa-8192",
        "Its key is RSA with 8192 bits: slow, and right.",
        lambda site: three(leaf={"key": huge_key()})(site),
        GOOD,
    ),
    _validity(
        "expired-leaf", "Its certificate has expired.", three(leaf=_PAST), refused(ProblemCode.EXPIRED, _EXPIRED)
    ),
    _validity(
        "expired-intermediate",
        "The intermediate has expired.",
        three(intermediate=_PAST),
        refused(ProblemCode.EXPIRED, _EXPIRED),
    ),
    _validity(
        "expired-root", "The trusted root has expired.", three(root=_PAST), refused(ProblemCode.EXPIRED, _EXPIRED)
    ),
    _validity(
        "not-yet-valid-leaf",
        "Its certificate is not valid yet.",
        three(leaf=_FUTURE),
        refused(ProblemCode.NOT_YET_VALID, _NOT_YET),
    ),
    _validity(
        "not-yet-valid-intermediate",
        "The intermediate is not valid yet.",
        three(intermediate=_FUTURE),
        refused(ProblemCode.NOT_YET_VALID, _NOT_YET),
    ),
    _chain(
        "self-signed",
        "Its certificate is signed by itself.",
        make_self_signed,
        refused(ProblemCode.SELF_SIGNED, _UNKNOWN_CA),
    ),
    _chain(
        "self-signed-ca",
        "Its certificate is signed by itself, and says that it is a CA.",
        make_self_signed_ca,
        refused(ProblemCode.SELF_SIGNED, _UNKNOWN_CA),
    ),
    _chain(
        "untrusted-root",
        "Its root is not trusted.",
        make_untrusted_root,
        refused(ProblemCode.UNKNOWN_ISSUER, _UNKNOWN_CA),
    ),
    _chain(
        "untrusted-root-sent",
        "Its root is not trusted, and it sends it.",
        make_untrusted_root_sent,
        refused(ProblemCode.UNKNOWN_ISSUER, _UNKNOWN_CA),
    ),
    _chain(
        "root-of-same-name",
        "Its root has the name of the trusted one, and another key.",
        make_root_of_same_name,
        refused(ProblemCode.UNKNOWN_ISSUER, _UNKNOWN_CA),
    ),
    _chain(
        "incomplete-chain",
        "It sends its leaf only, and not the intermediate.",
        make_incomplete,
        refused(ProblemCode.UNKNOWN_ISSUER, _UNKNOWN_CA),
    ),
    _chain(
        "incomplete-chain-aia",
        "It sends its leaf only, which says where the intermediate is published.",
        make_incomplete_with_aia,
        refused(ProblemCode.INCOMPLETE_CHAIN, _UNKNOWN_CA),
    ),
    _chain(
        "incomplete-chain-gap",
        "Of two intermediates it does not send the lower one.",
        make_incomplete_below,
        refused(ProblemCode.INCOMPLETE_CHAIN, _UNKNOWN_CA),
    ),
    _chain(
        "out-of-order",
        "It sends its two intermediates the wrong way round.",
        make_out_of_order,
        warned(ProblemCode.OUT_OF_ORDER),
    ),
    _chain(
        "stranger-in-chain",
        "It sends a certificate that has nothing to do with it.",
        make_stranger,
        warned(ProblemCode.STRANGER),
    ),
    _chain(
        "huge-chain",
        "It sends 300 certificates, more than 100 KB.",
        make_huge_chain,
        Must(exit_codes=(12,), alert="illegal_parameter"),
    ),
    _chain(
        "cross-signed-expired-root",
        "The chain that it sends ends in a root that has expired; its intermediate leads to a trusted one too (the trap of 2021).",
        make_cross_signed,
        warned(ProblemCode.STRANGER),
    ),
    _chain(
        "cross-signed-expired-root-legacy",
        "The same, for a phone that follows the chain as it is sent.",
        make_cross_signed,
        refused(ProblemCode.EXPIRED, _EXPIRED),
        legacy_path=True,
    ),
    _purpose(
        "eku-client-only",
        "Its certificate is for clients only.",
        three(leaf={"purposes": ("client",)}),
        refused(ProblemCode.WRONG_PURPOSE, "unsupported_certificate"),
    ),
    _purpose(
        "eku-of-ca-client-only",
        "The intermediate may issue for clients only.",
        three(intermediate={"extensions": [_CLIENT_ONLY]}),
        refused(ProblemCode.WRONG_PURPOSE, "unsupported_certificate"),
    ),
    _purpose(
        "key-usage-without-signature",
        "The key usage of its certificate allows neither signing nor key exchange.",
        three(leaf={"extensions": [extension(key_usage("content_commitment"), critical=True)]}),
        refused(ProblemCode.WRONG_PURPOSE, "unsupported_certificate"),
    ),
    _purpose(
        "key-usage-of-ca",
        "The key usage of the intermediate lacks keyCertSign.",
        three(intermediate={"extensions": [extension(key_usage("crl_sign"), critical=True)]}),
        refused(ProblemCode.NOT_A_CA, _UNKNOWN_CA),
    ),
    _purpose(
        "not-a-ca",
        "The intermediate says that it is no CA.",
        three(
            intermediate={"extensions": [extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)]}
        ),
        refused(ProblemCode.NOT_A_CA, _UNKNOWN_CA),
    ),
    _purpose(
        "no-basic-constraints",
        "The intermediate does not say whether it is a CA.",
        three(intermediate={"omit": [x509.BasicConstraints.oid]}),
        refused(ProblemCode.NOT_A_CA, _UNKNOWN_CA),
    ),
    _purpose(
        "path-length",
        "The root allows no intermediate below it, and there is one.",
        three(root={"path_length": 0}),
        refused(ProblemCode.PATH_TOO_LONG, _UNKNOWN_CA),
    ),
    _purpose(
        "name-constraints-permitted",
        "The intermediate may issue for another domain only.",
        constrained(permitted="example.net"),
        refused(ProblemCode.NAME_NOT_PERMITTED, "certificate_unknown"),
    ),
    _purpose(
        "name-constraints-excluded",
        "The intermediate must not issue for this domain.",
        constrained(excluded="{parent}"),
        refused(ProblemCode.NAME_NOT_PERMITTED, "certificate_unknown"),
    ),
    _purpose(
        "unknown-critical-extension",
        "Its certificate has a critical extension that nobody knows.",
        three(leaf={"extensions": [_UNKNOWN]}),
        refused(ProblemCode.UNKNOWN_CRITICAL_EXTENSION, "certificate_unknown"),
    ),
    _purpose(
        "unknown-critical-extension-of-ca",
        "The intermediate has a critical extension that nobody knows.",
        three(intermediate={"extensions": [_UNKNOWN]}),
        refused(ProblemCode.UNKNOWN_CRITICAL_EXTENSION, "certificate_unknown"),
    ),
    _strength(
        "weak-key",
        "Its key is RSA with 1024 bits.",
        three(leaf={"key": "rsa1024"}),
        refused(ProblemCode.WEAK_KEY, "bad_certificate"),
    ),
    _strength(
        "weak-key-of-ca",
        "The key of the intermediate is RSA with 1024 bits.",
        three(intermediate={"key": "rsa1024"}),
        refused(ProblemCode.WEAK_KEY, "bad_certificate"),
    ),
    *(
        _strength(
            f"weak-signature-{digest}",
            f"Its certificate is signed with {digest.upper()}.",
            three(intermediate={"key": "rsa"}, leaf={"digest": digest}),
            refused(ProblemCode.WEAK_SIGNATURE, "bad_certificate"),
        )
        for digest in ("sha1", "md5")
    ),
    _form(
        "bad-signature",
        "A bit of the signature on its certificate is changed.",
        make_bad_signature,
        refused(ProblemCode.BAD_SIGNATURE, "decrypt_error"),
    ),
    _form(
        "bad-signature-of-ca",
        "A bit of the signature on the intermediate is changed.",
        make_bad_signature_of_ca,
        refused(ProblemCode.BAD_SIGNATURE, "decrypt_error"),
    ),
    _form(
        "malformed-extension",
        "The subjectAltName of its certificate is garbage.",
        three(
            leaf={"extensions": [extension(x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\xa5" * 20))]}
        ),
        refused(ProblemCode.MALFORMED, "unknown_ca"),
    ),
)
