"""Hold the built-in roots to their manifest, and write the table of README.md from both: see scripts/certs.

The bundle is what phones trust, the manifest says what it should be. Every fact in the table is read from the certificate itself; the
manifest adds its common name and the releases of `certifi` that carried it. There is no clock in this: the same files give the same table.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from datetime import date
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning

HERE = Path(__file__).parent
BUNDLE = HERE / "trusted" / "builtin.pem"
MANIFEST = HERE / "trusted" / "manifest.json"
README = HERE / "README.md"
BEGIN, END = "<!-- table: scripts/certs writes it -->\n", "<!-- end of table -->\n"

COUNT = 76
"""Guide page 940: "The IP phone has 76 built-in trusted certificates"."""
AS_OF = date(2026, 11, 1)
"""The day for which the table says what has expired."""

_BLOCK = re.compile(r"# ([^\n]+)\n(-----BEGIN CERTIFICATE-----\n.+?-----END CERTIFICATE-----\n)", re.DOTALL)


def faults() -> list[str]:
    """Where bundle and manifest differ, in words."""
    found = []
    manifest, bundle = json.loads(MANIFEST.read_text()), _bundle()
    if not len(manifest) == len(bundle) == COUNT:
        found.append(f"{len(bundle)} certificates, {len(manifest)} entries in the manifest, and it should be {COUNT}")
    for number, (entry, (name, certificate)) in enumerate(zip(manifest, bundle, strict=False), 1):
        facts = {"name": name, **_facts(certificate)}
        found += [
            f"certificate {number} ({name}): {key} is {value}, but {entry[key]} in the manifest"
            for key, value in facts.items()
            if entry[key] != value
        ]
    if len({certificate.fingerprint(hashes.SHA256()) for _, certificate in bundle}) != len(bundle):
        found.append("one certificate is there twice")
    return found


def table() -> str:
    """The table of README.md."""
    manifest = json.loads(MANIFEST.read_text())
    expired = sum(date.fromisoformat(entry["not_after"]) < AS_OF for entry in manifest)
    lines = [
        f"{len(manifest)} certificates, of which {expired} had expired by {AS_OF}.",
        "",
        "| | name | valid | key | signature | in releases of certifi | SHA-256 fingerprint |",
        "|---:|---|---|---|---|---|---|",
    ]
    for number, entry in enumerate(manifest, 1):
        first, last = (entry[key].removeprefix("certifi-") for key in ("first_seen", "last_seen"))
        over = " (expired)" if date.fromisoformat(entry["not_after"]) < AS_OF else ""
        lines.append(
            f"| {number} | {entry['name']} | {entry['not_before']} to {entry['not_after']}{over} | {entry['key']} "
            f"| {entry['signature']} | {first if first == last else f'{first} to {last}'} | `{entry['sha256']}` |"
        )
    return "\n".join(lines) + "\n"


def readme() -> str:
    """README.md as it should be: the prose that is there, and the table as of now."""
    before, begin, rest = README.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{README} has lost the marks of its table: {BEGIN.strip()} and {END.strip()}")
    return before + begin + table() + end + after


def main(arguments: list[str]) -> int:
    """`--check` looks, nothing writes. Returns the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: scripts/certs [--check]", file=sys.stderr)
        return 2
    found = faults()
    wanted = readme()
    if not found and README.read_text() != wanted:
        if arguments:
            found.append("the table in certs/README.md is not of these files: run scripts/certs")
        else:
            README.write_text(wanted)
            print("certs/README.md: table written")
    for fault in found:
        print(f"scripts/certs: {fault}", file=sys.stderr)
    if not found:
        print(f"certs/trusted: {COUNT} certificates as in the manifest")
    return 1 if found else 0


def _bundle() -> list[tuple[str, x509.Certificate]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # some have serial number 0
        return [
            (name, x509.load_pem_x509_certificate(pem.encode())) for name, pem in _BLOCK.findall(BUNDLE.read_text())
        ]


def _facts(certificate: x509.Certificate) -> dict[str, str]:
    key = certificate.public_key()
    digest = certificate.signature_hash_algorithm
    kind = "RSA" if isinstance(key, rsa.RSAPublicKey) else "EC"
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    return {
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "subject": certificate.subject.rfc4514_string(),
        "not_before": f"{certificate.not_valid_before_utc:%Y-%m-%d}",
        "not_after": f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        "key": f"{kind}-{key.key_size}",
        "signature": digest.name if digest is not None else "none",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
