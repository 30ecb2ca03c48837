"""`sipsua pbx`: a registrar with TLS on this machine, for phones to be tried against before the real one is there.

It makes its own authority where no certificate is given, says what to type into a phone, and tells who registers, who leaves, and whose
handshake failed and why.
"""

from __future__ import annotations

import shlex
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from sipsua.cli.failure import UsageError
from sipsua.cli.password import PasswordFile, PasswordText, PasswordVariable, read_password
from sipsua.errors import BadConfiguration, printable

# What is dear to import (OpenSSL, asyncio) is imported where the work begins, so that `--help` comes at once.


def pbx(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0 takes a free one.")] = 5061,
    users: Annotated[
        str, typer.Option(metavar="RANGES", help="Users, for example 1000-1099, phone01-phone20 or anna,7.")
    ] = "1000-1099",
    password: PasswordText = None,
    password_env: PasswordVariable = None,
    password_file: PasswordFile = None,
    realm: Annotated[str, typer.Option(metavar="TEXT", help="Realm of the challenges.")] = "pocket.pbx",
    cert: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Certificate to show, with intermediates; needs --key. Without: a new one."),
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help="Its private key, not encrypted.")] = None,
    client_ca: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Demand a certificate of each phone, signed by one of the CAs in this file."),
    ] = None,
    min_expires: Annotated[
        int, typer.Option(min=1, max=7200, metavar="SECONDS", help="Answer 423 to who asks for less.")
    ] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not tell who comes and goes.")] = False,
) -> None:
    """Run a pocket PBX: a TLS registrar for tests, until Ctrl-C or SIGTERM. All users have the same password."""
    from sipsua.cli.interrupt import PATIENCE, run, within
    from sipsua.cli.screen import Screen
    from sipsua.cli.switchboard import Switchboard
    from sipsua.phone.factory import Factory
    from sipsua.testing.pki import CertificateAuthority, Issued, IssuedFiles
    from sipsua.testing.registrar import users_in
    from sipsua.trust.identity import Identity
    from sipsua.trust.store import TrustList, read_file

    with within(PATIENCE, "the file of --password-file"):
        secret = read_password(password, password_env, password_file)
    if secret is None:
        raise UsageError("the users have no password", fix="give --password-env VAR or --password-file FILE")
    if printable(realm) != realm:
        raise UsageError("--realm holds a control character", fix="take it out")
    try:
        numbers = users_in(users, secret)
    except BadConfiguration as error:
        raise UsageError(f"--users: {error.what}", fix=error.fix) from None
    screen = Screen()
    authority = CertificateAuthority("pocket PBX CA")
    if cert is not None and key is not None:
        with within(PATIENCE, "a file of --cert or --key"):
            Identity.from_files(cert, key)  # whose errors name the files
        certificate: Issued | IssuedFiles = IssuedFiles(Path(cert), Path(key))
    elif cert is None and key is None:
        names = ["localhost", "127.0.0.1", "::1"]
        if host not in (*names, "0.0.0.0", "::"):
            names.append(host)
        certificate = authority.issue(*names)
    else:
        raise UsageError("--cert and --key belong together", fix="give both, or neither for a new certificate")
    ours = False
    if client_ca is not None:
        root = Factory().root
        with within(PATIENCE, "the file of --client-ca"):
            ours = any(anchor.der == root for anchor in TrustList.from_files(client_ca))
    pocket = Switchboard(
        numbers,
        screen if not quiet else None,
        certificate=certificate,
        host=host,
        port=port,
        client_authority=read_file(client_ca) if client_ca is not None else None,
        realm=realm,
        min_expires=min_expires,
    )

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(pocket)
            screen.line(("pocket PBX", "title"), f"on {host} port {pocket.port}, users {users}, until Ctrl-C")
            if isinstance(certificate, IssuedFiles):
                # Who trusts the server's own certificate needs no other.
                ca, files = certificate.certificate, certificate
            else:
                directory = Path(stack.enter_context(TemporaryDirectory(prefix="sipsua-pbx-")))
                ca, files = authority.write(directory / "ca.pem"), certificate.write(directory)
                screen.line(("CA", "dim"), f"         {ca} (removed at the end)", indent=2)
            screen.line(("certificate", "dim"), f"{files.certificate}, key {files.key}", indent=2)
            how = f"--password-env {shlex.quote(password_env)}" if password_env is not None else "--password PASSWORD"
            if password_file is not None:
                how = f"--password-file {shlex.quote(password_file)}"
            if client_ca is not None:
                how += " --mac MAC" if ours else " --cert PHONE.pem --key PHONE.key"
            command = f"sipsua register {pocket.uri(next(iter(numbers)))} --ca {shlex.quote(str(ca))} {how}"
            screen.line(("to try it", "dim"), f"  {command}", indent=2)
            await pocket.serve()

    try:
        run(serve())
    except KeyboardInterrupt:
        pass  # the way in which it is meant to end
