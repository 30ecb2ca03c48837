"""Memory of an idle registered phone: resident set size of a process with 2,000 of them, each on its own flow, less that without."""

from __future__ import annotations

import gc
import multiprocessing
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from sipsua.events import Registered
from sipsua.testing.pbx_process import PbxProcess
from sipsua.trust.policy import TlsVersion
from tests.bench.phones import Phones, policy, run, users
from tests.bench.table import Row

PHONES = 2000


def resident_kib() -> int:
    """Of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


async def _hold(port: int, ca_pem: bytes, version: TlsVersion) -> float:
    warm = Phones(20, port, policy(ca_pem, version))
    for line in warm.lines:
        line.register()
    await warm.until(Registered, 20)
    await warm.close()
    gc.collect()
    before = resident_kib()
    phones = Phones(PHONES, port, policy(ca_pem, version))
    for line in phones.lines:
        line.register()
    await phones.until(Registered, PHONES)
    gc.collect()
    after = resident_kib()
    await phones.close()
    return (after - before) / PHONES


def _child(pipe: Connection, port: int, ca_pem: bytes, version: TlsVersion, fast: bool) -> None:
    pipe.send(run(partial(_hold, port, ca_pem, version), fast=fast))


def bench() -> list[Row]:
    """Each in a fresh process, so that no memory is reused."""
    rows = []
    spawn = multiprocessing.get_context("spawn")
    with PbxProcess(users(PHONES)) as pbx:
        for version in (TlsVersion.TLS1_3, TlsVersion.TLS1_2):
            for fast in (False, True):
                here, there = spawn.Pipe()
                child = spawn.Process(target=_child, args=(there, pbx.port, pbx.ca_pem, version, fast))
                child.start()
                kib = here.recv()
                child.join()
                budget = "≤ 48 KiB" if version is TlsVersion.TLS1_3 else ""
                rows.append(
                    Row(f"{version}, {'uvloop' if fast else 'asyncio'}", kib, "KiB", "48 KiB", kib / 48, budget)
                )
    return rows
