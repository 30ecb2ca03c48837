"""A fresh phone: TCP, full TLS handshake with chain and name verified, REGISTER, 401, REGISTER, 200. Client CPU only.

The reference of the budget is `openssl s_time -new` on the same server, which connects and verifies the chain but sends nothing. The
second reference is a plain asyncio client on Python's own `ssl` that sends the same messages, made ahead.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import resource
import ssl
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from sipsua.events import Registered
from sipsua.testing.pbx_process import PbxProcess
from sipsua.trust.policy import TlsVersion
from tests.bench.phones import PASSWORD, Phones, cpu, policy, run, users
from tests.bench.table import Row

PHONES = 1500
ROUNDS = 3
_FLAGS = {TlsVersion.TLS1_3: "-tls1_3", TlsVersion.TLS1_2: "-tls1_2"}


def run_openssl(port: int, ca: Path, version: TlsVersion) -> float:
    """Microseconds of CPU for each connection of `openssl s_time -new`."""
    before = cpu(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        f"openssl s_time -connect 127.0.0.1:{port} -new -time 2 {_FLAGS[version]} -CAfile {ca} -verify 3".split(),
        capture_output=True,
        text=True,
        check=False,
    )
    match = re.search(r"(\d+) connections in \d+ real", done.stdout)
    if match is None:
        raise RuntimeError(f"openssl s_time: {done.stdout[-200:]} {done.stderr[-200:]}")
    return (cpu(resource.RUSAGE_CHILDREN) - before) / int(match.group(1)) * 1e6


async def _plain_phone(port: int, context: ssl.SSLContext, user: str, pace: asyncio.Semaphore) -> asyncio.StreamWriter:
    async with pace:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    uri = f"sips:127.0.0.1:{port}"
    head = (
        f"REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK%s\r\nMax-Forwards: 70\r\n"
        f"From: <sips:{user}@127.0.0.1>;tag=1\r\nTo: <sips:{user}@127.0.0.1>\r\nCall-ID: {user}\r\nCSeq: %d REGISTER\r\n"
        f"Contact: <sips:{user}@127.0.0.1:1>\r\nExpires: 3600\r\n%sContent-Length: 0\r\n\r\n"
    )
    writer.write((head % ("1", 1, "")).encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    realm, nonce = (re.search(rf'{name}="([^"]*)"', answer).group(1) for name in ("realm", "nonce"))  # type: ignore[union-attr]

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    a1, a2 = md5(f"{user}:{realm}:{PASSWORD}"), md5(f"REGISTER:{uri}")
    proof = md5(f"{a1}:{nonce}:00000001:c:auth:{a2}")
    credentials = (
        f'Authorization: Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{proof}", '
        f'algorithm=MD5, cnonce="c", qop=auth, nc=00000001\r\n'
    )
    writer.write((head % ("2", 2, credentials)).encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    if " 200 " not in answer:
        raise RuntimeError(answer)
    return writer


async def _plain(port: int, ca: Path, version: TlsVersion) -> float:
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = context.maximum_version = ssl.TLSVersion(version.value)
    pace = asyncio.Semaphore(32)
    before = cpu()
    writers = await asyncio.gather(*(_plain_phone(port, context, user, pace) for user in users(PHONES)))
    spent = cpu() - before
    for writer in writers:
        writer.transport.abort()
    return spent / PHONES * 1e6


async def _sipsua(port: int, ca_pem: bytes, version: TlsVersion) -> float:
    trust = policy(ca_pem, version)
    before = cpu()
    phones = Phones(PHONES, port, trust)
    for line in phones.lines:
        line.register()
    await phones.until(Registered, PHONES)
    spent = cpu() - before
    assert all(line.account.lock.locked for line in phones.lines)
    await phones.close()
    return spent / PHONES * 1e6


def bench() -> list[Row]:
    """Medians of interleaved rounds, so that a busy minute hits all alike."""
    rows = []
    for version in _FLAGS:
        with PbxProcess(users(PHONES)) as pbx, tempfile.TemporaryDirectory() as directory:
            ca = Path(directory) / "ca.pem"
            ca.write_bytes(pbx.ca_pem)
            figures: dict[str, list[float]] = {"openssl": [], "plain": [], "sipsua": [], "uvloop": []}
            for _ in range(ROUNDS):
                figures["openssl"].append(run_openssl(pbx.port, ca, version))
                phones = partial(_sipsua, pbx.port, pbx.ca_pem, version)
                figures["sipsua"].append(run(phones, fast=False))
                figures["uvloop"].append(run(phones, fast=True))
                figures["plain"].append(run(partial(_plain, pbx.port, ca, version), fast=False))
        middle = {name: sorted(values)[len(values) // 2] for name, values in figures.items()}
        reference = f"openssl s_time -new, {version}"
        for name, what in (
            ("openssl", "openssl s_time: handshake, chain verified, nothing sent"),
            ("plain", "asyncio with ssl: the same messages, made ahead"),
            ("sipsua", "sipsua, asyncio's loop"),
            ("uvloop", "sipsua, uvloop"),
        ):
            budget = "≤ 1.0" if name in ("sipsua", "uvloop") else ""
            rows.append(
                Row(f"{version} {what}", middle[name], "µs", reference, middle[name] / middle["openssl"], budget)
            )
    return rows
