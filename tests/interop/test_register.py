"""`sipsua register`, as the process that a person starts, against a real Kamailio and against servers that fail it.

Each way to succeed or fail has its exit code, its JSON, one line of cause and one of remedy; and the other side is asked what it saw: the
bindings that stand or do not, the alert in Kamailio's log. Where nothing depends on the order, processes run at the same time.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tests.interop.kamailio
from sipsua.phone.factory import Factory
from sipsua.phone.flash import Flash
from sipsua.phone.settings import Settings
from sipsua.testing.bad_case import Setup
from sipsua.testing.bad_servers import CASES, BadServer
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.manufacturer import GENERIC_NAME
from tests.interop.kamailio import Binding, Kamailio

pytestmark = pytest.mark.interop

SIPSUA = str(Path(sys.executable).with_name("sipsua"))
PASSWORD = "Sesam-0effne-Dich-7"
MARGIN = 20.0
"""Seconds beyond --timeout and --keep until a process counts as hung: two to leave, the rest to start on a busy machine."""


class Command:
    """A `sipsua register --json` that was started; its output is checked for secrets and tracebacks when it has ended."""

    def __init__(self, directory: Path, arguments: tuple[object, ...], limit: float, password: str) -> None:
        self._out, self._err = directory / "out", directory / "err"
        self._secrets = {PASSWORD, password}
        self._limit = limit
        self._deadline = time.monotonic() + limit
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [SIPSUA, "register", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "PHONE_PASSWORD": password},
            )

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def running(self) -> bool:
        """Whether it still runs; raises TimeoutExpired where it runs too long."""
        if self._process.poll() is not None:
            return False
        if time.monotonic() > self._deadline:
            raise subprocess.TimeoutExpired(self._process.args, self._limit, stderr=self._err.read_bytes())
        return True

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> "Command":
        """Wait for its end; raises TimeoutExpired where that does not come."""
        while self.running:
            time.sleep(0.01)
        out = self._out.read_text()
        assert out.count("\n") == 1
        for secret in self._secrets:
            assert secret not in out + self.err
        assert "Traceback" not in self.err
        assert json.loads(out)["exit_code"] == self.code
        return self

    @property
    def code(self) -> int:
        """The exit code."""
        return int(self._process.returncode)

    @property
    def err(self) -> str:
        """What it wrote to stderr."""
        return self._err.read_text()

    @property
    def report(self) -> dict[str, Any]:
        """The JSON object."""
        return dict(json.loads(self._out.read_text()))

    @property
    def told(self) -> tuple[str, str]:
        """Cause and remedy, from the last two lines of stderr, which say the same as the JSON."""
        what, fix = self.err.splitlines()[-2:]
        error = self.report["error"]
        assert (what, fix) == (f"sipsua: {error['what']}", f"   fix: {error['fix']}")
        assert error["what"]
        assert error["fix"]
        return error["what"], error["fix"]


Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path, authority_file: Path) -> Iterator[Start]:
    """Starts commands that trust the authority; those that still run at the end are killed."""
    with ExitStack() as stack:
        # A shell starts what is to run in the background with SIGINT ignored, and children inherit that.
        stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))

        def start(
            uri: str,
            *options: object,
            ca: Path = authority_file,
            password: str = PASSWORD,
            timeout: float = 20.0,
            keep: float = 0.0,
        ) -> Command:
            directory = tmp_path / f"command-{len(list(tmp_path.glob('command-*')))}"
            directory.mkdir()
            arguments = (uri, "--ca", ca, "--password-env", "PHONE_PASSWORD", "--timeout", timeout, "--keep", keep)
            limit = timeout + keep + MARGIN
            return stack.enter_context(Command(directory, (*arguments, "--json", *options), limit, password))

        yield start


@pytest.fixture
def registrar(kamailio: Callable[..., Kamailio]) -> Callable[..., Kamailio]:
    """A maker of running Kamailios whose user 1000 has a password that no other word contains."""
    return partial(kamailio, users={"1000": PASSWORD})


def sips(pbx: Kamailio | BadServer, user: str = "1000", host: str = "127.0.0.1") -> str:
    return f"sips:{user}@{host}:{pbx.port}"


def sip(pbx: Kamailio, user: str = "1000", host: str = "127.0.0.1") -> str:
    return f"sip:{user}@{host}:{pbx.port};transport=tls"


def watch(commands: Sequence[Command], *pbxes: Kamailio) -> list[list[Binding]]:
    """Let the commands end, and return for each Kamailio the bindings that stood meanwhile: one for each accepted REGISTER."""
    seen: dict[Kamailio, dict[tuple[str, int], Binding]] = {pbx: {} for pbx in pbxes}
    while any(command.running for command in commands):
        for pbx, bindings in seen.items():
            for binding in pbx.bindings():
                bindings.setdefault((binding.user, binding.cseq), binding)
        time.sleep(0.02)
    for command in commands:
        command.end()
    return [list(bindings.values()) for bindings in seen.values()]


def eventually(condition: Callable[[], object]) -> bool:
    """Whether the condition comes true within ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def requests(pbx: Kamailio, method: str = "REGISTER") -> int:
    """How many requests Kamailio's script has seen."""
    return pbx.log().count(f"<script>: {method} ")


def failed(command: Command, code: int, kind: str, lock: str, *, status: int | None = None) -> tuple[str, str]:
    """Cause and remedy of a command that must have failed with this code and these fields of JSON."""
    command.end()
    report = command.report
    assert command.code == code, command.err
    assert report["error"]["code"] == kind
    assert report["lock"]["state"] == lock
    assert (report["registration"]["state"], report["registration"]["status"]) == ("failed", status)
    assert report["registration"]["expires"] is None
    return command.told


def test_phone_registers_in_every_way_and_leaves_no_binding(
    registrar: Callable[..., Kamailio], start: Start, subtests: pytest.Subtests
) -> None:
    odd, quoted = "+49.30-12_34!~*'(&=$,;?x/)", 'a"b\\c$d é%s'
    pbx = registrar(users={str(user): PASSWORD for user in range(1000, 1006)} | {odd: quoted})
    generic, yealink = "sipsua", "Yealink SIP-T46S 66.85.0.5"
    ways: list[tuple[str, str, tuple[str, ...], str, str]] = [
        # user, URI, options, TLS, User-Agent
        ("1000", sips(pbx), (), "TLSv1.3", generic),
        ("1001", sip(pbx, "1001"), ("--tls", "1.2"), "TLSv1.2", generic),
        ("1002", sips(pbx, "1002"), ("--tls", "1.2", "--persona", "yealink"), "TLSv1.2", yealink),
        ("1003", sip(pbx, "1003"), ("--tls", "1.3", "--persona", "yealink"), "TLSv1.3", yealink),
        ("1004", sips(pbx, "1004", "localhost"), ("--names", "rfc9525", "--expires", "60"), "TLSv1.3", generic),
        ("1005", "sips:1005@sip.example.com", ("--server", f"localhost:{pbx.port}"), "TLSv1.3", generic),
        (odd, sip(pbx, odd), ("--user-agent", "Desk 1"), "TLSv1.3", "Desk 1"),
    ]
    commands = [
        start(uri, *options, password=pbx.users[user], keep=1.5) for user, uri, options, _protocol, _agent in ways
    ]
    (bindings,) = watch(commands, pbx)
    assert pbx.bindings() == []
    assert [binding.cseq for binding in bindings] == [2] * len(ways)
    bound = {binding.user: binding for binding in bindings}
    for (user, uri, options, protocol, agent), command in zip(ways, commands, strict=True):
        with subtests.test(uri=uri, options=options):
            assert command.code == 0, command.err
            report, expires = command.report, 60 if "60" in options else 3600
            assert report["account"] == uri
            assert report["registration"] == {
                "state": "registered",
                "status": 200,
                "reason": "OK",
                "expires": expires,
            }
            assert report["error"] is None
            lock, verdict = report["lock"], report["verdict"]
            host = "localhost" if "localhost" in uri or user == "1005" else "127.0.0.1"
            assert (lock["state"], lock["verified"], lock["protocol"]) == ("locked", True, protocol)
            assert (lock["server_name"], lock["peer"]) == (host, f"127.0.0.1:{pbx.port}")
            assert (lock["anchor"], lock["anchor_list"]) == ("CN=interop test CA", "custom")
            assert verdict["accepted"] is verdict["verified"] is True
            assert (verdict["reference"], verdict["problems"]) == (host, [])
            assert report["handshake"][-1]["step"].lower().startswith("finished" if protocol == "TLSv1.3" else "fin")
            assert all(took is not None for took in report["timings_ms"].values())
            assert "unregistered the registrar answered 200" in command.err
            binding = bound[user]
            scheme, transport = uri.partition(":")[0], ";transport=" if uri.startswith("sip:") else ""
            assert binding.contact.startswith(f"{scheme}:{user}@127.0.0.1:")
            assert transport in binding.contact.lower()
            assert expires - 20 < binding.expires_s <= expires
            assert binding.user_agent == agent
    assert "server name localhost" in pbx.log()
    assert "server name 127.0.0.1" not in pbx.log(), "RFC 6066 section 3: no address is a server name"


def test_digest_of_other_kinds_is_answered(registrar: Callable[..., Kamailio], start: Start) -> None:
    pbxes = [
        registrar(algorithm="SHA-256"),
        registrar(qop=False, realm="pbx.example.com", authentication_info=True),
    ]
    commands = [start(sips(pbx), "--trace").end() for pbx in pbxes]
    assert [command.code for command in commands] == [0, 0]
    assert "algorithm=SHA-256, cnonce=" in commands[0].err
    authorization = next(line for line in commands[1].err.splitlines() if line.startswith("Authorization: "))
    assert 'realm="pbx.example.com"' in authorization
    assert "qop" not in authorization
    assert [pbx.bindings() for pbx in pbxes] == [[], []]


def test_wrong_password_is_14_or_15_where_kamailio_says_403_and_is_tried_once(
    registrar: Callable[..., Kamailio], start: Start
) -> None:
    challenging, forbidding = registrar(), registrar(wrong_password=403)
    again, forbidden = (start(sips(pbx), password="Mutabor-19") for pbx in (challenging, forbidding))
    what, fix = failed(again, 14, "credentials_refused", "locked", status=401)
    assert "refused user name '1000' or its password with 401" in what
    assert "password" in fix
    what, fix = failed(forbidden, 15, "refused", "locked", status=403)
    assert what.endswith("answered 403 Forbidden")
    for pbx in (challenging, forbidding):
        assert pbx.bindings() == []
        assert requests(pbx) == 2


def test_unknown_user_is_15(registrar: Callable[..., Kamailio], start: Start) -> None:
    for status in (404, 403):
        pbx = registrar(unknown_user=status)
        what, fix = failed(start(sips(pbx, "2000")), 15, "refused", "locked", status=status)
        assert f"the registrar at 127.0.0.1:{pbx.port} answered {status}" in what
        assert fix
        assert pbx.bindings() == []


def test_interval_too_brief_is_asked_again_with_min_expires(registrar: Callable[..., Kamailio], start: Start) -> None:
    pbx = registrar(min_expires=120)
    command = start(sips(pbx), "--expires", 60, "--trace", keep=1.5)
    ((binding,),) = watch([command], pbx)
    assert command.code == 0, command.err
    assert "SIP/2.0 423 " in command.err
    assert command.report["registration"]["expires"] == 120
    assert 100 < binding.expires_s <= 120
    assert binding.cseq == 3
    assert pbx.bindings() == []


def test_refresh_renews_the_binding_and_an_expired_nonce_is_no_wrong_password(
    registrar: Callable[..., Kamailio], start: Start
) -> None:
    lasting = registrar(users={"1000": PASSWORD, "1001": PASSWORD})
    saying, silent = registrar(nonce_expire=1), registrar(nonce_expire=1, say_stale=False)
    # Each refreshes once in the time that it stays: the generic phone at 80 to 90 % of the binding's life, the Yealink at half.
    generic, stale, unsaid = [start(sips(pbx), "--expires", 3, "--trace", keep=4) for pbx in (lasting, saying, silent)]
    yealink = start(sip(lasting, "1001"), "--expires", 5, "--trace", "--persona", "yealink", keep=4)
    both, *others = watch([generic, stale, unsaid, yealink], lasting, saying, silent)
    bindings = [[one for one in both if one.user == user] for user in ("1000", "1001")] + others
    for command, (first, last), requests_of_refresh in zip(
        (generic, yealink, stale, unsaid), bindings, (1, 1, 2, 2), strict=True
    ):
        assert command.code == 0, command.err
        assert command.err.count(" refreshed 200 OK") == 1
        assert (first.cseq, last.cseq) == (2, 2 + requests_of_refresh)
        assert (first.call_id, first.contact, first.received) == (last.call_id, last.contact, last.received)
        assert ("stale=true" in command.err.lower()) is (command is stale)
    assert "nc=00000003" in generic.err, "challenged once; the refresh and the removal use the nonce again"
    assert [pbx.bindings() for pbx in (lasting, saying, silent)] == [[], [], []]


def test_interrupted_phone_takes_its_binding_away(registrar: Callable[..., Kamailio], start: Start) -> None:
    pbx = registrar()
    command = start(sips(pbx), keep=50)
    assert eventually(pbx.bindings)
    command.interrupt()
    assert command.end().code == 130
    assert "unregistered the registrar answered 200" in command.err
    assert command.report["lock"]["state"] == "locked"
    assert pbx.bindings() == []
    assert eventually(lambda: not pbx.flows())


def test_phone_interrupted_in_mid_handshake_ends_at_once(start: Start) -> None:
    with BadServer(CASES["silence"]) as server:
        command = start(sips(server))
        assert eventually(lambda: server.visits and server.visits[0].received)
        command.interrupt()
        assert command.end().code == 130
    assert command.report["error"]["code"] == "interrupted"
    assert server.visits[0].ended == "closed"


def test_untrusted_root_and_expired_certificate_are_10_with_the_right_alert(
    registrar: Callable[..., Kamailio], start: Start, authority: CertificateAuthority, tmp_path: Path
) -> None:
    other = CertificateAuthority("another CA").write(tmp_path / "other.pem")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    old = authority.issue("127.0.0.1", not_before=yesterday - timedelta(days=9), not_after=yesterday)
    files = old.write(tmp_path, "old")
    good, expired = registrar(), registrar(certificate=files.certificate, key=files.key)
    late = start(sips(expired))
    for untrusting in [start(sips(good), "--tls", version, ca=other) for version in ("1.2", "1.3")]:
        what, fix = failed(untrusting, 10, "certificate_refused", "refused")
        assert "unknown_issuer" in what
        assert "CN=interop test CA" in fix
        assert [one["code"] for one in untrusting.report["verdict"]["problems"]] == ["unknown_issuer"]
    what, fix = failed(late, 10, "certificate_refused", "refused")
    assert "expired" in what
    assert "renew" in fix
    assert [one["code"] for one in late.report["verdict"]["problems"]] == ["expired"]
    assert eventually(lambda: good.log().count("tlsv1 alert unknown ca") == 2)
    assert eventually(lambda: expired.log().count("sslv3 alert certificate expired") == 1)
    assert requests(good) == requests(expired) == 0


def test_name_of_another_server_is_11_and_passes_only_where_that_is_asked_for(
    registrar: Callable[..., Kamailio], start: Start, authority: CertificateAuthority, tmp_path: Path
) -> None:
    files = authority.issue("other.example.com").write(tmp_path, "other")
    pbx = registrar(certificate=files.certificate, key=files.key)
    stranger = CertificateAuthority("another CA").write(tmp_path / "other-ca.pem")
    by_address, by_name = start(sips(pbx), "--tls", "1.2"), start(sips(pbx, host="localhost"))
    for command, problem in ((by_address, "no_usable_name"), (by_name, "name_mismatch")):
        what, fix = failed(command, 11, "name_refused", "refused")
        assert problem in what
        assert "other.example.com" in what
        assert "other.example.com" in fix
    assert eventually(lambda: pbx.log().count("sslv3 alert bad certificate") == 2)
    assert requests(pbx) == 0

    without_names = start(sips(pbx), "--names", "off")
    anything = start(sips(pbx), "--dangerous-accept-any-certificate", ca=stranger)
    assert without_names.end().code == 0
    assert without_names.report["verdict"]["problems"] == []
    assert anything.end().code == 0
    assert anything.report["lock"]["state"] == "locked"
    assert anything.report["lock"]["verified"] is anything.report["verdict"]["verified"] is False
    problems = {one["code"] for one in anything.report["verdict"]["problems"]}
    assert problems == {"unknown_issuer", "no_usable_name"}
    assert "NOT VERIFIED" in anything.err
    assert pbx.bindings() == []


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_demanded_client_certificate_is_given_or_the_phone_says_what_is_missing(
    registrar: Callable[..., Kamailio],
    start: Start,
    authority: CertificateAuthority,
    authority_file: Path,
    tmp_path: Path,
    version: str,
) -> None:
    good = authority.issue("phone-1").write(tmp_path, "good")
    bad = CertificateAuthority("another CA").issue("phone-2").write(tmp_path, "bad")
    pbx = registrar(client_ca=authority_file)
    given, none, wrong = (
        start(sips(pbx), "--tls", version, *(("--cert", files.certificate, "--key", files.key) if files else ()))
        for files in (good, None, bad)
    )
    assert given.end().code == 0, given.err
    assert ": phone-1\n" in pbx.log()
    # In TLS 1.3 our side of the handshake is over before the server looks at our certificate: the padlock was closed.
    lock = {"1.2": "refused", "1.3": "open"}[version]
    what, fix = failed(none, 12, "handshake_failed", lock)
    assert {"1.2": "handshake_failure (40)", "1.3": "certificate_required (116)"}[version] in what
    assert "give a certificate that the server trusts" in fix
    what, fix = failed(wrong, 12, "handshake_failed", lock)
    assert "unknown_ca (48)" in what
    assert "CN=phone-2" in what
    assert "issuer" in fix
    assert ": phone-2\n" not in pbx.log()
    assert eventually(lambda: "peer did not return a certificate" in pbx.log())
    assert eventually(lambda: "certificate verify failed" in pbx.log())
    assert pbx.bindings() == []


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_phones_of_the_emulated_manufacturer_are_known_by_their_mac_and_others_are_told_why_not(
    registrar: Callable[..., Kamailio],
    start: Start,
    authority: CertificateAuthority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
) -> None:
    monkeypatch.setenv("SIPSUA_HOME", str(tmp_path / "house"))
    factory = Factory()
    factory.ahead(["001565000002"], "ec")
    root = tmp_path / "root.pem"
    root.write_bytes(factory.manufacturer.root_pem)
    pbx = registrar(client_ca=root)
    rsa, ec = (
        start(sips(pbx), "--tls", version, "--mac", mac, keep=1.0) for mac in ("00:15:65:00:00:01", "001565000002")
    )
    theirs = authority.issue("001565000001").write(tmp_path, "theirs")
    foreign = start(sips(pbx), "--tls", version, "--cert", theirs.certificate, "--key", theirs.key)
    none = start(sips(pbx), "--tls", version)
    Settings(ca_cert=1).write(Flash(tmp_path / "phone"))  # a phone that has no certificate of its own
    generic = start(sips(pbx), "--tls", version, "--flash", tmp_path / "phone")
    # Another manufacturer whose authorities have the same names.
    monkeypatch.setenv("SIPSUA_HOME", str(tmp_path / "another"))
    namesake = start(sips(pbx), "--tls", version, "--mac", "00:15:65:00:00:01")
    (seen,) = watch([rsa, ec, foreign, none, generic, namesake], pbx)
    for phone in (rsa, ec, generic):
        assert phone.code == 0, phone.err
        assert phone.report["lock"]["state"] == "locked"
    for mac in ("001565000001", "001565000002", GENERIC_NAME):
        assert f": {mac}\n" in pbx.log()
    assert rsa.report["lock"]["verified"] is True
    lock = {"1.2": "refused", "1.3": "open"}[version]
    what, fix = failed(none, 12, "handshake_failed", lock)
    assert "certificate" in what
    assert "give a certificate that the server trusts" in fix
    for phone in (foreign, namesake):
        what, fix = failed(phone, 12, "handshake_failed", lock)
        assert "unknown_ca (48)" in what
        assert "it refused our certificate CN=001565000001" in what
        assert "have the server trust its issuer" in fix
    assert requests(pbx) == 3 * 3  # of each good phone: challenge, binding, and its end
    assert {binding.user for binding in seen} == {"1000"}
    assert pbx.bindings() == []


def test_tls_version_that_kamailio_does_not_speak_is_12(registrar: Callable[..., Kamailio], start: Start) -> None:
    pbx = registrar(tls_method="TLSv1.2")
    what, fix = failed(start(sips(pbx), "--tls", "1.3"), 12, "handshake_failed", "refused")
    assert "protocol_version (70)" in what
    assert "TLSv1.3" in fix


def test_plain_text_port_of_kamailio_is_12(
    registrar: Callable[..., Kamailio], start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    both = tmp_path / "both.cfg"
    template = tests.interop.kamailio.TEMPLATE.read_text()
    both.write_text(template.replace("listen=LISTEN\n", f"listen=LISTEN\nlisten=tcp:127.0.0.1:{port}\n"))
    monkeypatch.setattr(tests.interop.kamailio, "TEMPLATE", both)
    registrar()
    # Kamailio waits for the line's end that a ClientHello does not have.
    command = start(f"sips:1000@127.0.0.1:{port}", timeout=2)
    what, fix = failed(command, 12, "handshake_failed", "refused")
    assert f"127.0.0.1:{port} did not finish the TLS handshake within" in what
    assert "its TLS port" in fix


def test_nothing_there_is_13(start: Start) -> None:
    port = free_port()
    nobody = start(f"sips:1000@127.0.0.1:{port}")
    nowhere = start("sips:1000@pbx.example.invalid", timeout=2)
    what, fix = failed(nobody, 13, "unreachable", "open")
    assert what == f"no TCP connection to 127.0.0.1:{port}: Connection refused"
    assert "port" in fix
    what, fix = failed(nowhere, 13, "unreachable", "open")
    assert "pbx.example.invalid" in what
    assert nowhere.report["verdict"] is nowhere.report["timings_ms"]["dns"] is None


def test_broken_server_is_told_and_nothing_hangs(
    start: Start, authority: CertificateAuthority, subtests: pytest.Subtests
) -> None:
    setup = Setup(leaf=authority.issue("127.0.0.1"), anchors=(authority.certificate,), reference="127.0.0.1")
    late = "did not finish the TLS handshake within"
    hung = {"refused", "negotiating"}  # on a busy machine --timeout may strike before the handshake's own limit
    rows: list[tuple[str, float, set[int], str, set[str]]] = [
        # name, --timeout, exit codes, words of the cause, the padlock at the end
        # first those that take their time
        ("tls-then-silence", 3, {16}, "did not answer REGISTER", {"locked"}),
        ("silence", 2, {12}, late, hung),
        ("silence-after-server-hello", 2, {12}, late, hung),
        ("one-octet-a-second", 2, {12}, late, hung),
        ("plain-sip", 20, {12}, "does not speak TLS on this port but SIP", {"refused"}),
        ("plain-http", 20, {12}, "does not speak TLS on this port but HTTP", {"refused"}),
        ("close-at-accept", 20, {12}, "instead of beginning a TLS handshake", {"refused"}),
        # The reset may come before connect() has returned; then there was no connection.
        ("reset-at-accept", 20, {12, 13}, "reset", {"refused", "open"}),
        ("reset-after-client-hello", 20, {12}, "reset the connection", {"refused"}),
        ("tls-then-garbage", 20, {18}, "this is not SIP", {"open"}),
        ("tls-then-broken-record", 20, {18}, "is no TLS record", {"open"}),
        ("tls-then-close", 20, {18}, "closed the flow", {"open"}),
        ("tls-then-fin", 20, {18}, "without a word in TLS", {"open"}),
    ]
    servers = [BadServer(CASES[name], setup=setup) for name, *_ in rows]
    kinds = {12: "handshake_failed", 13: "unreachable", 16: "no_answer", 18: "flow_lost"}
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
        commands = [
            start(sips(server), timeout=timeout) for server, (_, timeout, *_) in zip(servers, rows, strict=True)
        ]
        for command in commands:
            command.end()
    for (name, _, codes, words, locks), server, command in zip(rows, servers, commands, strict=True):
        with subtests.test(name):
            assert command.code in codes, command.err
            report = command.report
            what, _ = command.told
            assert words in what
            assert report["error"]["code"] == kinds[command.code]
            assert report["lock"]["state"] in locks
            assert report["registration"] == {"state": "failed", "status": None, "reason": None, "expires": None}
            (visit,) = server.visits
            assert visit.handshaken is (command.code in (16, 18))
            assert PASSWORD.encode() not in visit.received + visit.decrypted


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
