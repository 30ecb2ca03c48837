"""`sipsua register`: one account registers over TLS, and everything that happened is told.

The whole manual test of a server in one line: name resolved, TCP, every step of the handshake, the chain and what is wrong with it, the
padlock, the challenge, the binding. Here are its words; `cli.attempt` does it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sipsua.cli.failure import UsageError
from sipsua.cli.password import PasswordFile, PasswordText, PasswordVariable, read_password
from sipsua.cli.trusting import StoredPhone, TrustOption, trusted, unique_identity

if TYPE_CHECKING:
    from sipsua.trust.policy import TlsVersion

# What is dear to import (OpenSSL, asyncio) is imported where the work begins, so that `--help` comes at once.


def register(
    context: typer.Context,
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="sips:user@host[:port], or sip:user@host[:port];transport=tls")
    ],
    auth_user: Annotated[
        str | None, typer.Option(metavar="NAME", help="User name of the credentials, where it is not the one of URI.")
    ] = None,
    password: PasswordText = None,
    password_env: PasswordVariable = None,
    password_file: PasswordFile = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST[:PORT]", help="Outbound proxy. Its name is then the one that is verified."),
    ] = None,
    ca: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Certificates to trust, PEM or DER. May be given again. Without: none."),
    ] = None,
    trust: TrustOption = None,
    flash: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Be the phone stored there: its TLS settings, custom certificates, and own certificate. "
            "Options that are given as well count more.",
        ),
    ] = None,
    names: Annotated[
        Literal["rfc2818", "rfc5922", "rfc6125", "rfc9525", "off"] | None,
        typer.Option(help="Rule by which the certificate's names are compared; off: they are not. Without: rfc2818."),
    ] = None,
    dangerous_accept_any_certificate: Annotated[
        bool,
        typer.Option(
            "--dangerous-accept-any-certificate",
            help="Go on whatever the server shows. Its problems are told, and the padlock says that nothing was verified.",
        ),
    ] = False,
    cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="Our own certificate, for servers that demand one; needs --key.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help="Its private key, not encrypted.")] = None,
    mac: Annotated[
        str | None,
        typer.Option(
            metavar="MAC",
            help="Show the unique certificate that the emulated manufacturer gave the phone of this MAC: see device issue.",
        ),
    ] = None,
    tls: Annotated[
        str | None,
        typer.Option(metavar="VERSIONS", help="TLS versions that are offered: one, or a range. Without: 1.2-1.3."),
    ] = None,
    dangerous_old_tls: Annotated[
        bool,
        typer.Option(
            "--dangerous-old-tls",
            help="Offer TLS 1.0 and 1.1 too, or let --tls name them. RFC 8996 has forbidden both.",
        ),
    ] = False,
    ciphers: Annotated[
        str | None,
        typer.Option(metavar="STRING", help="Suites for TLS 1.2 and below, as OpenSSL has it: ECDHE+AESGCM."),
    ] = None,
    dangerous_weak_ciphers: Annotated[
        bool,
        typer.Option(
            "--dangerous-weak-ciphers",
            help="Take keys, signatures and suites that are too weak, such as RSA 1024, SHA-1 and, in --ciphers, NULL.",
        ),
    ] = False,
    crl: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Certificate revocation lists that count, PEM or DER. May be given again."),
    ] = None,
    staple: Annotated[
        bool, typer.Option("--staple", help="Ask the server for a stapled OCSP response, and hold it to it.")
    ] = False,
    revocation: Annotated[
        Literal["soft", "hard"],
        typer.Option(
            help="With --crl or --staple, where nobody says whether a certificate is revoked: warn, or refuse."
        ),
    ] = "soft",
    legacy_path: Annotated[
        bool,
        typer.Option(
            "--legacy-path",
            help="Follow the chain as the server sent it, as old phones do, even to a root that has expired.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="With --keep: resume the TLS session where the flow is opened again.")
    ] = False,
    expires: Annotated[int, typer.Option(metavar="SECONDS", help="Life of the binding that is asked for.")] = 3600,
    persona: Annotated[Literal["generic", "yealink"], typer.Option(help="Phone that it looks like.")] = "generic",
    user_agent: Annotated[
        str | None, typer.Option(metavar="TEXT", help="User-Agent, in place of the persona's.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Until when the registration must stand; leaving may add 2 s.")
    ] = 15.0,
    keep: Annotated[
        float, typer.Option(metavar="SECONDS", help="Stay registered so long, refreshing; then unregister.")
    ] = 0.0,
    listen: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            help="With --keep: take TLS connections on this port (0: a free one), show them --cert, and answer.",
        ),
    ] = None,
    listen_demand_certificate: Annotated[
        bool,
        typer.Option(
            "--listen-demand-certificate",
            help="Who connects there must show a certificate that the trust lists vouch for.",
        ),
    ] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Print the SIP messages to stderr.")] = False,
    keylog: Annotated[
        str | None, typer.Option(metavar="FILE", help="Add the session keys to this file, for Wireshark.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object to stdout, and all else to stderr.")
    ] = False,
) -> None:
    """Register one account over TLS, tell everything about it, and unregister.

    Exit codes: 0 done, 2 usage, 10 certificate refused, 11 its name refused, 12 handshake failed, 13 unreachable,
    14 credentials refused, 15 refused by the server, 16 no answer in time, 17 a local file or setting is bad,
    18 the flow was lost after TLS, 70 sipsua is wrong, 130 interrupted.

    The JSON object's timings_ms are milliseconds for each step: dns, tcp, tls (ClientHello to Finished),
    challenge (first REGISTER to 401), register (last REGISTER to 200).
    """
    from sipsua.account.config import AccountConfig, Limits, without_password
    from sipsua.account.persona import PERSONAS
    from sipsua.cli.attempt import Attempt
    from sipsua.cli.interrupt import run, within
    from sipsua.cli.report import Report
    from sipsua.cli.screen import Screen
    from sipsua.cli.trace import KeyLog, show_traffic
    from sipsua.errors import BadConfiguration, CredentialsRefused, IdentityRefused, Untrusted
    from sipsua.trust.crl import CrlList
    from sipsua.trust.identity import Identity
    from sipsua.trust.policy import NameRule, Policy, Revocation
    from sipsua.trust.store import TrustList

    report = Report(without_password(uri))
    context.obj.append(report)
    secret: str | None = None
    try:
        for option, value, least in (("--timeout", timeout, 0.001), ("--keep", keep, 0.0)):
            if not least <= value <= LONGEST:
                raise UsageError(f"{option} of {value:g} s", fix=f"give seconds from {least:g} to {LONGEST}")
        if key is not None and cert is None:
            raise UsageError("--key without --cert", fix="give the certificate that the key belongs to")
        if mac is not None and cert is not None:
            raise UsageError("--mac with --cert: an account shows one certificate", fix="leave one of them out")
        if revocation == "hard" and not (crl or staple):
            raise UsageError(
                "--revocation hard without --crl and --staple: nobody is asked",
                fix="give --crl FILE, or --staple, or both",
            )
        if resume and not keep:
            raise UsageError(
                "--resume without --keep: there is no second handshake", fix="say with --keep SECONDS how long to stay"
            )
        if listen is not None and not keep:
            raise UsageError(
                "--listen without --keep", fix="say with --keep SECONDS how long the phone is to be there for calls"
            )
        if listen_demand_certificate and listen is None:
            raise UsageError(
                "--listen-demand-certificate without --listen", fix="give the port to listen on with --listen"
            )
        with within(timeout, "the file of --password-file"):
            secret = read_password(password, password_env, password_file)
        lowest, highest = tls_versions(tls, old=dangerous_old_tls)
        with within(timeout, "a file of --ca"):
            custom = TrustList.from_files(*ca or ())
        with within(timeout, "a file of --crl"):
            crls = CrlList.from_files(*crl) if crl else None
        try:
            with within(timeout, "a file of --cert or --key"):
                identity = Identity.from_files(cert, key) if cert is not None else None
        except BadConfiguration as error:
            if key is None:
                error.fix += "; where the private key is in a file of its own, name that with --key FILE"
            raise
        if mac is not None:
            identity = unique_identity(mac)
        rule, accept_any = NameRule(names or "rfc2818"), dangerous_accept_any_certificate
        if flash is not None:
            phone = StoredPhone.read(
                flash, identity=identity, versions=tls is None, dangerous_old_tls=dangerous_old_tls
            )
            trust = trust or phone.lists
            custom = TrustList.union(custom, phone.custom)
            if names is None:
                rule = phone.policy.names
            if tls is None:
                lowest, highest = phone.policy.minimum, phone.policy.maximum
            identity = phone.policy.identity
            accept_any = accept_any or phone.policy.dangerous_accept_any_certificate
        if listen is not None and identity is None:
            raise UsageError(
                "--listen without --cert",
                fix="give the phone's certificate, which clients are shown, and its key; or say --mac or --flash",
            )
        anchors = trusted(trust or "custom", custom, ca or ())
        if listen_demand_certificate and not len(anchors):
            raise UsageError(
                "--listen-demand-certificate without --ca",
                fix="give the CA of the clients with --ca, or lists with --trust",
            )
        policy = Policy(
            anchors=anchors,
            names=rule,
            identity=identity,
            minimum=lowest,
            maximum=highest,
            ciphers=ciphers,
            crls=crls,
            staple=staple,
            revocation=Revocation(revocation),
            legacy_path=legacy_path,
            resume=resume,
            dangerous_old_tls=dangerous_old_tls,
            dangerous_weak_ciphers=dangerous_weak_ciphers,
            dangerous_accept_any_certificate=accept_any,
        )
        limits = Limits()
        try:
            config = AccountConfig(
                uri=uri,
                policy=policy,
                password=secret or "",
                auth_user=auth_user,
                server=server,
                expires=expires,
                persona=PERSONAS[persona],
                user_agent=user_agent,
                # A limit of its own for each step tells better what hung than the end of the whole time.
                limits=Limits(
                    resolve=min(limits.resolve, 0.9 * timeout),
                    connect=min(limits.connect, 0.9 * timeout),
                    handshake=0.9 * timeout,
                    close=LEAVING / 2,
                ),
            )
        except BadConfiguration as error:
            raise UsageError(error.what, fix=error.fix) from None
        with ExitStack() as stack:
            with within(timeout, "the file of --keylog"):
                log = stack.enter_context(KeyLog(keylog)) if keylog is not None else None
            attempt = Attempt(
                config=config,
                timeout=timeout,
                keep=keep,
                listen=listen,
                demand_certificate=listen_demand_certificate,
                tap=show_traffic if trace else None,
                keylog=log.write if log is not None else None,
            )
            run(attempt.run(report, Screen("stderr" if as_json else "stdout")))
    except (Untrusted, CredentialsRefused) as error:
        if isinstance(error, Untrusted) and not ca and flash is None and trust in (None, "custom"):
            error.fix = "without --ca nobody is trusted: give the certificate of the CA that signed it with --ca FILE"
        elif isinstance(error, CredentialsRefused) and secret is None:
            error.fix = "give the password, with --password-env VAR or --password-file FILE"
        raise
    except IdentityRefused as error:
        if cert is None and mac is None and flash is None:
            error.fix = "give a certificate that the server trusts with --cert FILE and --key FILE, or that of a phone with --mac MAC"
        raise


def tls_versions(text: str | None, *, old: bool) -> tuple[TlsVersion, TlsVersion]:
    """The lowest and the highest version of `1.3` or `1.2-1.3`; None stands for all, below 1.2 only where they may be `old`.

    Raises UsageError.
    """
    from sipsua.trust.policy import TlsVersion

    known = {"1.0": TlsVersion.TLS1_0, "1.1": TlsVersion.TLS1_1, "1.2": TlsVersion.TLS1_2, "1.3": TlsVersion.TLS1_3}
    if text is None:
        text = "1.0-1.3" if old else "1.2-1.3"
    first, dash, last = text.partition("-")
    lowest, highest = known.get(first), known.get(last if dash else first)
    if lowest is None or highest is None or lowest > highest:
        raise UsageError(f"--tls {text} names no TLS versions", fix="give one of 1.2 and 1.3, or 1.2-1.3 for both")
    if lowest < TlsVersion.TLS1_2 and not old:
        raise UsageError(
            f"--tls {text}: {lowest} is not safe any more (RFC 8996)",
            fix="begin with 1.2; for a test of an old server say --dangerous-old-tls",
        )
    return lowest, highest


LEAVING = 2.0
"""Seconds at most for the end: one half for the answer to our removal, the other for the server's close_notify."""
LONGEST = 10_000_000
"""Seconds: the longest time that a command takes as an option, some 115 days."""
