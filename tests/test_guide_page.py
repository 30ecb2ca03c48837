"""No sentence of the phone guide's page on TLS certificates is left out: each stands, word for word, in the docstring of a test.

The sentences are those of page 940 of Yealink's administrator's guide for the SIP-T2 series, T19(P) E2, T4 series, T5 series, CP860 and
CP920, which sipsua emulates. README has the table of which test holds the phone to which of them, and is held to the docstrings here.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent

SENTENCES = [
    'with "Server Hello Done" message.',
    'IP phone sends session key information (encrypted by server\'s public key) in the "Client Key Exchange" message.',
    'Server sends "Change Cipher Spec" message to activate the negotiated options for all future messages it will send.',
    "IP phones can encrypt SIP with TLS, which is called SIPS.",
    "When TLS is enabled for an account, the SIP message of this account will be encrypted, and a lock icon appears on the LCD screen "
    "after the successful TLS negotiation.",
    "The IP phone can serve as a TLS client or a TLS server.",
    "The TLS requires the following security certificates to perform the TLS handshake",
    "When the IP phone requests a TLS connection with a server, the IP phone should verify the certificate sent by the server to decide "
    "whether it is trusted based on the trusted certificates list.",
    "The IP phone has 76 built-in trusted certificates",
    "You can upload 10 custom certificates at most.",
    "The format of the trusted certificate files must be *.pem,*.cer,*.crt and *.der and the maximum file size is 5MB.",
    "For more information on 76 trusted certificates, refer to Appendix C: Trusted Certificates",
    "When clients request a TLS connection with the IP phone, the IP phone sends the server certificate to the clients for authentication.",
    "The IP phone has two types of built-in server certificates: a unique server certificate and a generic server certificate.",
    "You can only upload one server certificate to the IP phone.",
    "The old server certificate will be overridden by the new one.",
    "The format of the server certificate files must be *.pem and *.cer and the maximum file size is 5MB.",
    "It is unique to an IP phone (based on the MAC address) and issued by the Yealink Certificate Authority (CA).",
    "It issued by the Yealink Certificate Authority (CA).",
    "Only if no unique certificate exists, the IP phone may send a generic certificate for authentication.",
    "The IP phone can authenticate the server certificate based on the trusted certificates list.",
    "The trusted certificates list and the server certificates list contain the default and custom certificates.",
    "You can specify the type of certificates the IP phone accepts: default certificates, custom certificates or all certificates.",
    "Common Name Validation feature enables the IP phone to mandatorily validate the common name of the certificate sent by the connecting "
    "server.",
    "And Security verification rules are compliant with RFC 2818.",
    "In TLS feature, we use the terms trusted and server certificate. These are also known as CA and device certificates.",
    "Resetting the IP phone to factory defaults will delete custom certificates by default.",
    'But this feature is configurable by the parameter "static.phone_setting.reserve_certs_enable" using the configuration files.',
]


def words(text: str) -> str:
    """The text with white space as one space, and one kind of quotes."""
    return " ".join(text.split()).replace("“", '"').replace("”", '"')


@lru_cache(maxsize=1)
def docstrings() -> dict[str, str]:
    """The docstring of each test, under `folder/file.py::function`."""
    found = {}
    for path in sorted((TOP / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                text = ast.get_docstring(node)
                if text:
                    found[f"{path.relative_to(TOP / 'tests')}::{node.name}"] = words(text)
    return found


def holders(sentence: str) -> list[str]:
    """The tests that carry it."""
    return [name for name, text in docstrings().items() if words(sentence) in text]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_each_sentence_of_the_guide_is_carried_by_a_test(sentence: str) -> None:
    assert holders(sentence)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_table_in_readme_names_a_test_for_each_sentence(sentence: str) -> None:
    rows = re.findall(r"^\| (.+?) \| `(tests/\S+?)` \|$", (TOP / "README.md").read_text(), re.MULTILINE)
    named = {words(left): right.removeprefix("tests/") for left, right in rows}
    assert named.get(words(sentence)) in holders(sentence)
