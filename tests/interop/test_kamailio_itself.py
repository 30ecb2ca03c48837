"""Proof that the Kamailio harness is a registrar as the other interop tests take it to be, by hand-written SIP over Python's own ssl."""

import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from hashlib import md5, sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from sipsua.testing.pki import CertificateAuthority, IssuedFiles
from tests.interop.kamailio import Kamailio, KamailioError

pytestmark = pytest.mark.interop

StartKamailio = Callable[..., Kamailio]


class Phone:
    """The least phone that can register: blocking, one TLS flow, no SIP code of ours in it."""

    def __init__(
        self, pbx: Kamailio, authority_file: Path, *, user: str = "1000", certificate: IssuedFiles | None = None
    ):
        context = ssl.create_default_context(cafile=authority_file)
        if certificate:
            context.load_cert_chain(certificate.certificate, certificate.key)
        self.user = user
        tcp = socket.create_connection(("127.0.0.1", pbx.port), timeout=10)
        self.tls = context.wrap_socket(tcp, server_hostname="127.0.0.1")
        self.local_port = self.tls.getsockname()[1]
        self.unread = b""
        self.cseq = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.tls.close()

    def message(self) -> str:
        while b"\r\n\r\n" not in self.unread:
            data = self.tls.recv(65536)
            if not data:
                raise EOFError("the server closed the flow")
            self.unread += data
        head, _, rest = self.unread.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)\nContent-Length: *(\d+)", head)[1])  # type: ignore[index]
        assert length == 0, "these tests carry no body"
        self.unread = rest
        return head.decode() + "\r\n"

    def send(self, method: str, uri: str, *lines: str, branch: str = "") -> None:
        if method not in ("ACK", "CANCEL"):
            self.cseq += 1
        head = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/TLS 127.0.0.1:{self.local_port};branch={branch or f'z9hG4bK{os.urandom(8).hex()}'};rport",
            f"From: <sip:{self.user}@127.0.0.1>;tag=f{self.local_port}",
            f"Call-ID: {self.user}-{self.local_port}@127.0.0.1",
            f"CSeq: {self.cseq} {method}",
            "Max-Forwards: 70",
            f"Contact: <sip:{self.user}@127.0.0.1:{self.local_port};transport=tls>",
            *lines,
            "Content-Length: 0",
        ]
        if not any(line.startswith("To:") for line in lines):
            head.insert(3, f"To: <sip:{self.user}@127.0.0.1>")
        self.tls.sendall("\r\n".join([*head, "", ""]).encode())

    def request(self, method: str, uri: str, *lines: str) -> str:
        """Send a request and return the answer that is not provisional."""
        self.send(method, uri, *lines)
        while (answer := self.message()).startswith("SIP/2.0 1"):
            pass
        return answer

    def answer(self, request: str, status: str, *lines: str) -> None:
        names = ("Via:", "From:", "To:", "Call-ID:", "CSeq:", "Record-Route:")
        copied = [line for line in request.split("\r\n") if line.startswith(names)]
        copied = [line + ";tag=me" if line.startswith("To:") and ";tag=" not in line else line for line in copied]
        self.tls.sendall("\r\n".join([f"SIP/2.0 {status}", *copied, *lines, "Content-Length: 0", "", ""]).encode())

    def credentials(self, challenge: str, method: str, uri: str, password: str, *, nc: int = 1) -> str:
        """The value of Authorization for a challenge with qop."""
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        algorithm = "SHA-256" if "SHA-256" in challenge else "MD5"

        def digest(text: str) -> str:
            return (sha256 if algorithm == "SHA-256" else md5)(text.encode()).hexdigest()

        secret = digest(f"{self.user}:{fields['realm']}:{password}")
        response = digest(f"{secret}:{fields['nonce']}:{nc:08x}:c0ffee:auth:{digest(f'{method}:{uri}')}")
        return (
            f'Digest username="{self.user}", realm="{fields["realm"]}", nonce="{fields["nonce"]}", uri="{uri}", '
            f'response="{response}", algorithm={algorithm}, qop=auth, nc={nc:08x}, cnonce="c0ffee"'
        )

    def register(self, password: str = "secret", *, expires: int = 300) -> str:
        uri = "sip:127.0.0.1"
        wish = f"Expires: {expires}"
        challenge = self.request("REGISTER", uri, wish)
        assert challenge.startswith("SIP/2.0 401 ")
        authorization = self.credentials(challenge, "REGISTER", uri, password)
        return self.request("REGISTER", uri, wish, f"Authorization: {authorization}")


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true within ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_register_with_right_password_makes_a_binding_and_expires_0_removes_it(
    kamailio: StartKamailio, authority_file: Path, algorithm: str
) -> None:
    pbx = kamailio(algorithm=algorithm)
    with Phone(pbx, authority_file) as phone:
        answer = phone.register(expires=300)
        assert answer.startswith("SIP/2.0 200 ")
        assert ";expires=300" in answer
        (binding,) = pbx.bindings("1000")
        assert binding.contact == f"sip:1000@127.0.0.1:{phone.local_port};transport=tls"
        assert binding.received == f"sip:127.0.0.1:{phone.local_port};transport=tls"
        assert 295 < binding.expires_s <= 300
        assert binding.cseq == 2
        assert (pbx.registered(), pbx.connected()) == (1, 1)
        assert [flow.peer_port for flow in pbx.flows()] == [phone.local_port]

        assert [one.contact for one in pbx.bindings()] == [binding.contact]

        assert phone.register(expires=0).startswith("SIP/2.0 200 ")
        assert pbx.bindings() == []


def test_register_for_too_short_a_time_gets_423_with_min_expires(kamailio: StartKamailio, authority_file: Path) -> None:
    pbx = kamailio(min_expires=120)
    with Phone(pbx, authority_file) as phone:
        answer = phone.register(expires=60)
        assert answer.startswith("SIP/2.0 423 ")
        assert "Min-Expires: 120\r\n" in answer
        assert pbx.bindings() == []


def test_register_for_too_long_a_time_is_granted_the_maximum(kamailio: StartKamailio, authority_file: Path) -> None:
    with Phone(kamailio(max_expires=100), authority_file) as phone:
        assert ";expires=100" in phone.register(expires=3600)


@pytest.mark.parametrize("wrong_password", [401, 403])
def test_register_with_wrong_password_is_refused(
    kamailio: StartKamailio, authority_file: Path, wrong_password: int
) -> None:
    pbx = kamailio(wrong_password=wrong_password)
    with Phone(pbx, authority_file) as phone:
        answer = phone.register("guess")
        assert answer.startswith(f"SIP/2.0 {wrong_password} ")
        assert "stale=true" not in answer.lower()
        assert pbx.bindings() == []


@pytest.mark.parametrize("unknown_user", [403, 404])
def test_register_of_unknown_user_is_challenged_and_then_refused(
    kamailio: StartKamailio, authority_file: Path, unknown_user: int
) -> None:
    with Phone(kamailio(unknown_user=unknown_user), authority_file, user="1234") as phone:
        assert phone.register().startswith(f"SIP/2.0 {unknown_user} ")


def test_user_added_later_registers_with_a_password_full_of_quotes(
    kamailio: StartKamailio, authority_file: Path
) -> None:
    pbx = kamailio()
    pbx.add_user("1001", 'a"b\\c$d é')
    with Phone(pbx, authority_file, user="1001") as phone:
        assert phone.register('a"b\\c$d é').startswith("SIP/2.0 200 ")
    assert 'a"b' not in pbx.log()


@pytest.mark.parametrize("say_stale", [True, False])
def test_nonce_count_that_does_not_grow_is_challenged_again(
    kamailio: StartKamailio, authority_file: Path, say_stale: bool
) -> None:
    with Phone(kamailio(say_stale=say_stale), authority_file) as phone:
        uri = "sip:127.0.0.1"
        challenge = phone.request("REGISTER", uri)
        answers = []
        for nc in (1, 2, 2):
            authorization = phone.credentials(challenge, "REGISTER", uri, "secret", nc=nc)
            answers.append(phone.request("REGISTER", uri, f"Authorization: {authorization}"))
        assert [answer.split()[1] for answer in answers] == ["200", "200", "401"]
        assert ("stale=true" in answers[2].lower()) is say_stale


def test_authentication_info_follows_a_right_password_when_asked_for(
    kamailio: StartKamailio, authority_file: Path
) -> None:
    with Phone(kamailio(authentication_info=True), authority_file) as phone:
        assert "\r\nAuthentication-Info: " in phone.register()


def test_challenge_without_qop(kamailio: StartKamailio, authority_file: Path) -> None:
    with Phone(kamailio(qop=False, realm="pbx.example.com"), authority_file) as phone:
        challenge = phone.request("REGISTER", "sip:127.0.0.1")
        assert 'realm="pbx.example.com"' in challenge
        assert "qop" not in challenge


def test_options_and_crlf_keepalive_are_answered(kamailio: StartKamailio, authority_file: Path) -> None:
    with Phone(kamailio(), authority_file) as phone:
        assert phone.request("OPTIONS", "sip:127.0.0.1").startswith("SIP/2.0 200 ")
        phone.tls.sendall(b"\r\n\r\n")
        assert phone.tls.recv(100) == b"\r\n"


def test_demanded_client_certificate(
    kamailio: StartKamailio, authority_file: Path, authority: CertificateAuthority, tmp_path: Path
) -> None:
    pbx = kamailio(client_ca=authority_file)
    good = authority.issue("phone-1").write(tmp_path, "good")
    bad = CertificateAuthority("another CA").issue("phone-1").write(tmp_path, "bad")
    with Phone(pbx, authority_file, certificate=good) as phone:
        assert phone.register().startswith("SIP/2.0 200 ")
    assert f"client certificate of 127.0.0.1:{phone.local_port}: phone-1\n" in pbx.log()
    # In TLS 1.3 the client's handshake is over before the server has seen its certificate: the alert meets the first read.
    with Phone(pbx, authority_file, certificate=bad) as phone, pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
        phone.register()
    with Phone(pbx, authority_file) as phone, pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        phone.register()


@pytest.mark.parametrize(("method", "spoken"), [("TLSv1.2", "TLSv1.2"), ("TLSv1.2+", "TLSv1.3")])
def test_tls_version_is_that_which_was_asked_for(
    kamailio: StartKamailio, authority_file: Path, method: str, spoken: str
) -> None:
    pbx = kamailio(tls_method=method)
    with Phone(pbx, authority_file) as phone:
        assert phone.request("OPTIONS", "sip:127.0.0.1").startswith("SIP/2.0 200 ")
        assert phone.tls.version() == spoken
        assert spoken in pbx.flows()[0].cipher


def test_send_reaches_the_phone_on_its_flow_and_returns_its_answer(
    kamailio: StartKamailio, authority_file: Path
) -> None:
    pbx = kamailio()
    with Phone(pbx, authority_file) as phone:
        phone.register()
        received: list[str] = []

        def serve() -> None:
            received.append(phone.message())
            phone.answer(received[0], "200 Fine")

        server = threading.Thread(target=serve)
        server.start()
        assert pbx.send("1000", "NOTIFY", headers={"Event": "check-sync"}) == (200, "Fine")
        server.join()
        assert received[0].startswith(f"NOTIFY sip:1000@127.0.0.1:{phone.local_port};transport=tls SIP/2.0\r\n")
        assert "\r\nEvent: check-sync\r\n" in received[0]


def test_send_to_a_phone_whose_flow_is_gone_says_so(kamailio: StartKamailio, authority_file: Path) -> None:
    pbx = kamailio()
    with Phone(pbx, authority_file) as phone:
        phone.register()
    assert eventually(lambda: not pbx.flows())
    with pytest.raises(KamailioError, match="the flow of 1000 is gone"):
        pbx.send("1000")


def test_call_is_challenged_and_runs_over_the_flows_of_both_phones_to_its_bye(
    kamailio: StartKamailio, authority_file: Path
) -> None:
    pbx = kamailio(users={"1000": "secret", "1001": "geheim"})
    with Phone(pbx, authority_file) as caller, Phone(pbx, authority_file, user="1001") as callee:
        caller.register()
        callee.register("geheim")
        uri, to = "sip:1001@127.0.0.1", "To: <sip:1001@127.0.0.1>"
        challenge = caller.request("INVITE", uri, to)
        assert challenge.startswith("SIP/2.0 407 ")
        credentials = caller.credentials(challenge, "INVITE", uri, "secret")

        def serve() -> None:
            seen.append(callee.message())
            # Nothing listens on port 9: only the flow leads to this phone.
            callee.answer(seen[0], "200 OK", "Contact: <sip:1001@127.0.0.1:9;transport=tls>")
            seen.append(callee.message())
            seen.append(callee.message())
            callee.answer(seen[2], "200 OK")

        seen: list[str] = []
        server = threading.Thread(target=serve)
        server.start()
        answer = caller.request("INVITE", uri, to, f"Proxy-Authorization: {credentials}")
        assert answer.startswith("SIP/2.0 200 ")
        contact, route = (re.search(rf"\r\n{name}: <(.*?)>", answer)[1] for name in ("Contact", "Record-Route"))  # type: ignore[index]
        assert contact.endswith(f";alias=127.0.0.1~{callee.local_port}~3")
        in_dialog = (f"{to};tag=me", f"Route: <{route}>")
        caller.send("ACK", contact, *in_dialog)
        assert caller.request("BYE", contact, *in_dialog).startswith("SIP/2.0 200 ")
        server.join()
        assert [message.split()[0] for message in seen] == ["INVITE", "ACK", "BYE"]
        assert "Proxy-Authorization" not in seen[0]


def test_restart_loses_flows_and_bindings_and_keeps_port_and_users(
    kamailio: StartKamailio, authority_file: Path
) -> None:
    pbx = kamailio()
    port = pbx.port
    with Phone(pbx, authority_file) as phone:
        phone.register()
        pbx.restart()
        with pytest.raises((EOFError, OSError)):
            phone.message()
    assert pbx.port == port
    assert pbx.bindings() == []
    with Phone(pbx, authority_file) as phone:
        assert phone.register().startswith("SIP/2.0 200 ")


def test_lost_flow_is_unbound_when_asked_for(kamailio: StartKamailio, authority_file: Path) -> None:
    pbx = kamailio(unbind_lost_flows=True)
    with Phone(pbx, authority_file) as phone:
        phone.register()
        assert (pbx.registered(), pbx.connected()) == (1, 1)
    assert eventually(lambda: not pbx.bindings())


def test_ping_arrives_on_the_flow_and_its_answer_is_noted(kamailio: StartKamailio, authority_file: Path) -> None:
    pbx = kamailio(ping_interval=1)
    with Phone(pbx, authority_file) as phone:
        phone.register()
        assert pbx.bindings()[0].ping_roundtrip_us == 0
        ping = phone.message()
        assert ping.startswith("OPTIONS sip:1000@")
        assert "Max-Forwards" not in ping
        phone.answer(ping, "200 OK")
        assert eventually(lambda: pbx.bindings()[0].ping_roundtrip_us > 0)


def living(group: int) -> list[str]:
    """The processes of a group that live; a dead one that nobody has waited for yet is none of them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, of = rest.split()[:3]
        if int(of) == group and state not in "ZX":
            found.append(name)
    return found


def test_nothing_is_left_after_the_end(kamailio: StartKamailio) -> None:
    pbx = kamailio()
    process, runtime = pbx._process, pbx._runtime
    assert process is not None
    assert runtime is not None
    assert living(process.pid)
    pbx.stop()
    assert living(process.pid) == []
    assert not runtime.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", pbx.port), timeout=5)


def test_failing_start_shows_the_words_of_kamailio(kamailio: StartKamailio, tmp_path: Path) -> None:
    with pytest.raises(KamailioError, match=r"no-such-file\.pem"):
        kamailio(certificate=tmp_path / "no-such-file.pem")
