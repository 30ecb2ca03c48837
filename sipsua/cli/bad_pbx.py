"""`sipsua bad-pbx`: a server that is bad in one way, for phones to be tried against before a real one is.

It makes the certificates that its fault needs, writes what the phone has to trust, says what a good phone must make of it, and tells of
each connection what the phone did: how far it came, which alert it sent, whether it registered. The kinds are those of
`testing.bad_servers`.
"""

from __future__ import annotations

from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

import typer

from sipsua.cli.failure import UsageError
from sipsua.cli.password import PasswordFile, PasswordText, PasswordVariable, read_password
from sipsua.errors import printable

if TYPE_CHECKING:
    from sipsua.testing.bad_case import Site

# What is dear to import (OpenSSL, asyncio) is imported where the work begins, so that `--help` comes at once.


def bad_pbx(
    kind: Annotated[str | None, typer.Argument(metavar="CASE", help="One of those that --list shows.")] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show all cases, and what a good phone does.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="With --list: print one JSON object; after a failure one of error and exit_code."),
    ] = False,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="IP address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0 takes a free one.")] = 5061,
    name: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="DNS name by which the phone reaches this machine. Some cases want a name beside or below it to lead here too.",
        ),
    ] = "sip.example.localhost",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="IP address by which the phone reaches it, where it is not that of --host."
        ),
    ] = None,
    write: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write what the phone needs there. Without: to a directory that is removed."),
    ] = None,
    password: PasswordText = None,
    password_env: PasswordVariable = None,
    password_file: PasswordFile = None,
) -> None:
    """Run a server that is bad in one way, until Ctrl-C or SIGTERM, and tell what each phone made of it.

    Behind the cases that a phone may accept stands a registrar: it takes every user, by the password that is given, or by none.
    """
    from sipsua.cli.interrupt import PATIENCE, run, within
    from sipsua.cli.output import print_json
    from sipsua.cli.screen import Screen
    from sipsua.cli.trial import Trial, list_cases
    from sipsua.testing.bad_servers import CASES

    if list_all:
        if kind is not None:
            raise UsageError("--list shows all cases", fix="leave out either the case or --list")
        if as_json:
            print_json({"cases": [case.as_json() for case in CASES.values()]})
        else:
            list_cases(Screen())
        return
    if as_json:
        raise UsageError("--json without --list", fix="a server that runs tells in lines; leave it out")
    if kind is None:
        raise UsageError("no case is given", fix="choose one of those that sipsua bad-pbx --list shows")
    if kind not in CASES:
        near = get_close_matches(kind, CASES, n=3)
        raise UsageError(
            f"there is no case {printable(kind)}",
            fix=f"did you mean {' or '.join(near)}?"
            if near
            else "choose one of those that sipsua bad-pbx --list shows",
        )
    with within(PATIENCE, "the file of --password-file"):
        secret = read_password(password, password_env, password_file)
    trial = Trial(CASES[kind], site_of(host, name, address), host, port, secret, write)
    try:
        run(trial.run(Screen()))
    except KeyboardInterrupt:
        pass  # the way in which it is meant to end


def site_of(host: str, name: str, address: str | None) -> Site:
    """Where the phone finds the server. Raises UsageError."""
    from sipsua.testing.bad_case import Site
    from sipsua.trust.names import parse_reference

    for option, value in (("--host", host), ("--address", address)):
        if value is not None and not _is_address(value):
            raise UsageError(f"{option} {printable(value)} is no IP address", fix="give one such as 192.0.2.10")
    if ip_address(address or host).is_unspecified:
        raise UsageError(
            f"{address or host} is no address to reach it by", fix="give that of this machine with --address"
        )
    dns = parse_reference(name).dns
    if dns is None or "." not in dns or len(dns) > LONGEST_NAME:
        raise UsageError(
            f"--name {printable(name)} is no DNS name of at least two labels and at most {LONGEST_NAME} letters",
            fix="give one such as pbx.example.com",
        )
    return Site(dns, str(ip_address(address or host)))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


LONGEST_NAME = 48
"""Some cases have it, and more, in a common name, which has 64 letters at most (RFC 5280 appendix A.1)."""
