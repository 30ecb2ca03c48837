"""`openssl s_server` as a foreign peer: old versions, sessions, staples and client certificates by its own switches."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from sipsua.testing.pki import IssuedFiles


@contextmanager
def s_server(program: str, files: IssuedFiles, *options: str) -> Iterator[int]:
    """Run one on a free port of 127.0.0.1, which is yielded. It serves one connection after the other, and says nothing."""
    arguments = [program, "s_server", "-accept", "127.0.0.1:0", "-cert", str(files.certificate), "-key", str(files.key)]
    intermediates = files.certificate.read_text().partition("-----END CERTIFICATE-----\n")[2]
    if intermediates:
        files.certificate.with_suffix(".chain").write_text(intermediates)
        options = (*options, "-cert_chain", str(files.certificate.with_suffix(".chain")))
    arguments += options
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith(b"ACCEPT "):
                yield int(line.rpartition(b":")[2])
                break
        else:
            raise AssertionError(f"s_server did not start: {b''.join(said)!r}")
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
