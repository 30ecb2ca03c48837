"""`sipsua demo`: what sipsua is, in a second, on this machine alone.

A pocket PBX with an authority of its own, three phones that trust it and close their padlocks, and one that trusts another and says why
it does not. If anything is not as it should be the command fails, so that it also proves an installation.
"""

from __future__ import annotations

# What is dear to import (OpenSSL, asyncio) is imported where the work begins, so that `--help` comes at once.


def demo() -> None:
    """Show three phones that register over verified TLS, and one that refuses. Needs no network but loopback."""
    from sipsua.cli.interrupt import run
    from sipsua.cli.screen import Screen
    from sipsua.cli.stage import play

    run(play(Screen()))
