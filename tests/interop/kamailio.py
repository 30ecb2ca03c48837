"""A real Kamailio 5.6 as the TLS registrar and proxy of the interop tests, so that our phones meet a peer that we did not write.

It runs as a foreground child of the test, as the current user, on a free port of 127.0.0.1, with kamailio.cfg beside this
file; nothing of it is left when the ``with`` block ends but its log in the test's own directory. What it holds is read and
steered over its JSON-RPC datagram socket: bindings, open flows, users, and requests that it sends on a phone's flow.

Needs Debian's ``kamailio`` and ``kamailio-tls-modules``.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

TEMPLATE = Path(__file__).with_name("kamailio.cfg")

START_TIMEOUT = 10.0
"""Seconds from start to the first answer; it takes about 0.2 on an idle machine, and busy CI machines are slow."""
STOP_TIMEOUT = 5.0
"""Seconds that a SIGTERM gets before the SIGKILL."""
PORT_TRIES = 5
"""The free port is found by binding and letting go of it; another process can take it in between."""


class KamailioError(Exception):
    """Kamailio did not start, did not answer, or refused an RPC; the text carries its own words."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One contact of one user, as ``ul.dump`` shows it."""

    user: str
    """The address-of-record: the user part only, as the location table ignores domains."""
    contact: str
    """The Contact URI that the phone sent."""
    expires_s: int
    """Seconds left."""
    received: str
    """The URI of the flow that the REGISTER came on, e.g. ``sip:127.0.0.1:40112;transport=tls``."""
    call_id: str
    """Call-ID of the last REGISTER."""
    cseq: int
    """CSeq number of the last REGISTER."""
    user_agent: str
    """The User-Agent header, empty when the phone sent none."""
    instance: str
    """The ``+sip.instance`` parameter, empty when the phone sent none."""
    ping_roundtrip_us: int
    """Microseconds that the last answer to a ping took; 0 until the phone has answered one."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One TLS connection that Kamailio holds, as ``tls.list`` shows it."""

    peer_port: int
    """The phone's TCP port on 127.0.0.1."""
    cipher: str
    """The suite and the protocol version in OpenSSL's words, e.g. ``TLS_AES_256_GCM_SHA384 TLSv1.3 Kx=any …``."""


class Kamailio:
    """A running registrar and proxy: a context manager that starts on entry and is gone on exit.

    Calls between its users are challenged by 407, forked to all phones of the callee, and stay on the flows that the phones registered
    on: each Contact that passes gets an ``alias`` parameter by which requests inside the call find their flow.

    ``directory`` keeps the log. ``users`` maps user names to passwords; :meth:`add_user` adds to it while Kamailio runs.
    All times are whole seconds. Arguments that bend its ways:

    - ``min_expires`` above zero makes it answer a shorter wish with 423 and Min-Expires; ``max_expires`` cuts a longer one.
    - ``client_ca`` makes it demand a client certificate and verify it against the certificates in that file.
    - ``tls_method``: ``TLSv1.2`` (that alone), ``TLSv1.2+`` and so on; 5.6 has no word for 1.3 alone. Versions below
      1.2 also need ``ciphers="DEFAULT@SECLEVEL=0"``.
    - ``unknown_user`` is the status for a user without a password, given to an answered challenge. ``wrong_password`` is 401 to
      challenge again, or 403.
    - ``qop=False`` makes challenges without qop, as RFC 2069 had them; with qop, nonce counts must grow.
    - ``say_stale=False`` leaves ``stale=true`` out for an expired nonce and for a count that did not grow, as Kamailio does
      unless its script asks for it.
    - ``authentication_info`` adds that header to a 200.
    - ``ping_interval`` sends OPTIONS on every bound flow that often, and removes the binding of a phone that leaves
      them unanswered for five intervals and ten seconds.
    - ``unbind_lost_flows`` removes a binding within about a second of its connection's end.
    - ``dials`` lets it open connections to phones, see :meth:`dial`; with ``client_ca`` it verifies what they show, too.
    - ``ring_limit`` is how long a phone may ring before it is cancelled and the caller gets 408.
    - ``max_connections`` and ``memory_mb`` for load: a flow with a binding takes about 75 KiB of its shared memory, and the
      process needs that many open files and two hundred more (``ulimit -n``).

    Raises :class:`KamailioError` when it does not start, with the end of its log.
    """

    def __init__(
        self,
        directory: Path,
        *,
        certificate: Path,
        key: Path,
        users: dict[str, str],
        realm: str = "127.0.0.1",
        default_expires: int = 3600,
        min_expires: int = 0,
        max_expires: int = 7200,
        client_ca: Path | None = None,
        algorithm: Literal["MD5", "SHA-256"] = "MD5",
        nonce_expire: int = 300,
        qop: bool = True,
        say_stale: bool = True,
        authentication_info: bool = False,
        tls_method: str = "TLSv1.2+",
        ciphers: str | None = None,
        unknown_user: Literal[403, 404] = 404,
        wrong_password: Literal[401, 403] = 401,
        ping_interval: int = 0,
        unbind_lost_flows: bool = False,
        dials: bool = False,
        ring_limit: int = 185,
        max_connections: int = 512,
        memory_mb: int = 64,
        program: str = "/usr/sbin/kamailio",
    ) -> None:
        self.directory = directory
        self.users = dict(users)
        self.memory_mb = memory_mb
        self.program = program
        self.port = 0
        self._log_path = directory / "kamailio.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._runtime: Path | None = None
        self._rpc_id = 0
        self._settings = {
            "CERTIFICATE": _quoted(certificate),
            "KEY": _quoted(key),
            "TLS_METHOD": _quoted(tls_method),
            "REALM": _quoted(realm),
            "ALGORITHM": _quoted(algorithm),
            "NONCE_EXPIRE": str(nonce_expire),
            "DEFAULT_EXPIRES": str(default_expires),
            "MIN_EXPIRES": str(min_expires),
            "MAX_EXPIRES": str(max_expires),
            # Bits of the auth module's challenge functions: 1 is qop="auth", 16 is stale=true.
            "CHALLENGE_FLAGS": _quoted(int(qop)),
            "STALE_FLAGS": _quoted(int(qop) | (16 if say_stale else 0)),
            "UNKNOWN_USER_STATUS": _quoted(unknown_user),
            "UNKNOWN_USER_REASON": _quoted({403: "Forbidden", 404: "Not Found"}[unknown_user]),
            "RING_LIMIT": str(1000 * ring_limit),
            "MAX_CONNECTIONS": str(max_connections),
            "OPEN_FILES": str(max_connections + 200),
        }
        if ciphers is not None:
            self._settings["CIPHERS"] = _quoted(ciphers)
        if client_ca is not None:
            self._settings["CLIENT_CA"] = _quoted(client_ca)
        if ping_interval:
            self._settings["PING_INTERVAL"] = str(ping_interval)
            self._settings["PING_TIMEOUT"] = str(5 * ping_interval)
        self._flags = [
            word
            for word, wanted in (
                ("QOP", qop),
                ("AUTHENTICATION_INFO", authentication_info),
                ("REFUSE_WRONG_PASSWORD", wrong_password == 403),
                ("UNBIND_LOST_FLOWS", unbind_lost_flows),
                ("DIALS", dials),
            )
            if wanted
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it answers; the first start chooses ``port``, later ones take the same again."""
        if self._process is not None:
            raise KamailioError("Kamailio runs already; stop() it first")
        tries = 1 if self.port else PORT_TRIES
        for left in range(tries - 1, -1, -1):
            port = self.port or _free_port()
            try:
                self._start_on(port)
            except KamailioError as error:
                self.stop()
                if left and "Address already in use" in str(error):
                    continue
                raise
            self.port = port
            return

    def stop(self) -> None:
        """End it and all its worker processes; its connections are closed, its bindings are forgotten. Safe to call twice."""
        if self._process is not None:
            process, self._process = self._process, None
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                pass
            try:
                # Workers live in the same group; the group is gone when the main process ended in good order.
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        if self._runtime is not None:
            shutil.rmtree(self._runtime)
            self._runtime = None

    def restart(self) -> None:
        """Lose every flow and every binding, and come back on the same port with the same users."""
        self.stop()
        self.start()

    def log(self) -> str:
        """All that it wrote since the first start, requests seen and TLS failures among it."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def add_user(self, user: str, password: str) -> None:
        """Let ``user`` register and call with ``password``; replaces the password of a known user."""
        self.rpc("htable.sets", "users", user, password)
        self.users[user] = password

    def bindings(self, user: str | None = None) -> list[Binding]:
        """The contacts registered now, of one user, or of all while they are no more than a hundred: one datagram's fill."""
        if user is not None:
            try:
                aors = [self.rpc("ul.lookup", "location", user)]
            except KamailioError as error:
                if "AOR not found" in str(error):
                    return []
                raise
        else:
            domains = self.rpc("ul.dump").get("Domains", [])
            aors = [aor["Info"] for domain in domains for aor in domain["Domain"]["AoRs"]]
        return [_binding(aor["AoR"], entry["Contact"]) for aor in aors for entry in aor["Contacts"]]

    def registered(self) -> int:
        """How many users have a binding, at any number."""
        statistics = self.rpc("stats.get_statistics", "registered_users")
        return int(statistics[0].rpartition("=")[2])

    def connected(self) -> int:
        """How many TLS connections are open, at any number."""
        return int(self.rpc("core.tcp_info")["opened_tls_connections"])

    def flows(self) -> list[Flow]:
        """The TLS connections that are open now, in any state, while they are no more than three hundred."""
        answer = self.rpc("tls.list")
        entries = answer if isinstance(answer, list) else [answer] if answer else []
        return [Flow(int(entry["src_port"]), str(entry["cipher"]).strip()) for entry in entries]

    def send(
        self, user: str, method: str = "OPTIONS", *, headers: dict[str, str] | None = None, body: str = ""
    ) -> tuple[int, str]:
        """Send a request on the flow of the user's first binding, and wait for the final answer: ``(status, reason)``.

        A body needs a Content-Type among the headers. Blocks, for five seconds when the phone does not answer, which
        gives 408; call it in a thread when the phone runs on this thread's loop. Raises :class:`KamailioError` where there is no
        binding or its flow is gone: Kamailio never dials a phone.
        """
        bound = self.bindings(user)
        if not bound:
            raise KamailioError(f"{user} has no binding to send {method} to")
        if not any(bound[0].received == f"sip:127.0.0.1:{flow.peer_port};transport=tls" for flow in self.flows()):
            raise KamailioError(f"the flow of {user} is gone: {bound[0].received}")
        return self._request(user, method, bound[0].contact, bound[0].received, headers or {}, body)

    def dial(self, user: str, method: str = "OPTIONS") -> tuple[int, str]:
        """Send a request to where the user's first Contact says, over a connection that it opens (with ``dials``), as an old
        PBX does; and wait for the final answer like :meth:`send`. 477 where no connection came about.
        """
        bound = self.bindings(user)
        if not bound:
            raise KamailioError(f"{user} has no binding to send {method} to")
        return self._request(user, method, bound[0].contact, bound[0].contact, {}, "")

    def rpc(self, method: str, *parameters: str | int, timeout: float = 5.0) -> Any:
        """Call one of Kamailio's RPC methods and return its result; :class:`KamailioError` on a fault or no answer."""
        if self._runtime is None:
            raise KamailioError("Kamailio does not run")
        self._rpc_id += 1
        request = {"jsonrpc": "2.0", "method": method, "params": list(parameters), "id": self._rpc_id}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(timeout)
            channel.bind("")  # Linux gives it an abstract name to be answered at
            channel.connect(str(self._runtime / "rpc"))
            channel.send(json.dumps(request).encode())
            try:
                answer = json.loads(channel.recv(1 << 20))
            except TimeoutError:
                raise KamailioError(f"no answer to {method} in {timeout} s") from None
        if "error" in answer:
            raise KamailioError(f"{method}: {answer['error']['code']} {answer['error']['message']}")
        return answer["result"]

    def _request(
        self, user: str, method: str, uri: str, next_hop: str, headers: dict[str, str], body: str
    ) -> tuple[int, str]:
        lines = {
            "From": "<sip:pbx@127.0.0.1>",
            "To": f"<sip:{user}@127.0.0.1>",
            "Contact": f"<sip:127.0.0.1:{self.port};transport=tls>",
            **headers,
        }
        answer = self.rpc(
            "tm.t_uac_wait_block",
            method,
            uri,
            next_hop,
            f"tls:127.0.0.1:{self.port}",
            "".join(f"{name}: {value}\r\n" for name, value in lines.items()),
            body,
            timeout=40.0,
        )
        return int(answer["code"]), str(answer["text"])

    def _start_on(self, port: int) -> None:
        # Unix socket paths end at 107 octets and test directories are deep, so the socket gets a short directory of its own.
        self._runtime = Path(tempfile.mkdtemp(prefix="kamailio-"))
        log_start = len(self.log())
        settings = {
            **self._settings,
            "LISTEN": f"tls:127.0.0.1:{port}",
            "RPC_SOCKET": _quoted(self._runtime / "rpc"),
        }
        command = [self.program, "-DD", "-E", "-f", str(TEMPLATE), "-w", str(self.directory), "-Y", str(self._runtime)]
        # The default allocator checks every block; "fm" is what makes it fast enough for load runs.
        command += ["-x", "fm", "-m", str(self.memory_mb), "-M", "8"]
        for word in [*self._flags, *(f"{name}={value}" for name, value in settings.items())]:
            command += ["-A", word]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            if self._process.poll() is not None:
                raise KamailioError(
                    f"Kamailio ended with code {self._process.returncode}:\n{self.log()[log_start:][-4000:]}"
                )
            try:
                # The sockets listen before any worker runs, so an answer means that connections are accepted too.
                self.rpc("core.version", timeout=0.2)
                break
            except (FileNotFoundError, ConnectionRefusedError, KamailioError):
                if time.monotonic() > deadline:
                    raise KamailioError(
                        f"Kamailio did not answer in {START_TIMEOUT} s:\n{self.log()[log_start:][-4000:]}"
                    ) from None
                time.sleep(0.01)
        for user, password in self.users.items():
            self.rpc("htable.sets", "users", user, password)


def _quoted(value: object) -> str:
    return f'"{value}"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _binding(user: str, entry: dict[str, Any]) -> Binding:
    return Binding(
        user=user,
        contact=entry["Address"],
        expires_s=int(entry["Expires"]),
        received=entry["Received"],
        call_id=entry["Call-ID"],
        cseq=int(entry["CSeq"]),
        user_agent="" if entry["User-Agent"] == "n/a" else entry["User-Agent"],
        instance="" if entry["Instance"] == "[not set]" else entry["Instance"],
        ping_roundtrip_us=int(entry["KA-Roundtrip"]),
    )
