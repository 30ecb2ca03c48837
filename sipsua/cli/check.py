"""`sipsua check`: everything about a server's TLS and its certificates, and whom it will satisfy.

Where a phone does not get its padlock, this is the first command to type: it needs no account, sends no SIP, and tells what the server
does, what is wrong with its chain, which clients will refuse it, and what to change. Here are its words; `net.probe` asks the server,
`trust` judges, `cli.inspection` shows.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from sipsua.cli.failure import UsageError
from sipsua.cli.trusting import Lists, trusted

# What is dear to import (OpenSSL, asyncio) is imported where the work begins, so that `--help` comes at once.


def check(
    context: typer.Context,
    server: Annotated[
        str | None, typer.Argument(metavar="HOST[:PORT]", help="The server; 5061 without a port. Not with --chain.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name that the certificate must bear, where it is not HOST.")
    ] = None,
    chain: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Judge the chain in this file, the server's certificate first; needs --name."
        ),
    ] = None,
    ca: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Certificates to trust, PEM or DER: the custom list. May be given again."),
    ] = None,
    trust: Annotated[
        Lists,
        typer.Option(
            help="Lists that count: the phone's built-in one; custom, that of --ca; both; or today's public roots and custom."
        ),
    ] = "custom",
    names: Annotated[
        Literal["rfc2818", "rfc5922", "rfc6125", "rfc9525", "off"],
        typer.Option(help="Rule by which the certificate's names are compared; off: they are not."),
    ] = "rfc2818",
    cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="Our own certificate with its key, shown to whoever asks for it.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="FILE", help="The private key, where it is in a file of its own.")
    ] = None,
    crl: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Certificate revocation lists, PEM or DER. May be given again."),
    ] = None,
    revocation: Annotated[
        Literal["soft", "hard"],
        typer.Option(help="Where nobody says whether a certificate is revoked: warn, or refuse."),
    ] = "soft",
    legacy_path: Annotated[
        bool,
        typer.Option(
            "--legacy-path",
            help="Follow the chain as the server sent it, as old phones do, even to a root that has expired.",
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Until when all connections must be done; half is for the first.")
    ] = 15.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object to stdout, and all else to stderr.")
    ] = False,
) -> None:
    """Ask a server what it does in TLS, judge its certificates as ten clients would, and say what to change.

    Up to six connections are made, no SIP is sent. Exit codes: 0 accepted, 2 usage, 10 certificate refused, 11 its name
    refused, 12 handshake failed, 13 unreachable, 17 a local file or setting is bad, 70 sipsua is wrong, 130 interrupted.
    """
    from datetime import UTC, datetime

    from sipsua.account.config import Target
    from sipsua.cli.inspection import Inspection
    from sipsua.cli.interrupt import run, within
    from sipsua.cli.register import LONGEST
    from sipsua.cli.screen import Screen
    from sipsua.errors import BadConfiguration, IdentityRefused, SipsuaError, Untrusted
    from sipsua.net.probe import probe
    from sipsua.trust.crl import CrlList
    from sipsua.trust.identity import Identity
    from sipsua.trust.policy import NameRule, Policy, Revocation
    from sipsua.trust.store import TrustList, certificates_in, read_file
    from sipsua.trust.verdict import CertificateRefused

    inspection = Inspection()
    context.obj.append(inspection)
    if (server is None) == (chain is None):
        raise UsageError("neither a server nor --chain" if chain is None else "a server and --chain", fix="give one")
    if chain is not None and name is None:
        raise UsageError("--chain without --name", fix="give the name that the server is asked for with --name NAME")
    if chain is not None and cert is not None:
        raise UsageError("--cert with --chain", fix="leave it out: nobody asks for it where there is no handshake")
    if revocation == "hard" and chain is not None and not crl:
        raise UsageError(
            "--revocation hard with --chain and without --crl", fix="give the CRLs of the issuers with --crl"
        )
    if key is not None and cert is None:
        raise UsageError("--key without --cert", fix="give the certificate that the key belongs to")
    if not 0.001 <= timeout <= LONGEST:
        raise UsageError(f"--timeout of {timeout:g} s", fix=f"give seconds from 0.001 to {LONGEST}")
    try:
        target = Target.parse(server) if server is not None else None
    except BadConfiguration as error:
        raise UsageError(error.what, fix=error.fix) from None
    with within(timeout, "a file of --ca"):
        anchors = trusted(trust, TrustList.from_files(*ca or ()), ca or ())
    with within(timeout, "a file of --cert or --key"):
        identity = Identity.from_files(cert, key) if cert is not None else None
    with within(timeout, "a file of --crl"):
        crls = CrlList.from_files(*crl) if crl else None
    policy = Policy(
        anchors=anchors,
        names=NameRule(names),
        identity=identity,
        crls=crls,
        staple=target is not None,
        revocation=Revocation(revocation),
        legacy_path=legacy_path,
    )
    failure: SipsuaError | None = None
    if target is not None:
        found = inspection.probe = run(probe(target, policy, reference=name, seconds=timeout))
        failure = found.handshake.error
        if found.best.chain:
            inspection.judge(found.best.chain, policy, found.reference, datetime.now(UTC), found)
    elif chain is not None and name is not None:
        with within(timeout, "the file of --chain"):
            sent = certificates_in(read_file(chain), chain)
        verdict = inspection.judge(sent, policy, name, datetime.now(UTC))
        if not verdict.accepted:
            failure = CertificateRefused(verdict)
    if isinstance(failure, Untrusted) and not len(anchors):
        failure.fix = "nobody is trusted: give the CA's certificate with --ca FILE, or choose lists with --trust"
    if isinstance(failure, IdentityRefused) and cert is None:
        failure.fix = "give one that the server trusts with --cert FILE and --key FILE"
    inspection.show(Screen("stderr" if as_json else "stdout"))
    if failure is not None:
        raise failure
