"""Speed and memory, always as ratios against a named reference in the same run: `scripts/bench [NAME...]`.

No test asserts any of it; DESIGN's budgets stand beside the figures. Each bench is a module here with a function `bench() -> list[Row]`.
"""

from __future__ import annotations

import argparse
import importlib
import platform

from tests.bench.table import show

BENCHES = {
    "codec": "parse and type one message; the SIP part of a refresh",
    "fresh": "client CPU of a fresh phone, against openssl s_time and a plain asyncio ssl client",
    "trust": "what verifying adds to the client's half of a handshake",
    "refresh": "CPU of a refresh on an open flow, split into TLS, SIP and loop",
    "idle": "memory of an idle registered phone",
    "load": "the load engine: registrations for a CPU second, refreshes on a shared flow, phones in a GiB, storms",
    "fleet": "5,000 phones registered, refreshed and unregistered in one process",
}


def main() -> None:
    """Run the benches that are named, or all."""
    parser = argparse.ArgumentParser(prog="scripts/bench", epilog="; ".join(f"{k}: {v}" for k, v in BENCHES.items()))
    parser.add_argument("names", nargs="*", choices=[[], *BENCHES], help="which benches; all where none is named")
    names = parser.parse_args().names or list(BENCHES)
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}\n")
    for name in names:
        print(f"## {name}: {BENCHES[name]}\n")
        show(importlib.import_module(f"tests.bench.{name}").bench())


if __name__ == "__main__":
    main()
