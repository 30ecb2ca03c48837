"""The play of `sipsua demo`: a PBX, three phones that trust it, and one that does not."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack

from sipsua.account.config import AccountConfig
from sipsua.cli.screen import Screen
from sipsua.errors import Defect
from sipsua.testing.pbx import PocketPbx
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import CertificateRefused
from sipsua.ua.user_agent import UserAgent

PHONES = ("1000", "1001", "1002")
STRANGER = "1003"


async def play(screen: Screen) -> None:
    """Show it. Raises what is not as it should be, Defect where a phone was let in that should not have been."""
    password = secrets.token_urlsafe()
    authority = CertificateAuthority("sipsua demo CA")
    users = dict.fromkeys((*PHONES, STRANGER), password)
    certificate = authority.issue("localhost", "127.0.0.1", "::1")
    async with PocketPbx(users, certificate=certificate) as pbx:

        def account(user: str, anchors: TrustList) -> AccountConfig:
            return AccountConfig(uri=pbx.uri(user), password=password, policy=Policy(anchors=anchors))

        screen.line(("pocket PBX", "title"), f"on {pbx.host} port {pbx.port}, certified by {authority.name}")
        screen.blank()
        trusted = TrustList.from_pem(authority.pem)
        async with AsyncExitStack() as stack:
            phones = [await stack.enter_async_context(UserAgent(account(user, trusted))) for user in PHONES]
            bindings = await asyncio.gather(*(phone.register(10.0) for phone in phones))
            for phone, binding in zip(phones, bindings, strict=True):
                if not phone.lock.locked or not phone.lock.verified or phone.verdict is None:
                    raise Defect(f"{phone.config.uri} is registered, and its padlock says {phone.lock.state}")
                screen.padlock(phone.lock, phone.config.uri)
                screen.session(phone.lock, phone.verdict)
                screen.binding(binding, indent=2)
            if set(pbx.bindings) != set(PHONES):
                raise Defect(f"three phones registered, and the PBX knows {sorted(pbx.bindings)}")
            screen.blank()
            await _refuse(account(STRANGER, TrustList.from_pem(CertificateAuthority("another CA").pem)), screen)
            screen.blank()
        if pbx.bindings:
            raise Defect(f"three phones unregistered, and the PBX still knows {sorted(pbx.bindings)}")
        screen.line(("unregistered", "title"), "all three; the PBX holds no binding any more")


async def _refuse(config: AccountConfig, screen: Screen) -> None:
    """The phone that trusts somebody else."""
    async with UserAgent(config) as phone:
        try:
            await phone.register(10.0)
        except CertificateRefused as error:
            screen.padlock(phone.lock, config.uri)
            screen.verdict(error.verdict, indent=2)
        else:
            raise Defect(f"{config.uri} registered with a server that it does not trust")
