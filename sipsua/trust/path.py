"""The way from the leaf to a trust anchor: how it is found, and where it ends if it ends nowhere.

OpenSSL builds it, and tells it where it refuses too, as far as it came. Why it came no further is found out here. And `Path.as_sent` goes
the way of old phones, which followed the certificates in the server's chain file to their end before they looked into their own list: in
2021 that led past a good root to an expired one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

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
    def built(
        cls, path: Sequence[bytes], sent: Sequence[Parsed | None], anchors: TrustList, *, good: bool = True
    ) -> Path:
        """The path that OpenSSL built, DER, leaf first, and found `good` or not.

        None stands for what could not be read of what was sent. Raises ValueError where a certificate on the path cannot be read.
        """
        steps = tuple(parsed(der) for der in path)
        if not steps:
            raise ValueError("OpenSSL built no path")
        anchor, end = anchors.anchor(path[-1]), None
        if anchor is None and (anchor := anchors.anchor(path[0])) is not None and good:
            # A leaf that is trusted for its own sake ends its path, whatever was found above it.
            steps = steps[:1]
        indexes: list[int] = []
        for step in steps:
            place = next((place for place, one in enumerate(sent) if one is not None and one.der == step.der), None)
            indexes.append(place if place is not None else indexes[-1] if indexes else 0)
        if anchor is None:
            end = _dead_end(steps, indexes[-1], sent, anchors)
        return cls(steps, tuple(indexes), anchor, end)

    @classmethod
    def as_sent(cls, sent: Sequence[Parsed | None], anchors: TrustList) -> Path:
        """The path as OpenSSL 1.0 built it: to the end of what was sent, and only from there into the trust list.

        Of several issuers the first one sent counts, and no other way is tried. Raises ValueError as `built` does.
        """
        leaf = sent[0]
        if leaf is None:
            raise ValueError("the server's certificate cannot be read")
        steps = [leaf]
        while len(steps) < _LONGEST_PATH and not steps[-1].self_signed:
            known = {step.der for step in steps}
            issuers = (
                one for one in sent if one is not None and one.subject == steps[-1].issuer and one.der not in known
            )
            found = next((one for one in islice(issuers, _CANDIDATES) if steps[-1].signed_by(one)), None)
            if found is None:
                break
            steps.append(found)
        if anchors.anchor(steps[-1].der) is None:
            # A root that was sent counts only as listed; what is listed with its name and key stands in for it.
            top = steps.pop() if len(steps) > 1 and steps[-1].self_signed else None
            listed = (parsed(one.der) for one in anchors.find(steps[-1].certificate.issuer)[:_CANDIDATES])
            signer = next((one for one in listed if steps[-1].signed_by(one)), top)
            steps += [signer] if signer is not None else []
        return cls.built([step.der for step in steps], sent, anchors)

    def warnings(self, sent: Sequence[Parsed | None]) -> Iterator[Problem]:
        """What was sent in another order than that of the path, or for nothing. Neither harms a verifier that looks for its way."""
        leaf, ders = self.steps[0], [one.der if one is not None else b"" for one in sent]
        issued = (one for one in sent[1:] if one is not None and one.issuer == leaf.subject and one.der != leaf.der)
        if (lower := next((one for one in islice(issued, _CANDIDATES) if one.signed_by(leaf)), None)) is not None:
            yield Problem(
                ProblemCode.OUT_OF_ORDER,
                0,
                "RFC 5246 7.4.2",
                f"{leaf.text} was sent first, which has to be the server's certificate, and issued {lower.text}",
                "put the server's own certificate first in its chain file, then each one's issuer",
            )
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


def _dead_end(steps: Sequence[Parsed], index: int, sent: Sequence[Parsed | None], anchors: TrustList) -> Problem | None:
    """Why the path ends at its last step: nobody else was sent or is trusted who could have issued it.

    None where the step itself cannot be read, which is told of it anyway.
    """
    current, known = steps[-1], {step.der for step in steps}
    issuer = current.issuer_text
    listed = f"the trust list has {anchors}"
    held = anchors.find(current.certificate.issuer)[:_CANDIDATES]
    candidates = [parsed(one.der) for one in held]
    candidates += [one for one in sent if one is not None and one.subject == current.issuer and one.der not in known]
    if len(steps) > _LONGEST_PATH:
        return Problem(
            ProblemCode.PATH_TOO_LONG,
            index,
            "RFC 5280 6.1",
            f"more than {_LONGEST_PATH} certificates lead nowhere",
            "correct the server's chain file",
        )
    if current.subject == current.issuer and not candidates:
        if not current.self_signed:
            return bad_signature(current, index, "itself")
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
        keys = [one.extension(x509.SubjectKeyIdentifier) for one in candidates]
        if (
            wanted is not None
            and wanted.key_identifier is not None
            and all(one is not None and one.digest != wanted.key_identifier for one in keys)
        ):
            place = "trusted" if held else "sent"
            return Problem(
                ProblemCode.UNKNOWN_ISSUER,
                index,
                "RFC 5280 6.1.3 (a)(1)",
                f"{current.text} was signed by {issuer} with the key {wanted.key_identifier.hex()}; "
                f"a certificate of the same name but another key is {place}",
                f"add the CA certificate of {issuer} with this key to the trusted certificates (--ca FILE), or reissue "
                "the server's certificate with the current CA",
            )
        signer = next((one for one in candidates[:_CANDIDATES] if current.signed_by(one)), None)
        if signer is None:
            return bad_signature(current, index, issuer)
        if current.defect is not None:
            return None  # OpenSSL looks for no issuer of what it cannot read, and that is told already
        return Problem(
            ProblemCode.UNKNOWN_ISSUER if signer.defect is None else ProblemCode.MALFORMED,
            index,
            "RFC 5280 4.2.1.1" if signer.defect is None else "RFC 5280 4.2",
            f"{current.text} was signed with the key of {issuer}, but "
            + (
                "its authority key identifier names another certificate of that name"
                if signer.defect is None
                else f"the extensions of that CA cannot be read: {signer.defect}"
            ),
            f"have {current.text if signer.defect is None else issuer} issued again without this fault",
        )
    what = f"the server sent only its own certificate, {current.text}, which" if len(sent) == 1 else current.text
    if locations := _issuer_locations(current):
        return Problem(
            ProblemCode.INCOMPLETE_CHAIN,
            index,
            "RFC 5246 7.4.2",
            f"{what} was issued by {issuer}, which the server did not send; it is published at {locations[0]}",
            f"add the intermediate {issuer} to the server's chain file, after {'its own certificate' if not index else current.text}",
        )
    # Something else that was sent leads to an anchor: what is missing lies between.
    for other in sent:
        if other is not None and other.der not in known and other.subject != current.issuer:
            for anchor in anchors.find(other.certificate.issuer)[:_CANDIDATES]:
                if other.signed_by(parsed(anchor.der)) and other.subject != other.issuer:
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
        f"{what} was issued by {issuer}, which was neither sent nor is trusted; {listed}",
        f"add {issuer} to the server's chain file if it is an intermediate, or to the trusted certificates (--ca FILE) if it is a "
        "root that you trust",
    )


def bad_signature(current: Parsed, index: int, issuer: str) -> Problem:
    """The problem of a certificate whose signature the issuer's key did not make."""
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
