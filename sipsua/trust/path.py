"""The way from the leaf to a trust anchor: how it is found, and where it ends if it ends nowhere.

OpenSSL finds it where a chain is good. Where it has refused, `Path.walk` looks by itself, and gets as far as anybody could. And
`Path.as_sent` goes the way of old phones, which followed the certificates in the server's chain file to their end before they looked into
their own list: in 2021 that led past a good root to an expired one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from sipsua.trust.certificate import Parsed, parsed
from sipsua.trust.names import shown
from sipsua.trust.store import TrustAnchor, TrustList
from sipsua.trust.verdict import Problem, ProblemCode

# Limits on what a hostile chain can make us compute; real chains have up to 5 certificates.
_LONGEST_PATH = 32
_CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class Path:
    """A way from the leaf towards a trust anchor, as far as it leads."""

    steps: tuple[Parsed, ...]
    """Leaf first."""
    indexes: tuple[int, ...]
    """Which certificate of the sent chain each step is. For one that is only in the trust list, the one below it."""
    anchor: TrustAnchor | None
    """The anchor that the last step is, if it is one."""
    end: Problem | None = None
    """Why it leads to no anchor."""

    @property
    def issuer(self) -> Parsed | None:
        """Who issued the leaf, if the path says so."""
        if len(self.steps) > 1:
            return self.steps[1]
        return self.steps[0] if self.steps[0].self_signed else None

    @classmethod
    def verified(cls, path: Sequence[bytes], sent: Sequence[bytes], anchors: TrustList) -> Path:
        """The path that OpenSSL found. Raises ValueError where a certificate on it cannot be read."""
        indexes: list[int] = []
        for der in path:
            indexes.append(sent.index(der) if der in sent else indexes[-1] if indexes else 0)
        return cls(tuple(parsed(der) for der in path), tuple(indexes), anchors.anchor(path[-1]))

    @classmethod
    def walk(cls, sent: Sequence[Parsed | None], anchors: TrustList, at: datetime) -> Path:
        """Look for a path by ourselves: anchors first, then what was sent, certificates that are valid at `at` before others.

        None stands for what could not be read. Raises ValueError where that is the leaf, or an anchor on the way.
        """
        leaf = sent[0]
        if leaf is None:
            raise ValueError("the server's certificate cannot be read")
        steps, indexes = [leaf], [0]
        ders = [one.der if one is not None else b"" for one in sent]
        while (anchor := anchors.anchor(steps[-1].der)) is None:
            current = steps[-1]
            known = {step.der for step in steps}
            candidates = _listed(current, anchors) + _sent_issuers(current, sent, known)
            signers = [one for one in candidates if current.signed_by(one)]
            if not signers or len(steps) == _LONGEST_PATH:
                end = _dead_end(current, indexes[-1], candidates, signers, sent, known, anchors)
                return cls(tuple(steps), tuple(indexes), None, end)
            step = next((one for one in signers if one.valid_at(at)), signers[0])
            steps.append(step)
            indexes.append(ders.index(step.der) if step.der in ders else indexes[-1])
        return cls(tuple(steps), tuple(indexes), anchor)

    @classmethod
    def as_sent(cls, sent: Sequence[Parsed | None], anchors: TrustList) -> Path:
        """The path as OpenSSL 1.0 built it: to the end of what was sent, and only from there into the trust list.

        Of several issuers the first one sent counts, and no other way is tried. Raises ValueError as `walk` does.
        """
        leaf = sent[0]
        if leaf is None:
            raise ValueError("the server's certificate cannot be read")
        steps, indexes = [leaf], [0]
        ders = [one.der if one is not None else b"" for one in sent]
        while len(steps) < _LONGEST_PATH:
            current, known = steps[-1], {step.der for step in steps}
            found = None if current.self_signed else next(_signers(current, _sent_issuers(current, sent, known)), None)
            if found is None:
                break
            steps.append(found)
            indexes.append(ders.index(found.der))
        # A root at the end of what was sent counts only as listed; what is listed under its name and with its key stands in for it.
        top = steps[-1]
        if (anchor := anchors.anchor(top.der)) is not None:
            return cls(tuple(steps), tuple(indexes), anchor)
        if len(steps) > 1 and top.self_signed:
            steps.pop()
            indexes.pop()
        listed = _listed(steps[-1], anchors)
        signer = next(_signers(steps[-1], listed), None)
        if signer is not None:
            steps.append(signer)
            indexes.append(indexes[-1])
            return cls(tuple(steps), tuple(indexes), anchors.anchor(signer.der))
        if top is not steps[-1]:
            steps.append(top)
            indexes.append(ders.index(top.der))
        known = {step.der for step in steps}
        end = _dead_end(steps[-1], indexes[-1], listed, [], sent, known, anchors)
        return cls(tuple(steps), tuple(indexes), None, end)

    def warnings(self, sent: Sequence[Parsed | None]) -> Iterator[Problem]:
        """What was sent in another order than that of the path, or for nothing. Neither harms a verifier that looks for its way."""
        ders = [one.der if one is not None else b"" for one in sent]
        places = [(ders.index(step.der), step) for step in self.steps if step.der in ders]
        for (before, lower), (place, step) in pairwise(places):
            if place < before:
                yield Problem(
                    ProblemCode.OUT_OF_ORDER,
                    place,
                    "RFC 5246 7.4.2",
                    f"{step.text} issued {lower.text} and was sent before it, at place {place} and not after {before}",
                    "put the certificates in the server's chain file in order: its own first, then each one's issuer",
                )
                break
        if self.anchor is None:
            return
        top = self.steps[-1]
        for place, one in enumerate(sent):
            if one is None:
                continue
            if one.der in ders[:place]:
                why = f"{one.text} was sent before, at place {ders.index(one.der)}"
            elif any(one.der == step.der for step in self.steps):
                continue
            elif one.subject == top.subject and one.key == top.key:
                why = f"{one.text}, issued by {one.issuer_text}, is not needed: {top.text} with the same key is trusted by itself"
            elif one.subject == top.issuer:
                why = f"{one.text} is not needed: {top.text} below it is trusted by itself"
            else:
                why = f"{one.text}, issued by {one.issuer_text}, has no part in the path to {top.text}"
            yield Problem(
                ProblemCode.STRANGER,
                place,
                "RFC 5246 7.4.2",
                why,
                "take it out of the server's chain file: old phones may follow it, and all have to download it",
            )


def _listed(current: Parsed, anchors: TrustList) -> list[Parsed]:
    """The trust anchors with the name of the issuer."""
    return [parsed(one.der) for one in anchors.find(current.certificate.issuer)[:_CANDIDATES]]


def _sent_issuers(current: Parsed, sent: Sequence[Parsed | None], known: set[bytes]) -> list[Parsed]:
    """The certificates with the name of the issuer that were sent, and are not on the path yet."""
    return [one for one in sent if one is not None and one.subject == current.issuer and one.der not in known][
        :_CANDIDATES
    ]


def _signers(current: Parsed, candidates: Sequence[Parsed]) -> Iterator[Parsed]:
    return (one for one in candidates if current.signed_by(one))


def _dead_end(
    current: Parsed,
    index: int,
    candidates: Sequence[Parsed],
    signers: Sequence[object],
    sent: Sequence[Parsed | None],
    known: set[bytes],
    anchors: TrustList,
) -> Problem:
    """Why the path ends at `current`, whose issuer's name is that of `candidates`."""
    issuer = current.issuer_text
    listed = f"the trust list has {anchors}"
    if signers:
        return Problem(
            ProblemCode.PATH_TOO_LONG,
            index,
            "RFC 5280 6.1",
            f"more than {_LONGEST_PATH} certificates lead nowhere",
            "correct the server's chain file",
        )
    if current.subject == current.issuer and not candidates:
        if not current.signed_by(current):
            return _bad_signature(current, index, "itself")
        if index == 0:
            return Problem(
                ProblemCode.SELF_SIGNED,
                0,
                "RFC 5280 6.1",
                f"the server's certificate {current.text} is signed by itself; {listed}",
                "give the server a certificate from a CA, or trust this very certificate (--ca FILE)",
            )
        return Problem(
            ProblemCode.UNKNOWN_ISSUER,
            index,
            "RFC 5280 6.1",
            f"the server sent the root {current.text}, which is not among the trusted certificates; {listed}",
            f"if it is the right one, add the CA {current.text} to the trusted certificates (--ca FILE)",
        )
    if candidates:
        wanted = current.extension(x509.AuthorityKeyIdentifier)
        held = [one.extension(x509.SubjectKeyIdentifier) for one in candidates]
        if (
            wanted is not None
            and wanted.key_identifier is not None
            and all(one is not None and one.digest != wanted.key_identifier for one in held)
        ):
            place = "trusted" if anchors.find(current.certificate.issuer) else "sent"
            return Problem(
                ProblemCode.UNKNOWN_ISSUER,
                index,
                "RFC 5280 6.1.3 (a)(1)",
                f"{current.text} was signed by {issuer} with the key {wanted.key_identifier.hex()}; "
                f"a certificate of the same name but another key is {place}",
                f"add the CA certificate of {issuer} with this key to the trusted certificates (--ca FILE), or reissue "
                "the server's certificate with the current CA",
            )
        return _bad_signature(current, index, issuer)
    if locations := _issuer_locations(current):
        return Problem(
            ProblemCode.INCOMPLETE_CHAIN,
            index,
            "RFC 5246 7.4.2",
            f"{current.text} was issued by {issuer}, which the server did not send; it is published at {locations[0]}",
            f"add the intermediate {issuer} to the server's chain file, after its own certificate",
        )
    # Something else that was sent leads to an anchor: what is missing lies between.
    for other in sent:
        if other is not None and other.der not in known and other.subject != current.issuer:
            for anchor in anchors.find(other.certificate.issuer)[:_CANDIDATES]:
                if other.signed_by(Parsed(anchor.der)) and other.subject != other.issuer:
                    return Problem(
                        ProblemCode.INCOMPLETE_CHAIN,
                        index,
                        "RFC 5246 7.4.2",
                        f"the server sent {other.text}, which leads to a trusted CA, but not {issuer}, which issued "
                        f"{current.text}",
                        f"add the intermediate {issuer} to the server's chain file, between the two",
                    )
    return Problem(
        ProblemCode.UNKNOWN_ISSUER,
        index,
        "RFC 5280 6.1",
        f"{current.text} was issued by {issuer}, which was neither sent nor is trusted; {listed}",
        f"add the CA {issuer} to the trusted certificates (--ca FILE); if it is an intermediate, add it to the server's "
        "chain file instead",
    )


def _bad_signature(current: Parsed, index: int, issuer: str) -> Problem:
    return Problem(
        ProblemCode.BAD_SIGNATURE,
        index,
        "RFC 5280 6.1.3 (a)(1)",
        f"the signature on {current.text} was not made with the key of {issuer}: it was changed after signing, or signed "
        "by another CA of the same name",
        "install the certificate again as the CA issued it, and trust the CA that issued it",
    )


def _issuer_locations(step: Parsed) -> list[str]:
    """Where the issuer's certificate is published, RFC 5280 section 4.2.2.1."""
    access = step.extension(x509.AuthorityInformationAccess)
    return [
        shown(one.access_location.value)
        for one in access or ()
        if one.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    ]
