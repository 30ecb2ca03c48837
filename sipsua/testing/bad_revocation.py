"""Servers whose certificates are revoked, or of which nobody says whether they are: by revocation lists, and by stapled OCSP responses.

What "nobody says" means is the client's choice, so those cases ask for a client that wants to be sure (`revocation="hard"`); one that goes
on without an answer has only to warn.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509

from sipsua.testing.bad_case import (
    GOOD,
    INTERMEDIATE,
    ROOT,
    Case,
    Kind,
    Setup,
    Site,
    ago,
    cases_of,
    refused,
    shown,
    warned,
)
from sipsua.testing.pki import CertificateAuthority, Issued, extension
from sipsua.testing.revocation import MUST_STAPLE, crl, delegate, ocsp_response
from sipsua.trust.verdict import ProblemCode

GARBAGE = bytes.fromhex("301d 0a0100 a018 3016 0609 2b0601050507300101 0409") + b"\xa5" * 9
"""An OCSPResponse (RFC 6960 section 4.2.1) that is `successful`, and whose BasicOCSPResponse is garbage."""


def make_crl_case(
    *,
    leaf: bool = False,
    intermediate: bool = False,
    stranger: bool = False,
    expired: bool = False,
    forged: bool = False,
) -> Callable[[Site], Setup]:
    """Revocation lists of root and intermediate, in which leaf or intermediate stand; that of the intermediate may be bad."""

    def make(site: Site) -> Setup:
        top = CertificateAuthority(ROOT)
        middle = top.intermediate(INTERMEDIATE)
        issued = middle.issue(site.name, site.address)
        author = CertificateAuthority("another root") if stranger else middle
        # A list that is signed by somebody else still says whose it is.
        author_key = extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(author.key.public_key()))
        lower = crl(
            author,
            revoked=[issued.certificate] if leaf else [],
            this_update=ago(30) if expired else None,
            next_update=ago(1) if expired else None,
            key=CertificateAuthority().key if forged else None,
            extensions=[author_key],
        )
        upper = crl(top, revoked=[middle.certificate] if intermediate else [])
        return shown(site, issued, top, crls=lower + upper)

    return make


def make_staple_case(
    must_staple: bool = False, staple: Callable[[CertificateAuthority, Issued], bytes] | None = None
) -> Callable[[Site], Setup]:
    """A leaf right below the root, and what is stapled to it."""

    def make(site: Site) -> Setup:
        root = CertificateAuthority(ROOT)
        leaf = root.issue(site.name, site.address, extensions=[MUST_STAPLE] if must_staple else [])
        return shown(site, leaf, root, staple=staple(root, leaf) if staple is not None else b"")

    return make


def staple_of_another(root: CertificateAuthority, leaf: Issued) -> bytes:
    """A response for the same serial number and name of the CA: others OpenSSL does not let its server staple."""
    another = CertificateAuthority(ROOT)
    twin = another.issue("other", serial=leaf.certificate.serial_number)
    return ocsp_response(another, twin.certificate, signer=root)


_revocation = cases_of(Kind.REVOCATION)

REVOCATION_CASES: tuple[Case, ...] = (
    _revocation("crl-good", "The revocation lists know nothing against it.", make_crl_case(), GOOD, revocation="hard"),
    _revocation(
        "crl-revoked",
        "Its certificate is in the revocation list of its issuer.",
        make_crl_case(leaf=True),
        refused(ProblemCode.REVOKED, "certificate_revoked"),
    ),
    _revocation(
        "crl-revoked-intermediate",
        "The intermediate is in the revocation list of the root.",
        make_crl_case(intermediate=True),
        refused(ProblemCode.REVOKED, "certificate_revoked"),
    ),
    _revocation(
        "crl-expired",
        "The revocation list of its issuer has expired; the client goes on.",
        make_crl_case(expired=True),
        warned(ProblemCode.REVOCATION_UNKNOWN),
    ),
    _revocation(
        "crl-expired-hard",
        "The revocation list of its issuer has expired; the client wants to be sure.",
        make_crl_case(expired=True),
        refused(ProblemCode.REVOCATION_UNKNOWN, "certificate_expired"),
        revocation="hard",
    ),
    _revocation(
        "crl-missing-hard",
        "There is no revocation list of its issuer; the client wants to be sure.",
        make_crl_case(stranger=True),
        refused(ProblemCode.REVOCATION_UNKNOWN, "unknown_ca"),
        revocation="hard",
    ),
    _revocation(
        "crl-forged-hard",
        "The revocation list of its issuer was signed by somebody else; the client wants to be sure.",
        make_crl_case(forged=True),
        refused(ProblemCode.REVOCATION_UNKNOWN, "decrypt_error"),
        revocation="hard",
    ),
    _revocation(
        "staple-good",
        "The stapled OCSP response knows nothing against it.",
        make_staple_case(staple=lambda root, leaf: ocsp_response(root, leaf.certificate)),
        GOOD,
        staple=True,
        revocation="hard",
    ),
    _revocation(
        "staple-good-delegate",
        "The same, signed by a responder that its issuer has appointed.",
        make_staple_case(staple=lambda root, leaf: ocsp_response(root, leaf.certificate, signer=delegate(root))),
        GOOD,
        staple=True,
        revocation="hard",
    ),
    _revocation(
        "staple-of-a-stranger-hard",
        "The stapled OCSP response is signed by a certificate that is for servers, not for OCSP.",
        make_staple_case(staple=lambda root, leaf: ocsp_response(root, leaf.certificate, signer=root.issue("other"))),
        refused(ProblemCode.REVOCATION_UNKNOWN, "bad_certificate_status_response"),
        staple=True,
        revocation="hard",
    ),
    _revocation(
        "staple-revoked",
        "The stapled OCSP response says that its certificate is revoked.",
        make_staple_case(staple=lambda root, leaf: ocsp_response(root, leaf.certificate, status="revoked")),
        refused(ProblemCode.REVOKED, "bad_certificate_status_response"),
        staple=True,
    ),
    _revocation(
        "staple-unknown-hard",
        "The stapled OCSP response does not know its certificate.",
        make_staple_case(staple=lambda root, leaf: ocsp_response(root, leaf.certificate, status="unknown")),
        refused(ProblemCode.REVOCATION_UNKNOWN, "bad_certificate_status_response"),
        staple=True,
        revocation="hard",
    ),
    _revocation(
        "staple-expired-hard",
        "The stapled OCSP response has expired.",
        make_staple_case(
            staple=lambda root, leaf: ocsp_response(root, leaf.certificate, this_update=ago(30), next_update=ago(1))
        ),
        refused(ProblemCode.REVOCATION_UNKNOWN, "bad_certificate_status_response"),
        staple=True,
        revocation="hard",
    ),
    _revocation(
        "staple-of-another-hard",
        "The stapled OCSP response is for another certificate: of the same serial number, by another CA of the same name.",
        make_staple_case(staple=staple_of_another),
        refused(ProblemCode.REVOCATION_UNKNOWN, "bad_certificate_status_response"),
        staple=True,
        revocation="hard",
    ),
    _revocation(
        "staple-forged-hard",
        "The stapled OCSP response was signed by somebody else.",
        make_staple_case(staple=lambda root, leaf: ocsp_response(root, leaf.certificate, tampered=True)),
        refused(ProblemCode.REVOCATION_UNKNOWN, "bad_certificate_status_response"),
        staple=True,
        revocation="hard",
    ),
    _revocation(
        "staple-garbage-hard",
        "The stapled OCSP response says that it is one, and holds garbage.",
        make_staple_case(staple=lambda root, leaf: GARBAGE),
        refused(ProblemCode.MALFORMED, "bad_certificate_status_response"),
        staple=True,
        revocation="hard",
    ),
    _revocation(
        "staple-refusal-hard",
        "The stapled OCSP response says tryLater, and no more.",
        make_staple_case(staple=lambda root, leaf: ocsp_response(root, leaf.certificate, status="tryLater")),
        refused(ProblemCode.REVOCATION_UNKNOWN, "bad_certificate_status_response"),
        staple=True,
        revocation="hard",
    ),
    _revocation(
        "staple-missing-hard",
        "Nothing is stapled; the client wants to be sure.",
        make_staple_case(),
        refused(ProblemCode.REVOCATION_UNKNOWN, "bad_certificate_status_response"),
        staple=True,
        revocation="hard",
    ),
    _revocation(
        "must-staple",
        "Its certificate promises a stapled OCSP response (RFC 7633), and there is none.",
        make_staple_case(must_staple=True),
        refused(ProblemCode.STAPLE_MISSING, "bad_certificate_status_response"),
        staple=True,
    ),
)
