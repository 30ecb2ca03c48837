"""What a bad server is, as data: its certificates and settings, what it does, and what a strict client must make of it.

A `Case` is one kind of bad server. It makes its own PKI for the site where it stands, so that it has the one fault it is named after and
no other. The certificates are in `bad_certificates` and `bad_names`, what goes wrong on the wire in `bad_behaviours`; `bad_servers`
runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from sipsua.errors import Defect
from sipsua.testing.pki import CertificateAuthority, Issued
from sipsua.testing.visit import Visit
from sipsua.trust.crl import CrlList
from sipsua.trust.identity import Identity
from sipsua.trust.policy import NameRule, Policy, Revocation, TlsVersion
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import ProblemCode

ROOT, INTERMEDIATE = "bad server root", "bad server intermediate"
"""What the authorities are called."""


class Kind(StrEnum):
    """What a case is about."""

    CONTROL = "control"
    """Nothing is wrong: a client that refuses it is."""
    VALIDITY = "validity"
    NAME = "name"
    WILDCARD = "wildcard"
    CHAIN = "chain"
    PURPOSE = "purpose"
    STRENGTH = "strength"
    FORM = "form"
    """Signatures that do not fit, certificates that cannot be read."""
    REVOCATION = "revocation"
    NEGOTIATION = "negotiation"
    """Versions, suites, client certificates."""
    HANDSHAKE = "handshake"
    """What comes in place of a handshake, or breaks it."""
    FLOW = "flow"
    """What comes after a good handshake."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a server stands: what good certificates are for, and bad ones are not quite for."""

    name: str = "sip.example.localhost"
    """A DNS name of at least two labels that leads the client to the server. All names below `localhost` are the loopback (RFC 6761
    section 6.3), for sipsua at least."""
    address: str = "127.0.0.1"
    """The server's IP address, as the client reaches it."""

    @property
    def parent(self) -> str:
        """The name without its first label."""
        return self.name.partition(".")[2]

    def fill(self, text: str) -> str:
        """The text with `{name}`, `{parent}`, `{top}` (the last label of the name), `{address}` and `{tail}` (the address without its
        first number) filled in."""
        return text.format(
            name=self.name,
            parent=self.parent,
            top=self.name.rpartition(".")[2],
            address=self.address,
            tail=self.address.partition(".")[2] or self.address,
        )


class Wishes(TypedDict, total=False):
    """Settings of `trust.policy.Policy` that a case wants of its client, where not the strict defaults."""

    names: str
    staple: bool
    revocation: str
    legacy_path: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A server's certificates and TLS settings, and what its client must be given."""

    leaf: Issued
    """Certificate and key. Its own chain does not count."""
    chain: tuple[x509.Certificate, ...] = ()
    """What is sent after the leaf."""
    anchors: tuple[x509.Certificate, ...]
    """What the client has to trust."""
    reference: str
    """The host that the client has to ask for, and to look for in the certificate."""
    crls: bytes = b""
    """PEM: revocation lists for the client to go by."""
    staple: bytes = b""
    """DER: the OCSP response that goes with the certificate, where the client asks for one."""
    client: Issued | None = None
    """The certificate that the client has to show."""
    client_anchors: tuple[x509.Certificate, ...] | None = None
    """Whom the server trusts to certify clients; None: it asks for no certificate."""
    minimum: TlsVersion = TlsVersion.TLS1_2
    maximum: TlsVersion = TlsVersion.TLS1_3
    ciphers: str = "DEFAULT"
    """OpenSSL's cipher string."""
    groups: str = ""
    """OpenSSL's list of key exchange groups; its default where empty."""

    @property
    def anchors_pem(self) -> bytes:
        """What the client has to trust."""
        return _pem(self.anchors)

    def policy(self, wishes: Wishes) -> Policy:
        """The policy that the client has to have, as a sipsua client takes it."""
        identity = Identity.from_pem(self.client.chain_pem, self.client.key_pem) if self.client is not None else None
        return Policy(
            anchors=TrustList.from_pem(self.anchors_pem),
            crls=CrlList.from_pem(self.crls) if self.crls else None,
            identity=identity,
            names=NameRule(wishes.get("names", NameRule.RFC2818)),
            staple=wishes.get("staple", False),
            revocation=Revocation(wishes.get("revocation", Revocation.SOFT)),
            legacy_path=wishes.get("legacy_path", False),
        )

    def context(self) -> SSL.Context:
        """The server's side of TLS, which shows anything however weak."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(self.minimum)
        context.set_max_proto_version(self.maximum)
        # A cipher string is pyOpenSSL's only way to the security level; at 0 there is nothing that OpenSSL would rather not show.
        context.set_cipher_list(f"{self.ciphers}:@SECLEVEL=0".encode())
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_mode(_MODE_NO_AUTO_CHAIN)
        context.set_session_id(b"sipsua")
        if self.groups and _lib.SSL_CTX_set1_curves_list(context._context, self.groups.encode()) != 1:
            raise Defect(f"OpenSSL did not take the groups {self.groups}")
        context.use_certificate(self.leaf.certificate)
        context.use_privatekey(self.leaf.key)
        for certificate in self.chain:
            context.add_extra_chain_cert(certificate)
        if self.client_anchors is not None and (store := context.get_cert_store()) is not None:
            TrustList.from_pem(_pem(self.client_anchors)).load_into(store)
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        if self.staple:
            context.set_ocsp_server_callback(lambda _connection, _data: self.staple)
        return context


Behaviour = Callable[[Visit], None]
"""What a server does with one connection. It may raise EOFError; what the client does after that is noted all the same."""


def serve(visit: Visit) -> None:
    """A sound handshake, and a registrar behind it."""
    visit.handshake()
    visit.serve()


@dataclass(frozen=True, slots=True, kw_only=True)
class Must:
    """What a strict client has to make of a server; sipsua does."""

    exit_codes: tuple[int, ...]
    """That of `sipsua register`; of several the first is usual, and which it is depends on who is faster."""
    problems: frozenset[ProblemCode] = frozenset()
    """All that is wrong with the certificate, by the client's settings."""
    warnings: frozenset[ProblemCode] = frozenset()
    """What is odd about it and refuses nothing."""
    alert: str | None = None
    """The TLS alert that the server gets to see last, in the words of RFC 8446; None: none."""
    late: bool = False
    """Whether the client's handshake is done before the server refuses it: so with a client's certificate in TLS 1.3."""

    @property
    def locks(self) -> bool:
        """Whether the padlock closes, if only for a moment: where the handshake is as it should be."""
        return self.late or not {10, 11, 12, 13}.intersection(self.exit_codes)

    @property
    def registers(self) -> bool:
        """Whether the client is to register."""
        return self.exit_codes == (0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A kind of bad server."""

    name: str
    """Stable, in lower case with hyphens."""
    what: str
    """What is wrong with it, as a sentence."""
    kind: Kind
    make: Callable[[Site], Setup]
    """Its certificates and settings for a site, new each time."""
    must: Must
    behave: Behaviour = serve
    """What it does with a connection; a server that only has a bad certificate serves."""
    wishes: Wishes = field(default_factory=Wishes)
    """Settings that its client must have."""

    def as_json(self) -> dict[str, Any]:
        """A JSON object of what a person or a program wants to know before it is run."""
        return {
            "name": self.name,
            "kind": str(self.kind),
            "what": self.what,
            "registers": self.must.registers,
            "exit_codes": list(self.must.exit_codes),
            "problems": sorted(self.must.problems),
            "warnings": sorted(self.must.warnings),
            "alert": self.must.alert,
            "locks": self.must.locks,
            "settings": dict(self.wishes),
        }


GOOD = Must(exit_codes=(0,), alert="close_notify")
"""The client registers, and leaves in good order."""


def refused(code: ProblemCode, alert: str) -> Must:
    """The certificate is refused for this, and the server told so by this alert."""
    return Must(exit_codes=(10,), problems=frozenset({code}), alert=alert)


def warned(*codes: ProblemCode) -> Must:
    """It is accepted, with these warnings."""
    return Must(exit_codes=(0,), warnings=frozenset(codes), alert="close_notify")


def cases_of(kind: Kind) -> Callable[..., Case]:
    """A maker of cases of one kind: name, what is wrong, certificates, what a strict client must do, and the settings that it needs."""

    def case(name: str, what: str, make: Callable[[Site], Setup], must: Must, **wishes: Unpack[Wishes]) -> Case:
        return Case(name=name, what=what, kind=kind, make=make, must=must, wishes=wishes)

    return case


def ago(days: int) -> datetime:
    """So many days ago, in UTC, in whole seconds as certificates have them."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(days=days)


def good(site: Site) -> Setup:
    """As it should be: leaf, intermediate, root; the names of the site."""
    root = CertificateAuthority(ROOT)
    intermediate = root.intermediate(INTERMEDIATE)
    leaf = intermediate.issue(site.name, site.address)
    return Setup(leaf=leaf, chain=leaf.chain, anchors=(root.certificate,), reference=site.name)


def good_tls12(site: Site) -> Setup:
    """The same, and nothing newer than TLS 1.2."""
    return replace(good(site), maximum=TlsVersion.TLS1_2)


def shown(site: Site, leaf: Issued, *anchors: CertificateAuthority, **settings: Any) -> Setup:
    """A server that shows a leaf with the chain that it was issued with; clients trust the anchors."""
    setup = Setup(
        leaf=leaf,
        chain=leaf.chain,
        anchors=tuple(anchor.certificate for anchor in anchors),
        reference=site.name,
    )
    return replace(setup, **settings)


def only(version: TlsVersion) -> Callable[[Site], Setup]:
    """A good server that speaks one version."""
    return lambda site: replace(good(site), minimum=version, maximum=version)


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


_lib: Final[Any] = Binding.lib
_MODE_NO_AUTO_CHAIN: Final = 0x8
"""SSL_MODE_NO_AUTO_CHAIN: OpenSSL must not complete the chain that the case has in mind."""
