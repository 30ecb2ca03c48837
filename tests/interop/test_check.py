"""`sipsua check` asks a real Kamailio, which then serves phones as before."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sipsua.cli import main
from sipsua.testing.pki import CertificateAuthority
from tests.interop.kamailio import Kamailio

pytestmark = pytest.mark.interop


def test_kamailio_is_known_in_every_point_and_none_the_worse(
    kamailio: Callable[..., Kamailio],
    authority: CertificateAuthority,
    authority_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    phone = authority.issue("phone.example.com").write(tmp_path, "phone")
    own = ["--cert", str(phone.certificate), "--key", str(phone.key)]
    open_to_all = kamailio()
    demanding = kamailio(client_ca=authority_file, tls_method="TLSv1.2")
    old = kamailio(tls_method="TLSv1+", ciphers="DEFAULT@SECLEVEL=0")
    found = []
    for pbx, options in ((open_to_all, []), (demanding, []), (demanding, own), (old, [])):
        arguments = ["check", f"127.0.0.1:{pbx.port}", "--ca", str(authority_file), "--json", *options]
        code = main(arguments)
        report = json.loads(capsys.readouterr().out)
        taken = [version for version, one in report["server"]["versions"].items() if one["taken"]]
        found.append((code, report["server"]["client_certificate"], taken))
        assert report["verdict"]["accepted"] is True
        assert report["verdicts"]["pjsip"]["accepted"] is True
        assert report["server"]["staple"]["status"] == "none"
        deadline = time.monotonic() + 10
        while pbx.flows() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert pbx.flows() == []
    assert found == [
        (0, "not_asked", ["TLSv1.2", "TLSv1.3"]),
        (12, "demanded", ["TLSv1.2"]),
        (0, "accepted", ["TLSv1.2"]),
        (0, "not_asked", ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]),
    ]
