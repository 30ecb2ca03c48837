"""`sipsua` as a process: what starts it, what interrupts it, and what a terminal shows."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import sipsua
from sipsua.testing.bad_servers import CASES, BadServer
from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.pki import CertificateAuthority
from tests.cli.conftest import PASSWORD

SIPSUA = str(Path(sys.executable).with_name("sipsua"))


def test_version() -> None:
    done = subprocess.run([SIPSUA, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"sipsua {sipsua.__version__}\n"


def test_help_does_not_wait_for_what_only_the_work_needs() -> None:
    program = "import sys; from sipsua.cli import main; main(['register', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert not {"OpenSSL", "asyncio", "cryptography", "dns", "rich"}.intersection(modules)


@pytest.mark.parametrize(
    "command",
    [
        *([], ["register"], ["check"], ["pbx"], ["bad-pbx"], ["demo"], ["provision"], ["factory-reset"]),
        *(["trust", name] for name in ("list", "add", "delete", "delete-all", "export")),
        *(["device", name] for name in ("show", "upload", "delete", "issue", "manufacturer-ca")),
    ],
    ids=" ".join,
)
def test_every_command_has_help(command: list[str]) -> None:
    done = subprocess.run([SIPSUA, *command, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(" ".join(["Usage: sipsua", *command]))
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_while_registered_unregisters_and_ends_with_130_however_often_it_comes(
    number: signal.Signals, pbx: PbxProcess, ca: Path
) -> None:
    command = [SIPSUA, "register", f"sips:1000@127.0.0.1:{pbx.port}", "--ca", str(ca), "--keep", "50", "--json"]
    with subprocess.Popen(
        [*command, "--password-env", "PHONE_PASSWORD"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PHONE_PASSWORD": PASSWORD},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        err = ""
        while "registered 200 OK" not in err:
            err += process.stderr.readline()
        assert pbx.counts().bound == 1
        for _ in range(20):
            process.send_signal(number)
        out, rest = process.communicate()
    assert process.returncode == 130
    assert "unregistered the registrar answered 200" in rest
    assert PASSWORD not in out + err + rest
    assert "Traceback" not in rest
    report = json.loads(out)
    assert report["exit_code"] == 130
    assert report["error"]["code"] == "interrupted"
    assert report["lock"]["state"] == "locked"
    assert pbx.counts().bound == 0


def test_reader_of_the_lines_that_goes_away_does_not_change_the_end(pbx: PbxProcess, ca: Path) -> None:
    uri = f"sips:1000@127.0.0.1:{pbx.port}"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        done = subprocess.run(
            [SIPSUA, "register", uri, "--ca", str(ca), "--password-env", "PHONE_PASSWORD"],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PHONE_PASSWORD": PASSWORD},
            check=False,
        )
    assert done.returncode == 0
    assert done.stderr == ""
    assert pbx.counts().bound == 0


def test_server_that_ends_while_we_are_registered_is_told_and_decides_the_exit_code(
    authority: CertificateAuthority, ca: Path
) -> None:
    issued = authority.issue("127.0.0.1")
    with PbxProcess({"1000": PASSWORD}, certificate=(issued.chain_pem, issued.key_pem)) as pbx:
        uri = f"sips:1000@127.0.0.1:{pbx.port}"
        process = subprocess.Popen(
            [SIPSUA, "register", uri, "--ca", str(ca), "--keep", "1.5", "--password-env", "PHONE_PASSWORD"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PHONE_PASSWORD": PASSWORD},
        )
        assert process.stdout is not None
        out = ""
        while "registered 200 OK" not in out:
            out += process.stdout.readline()
    rest, err = process.communicate()
    assert process.returncode == 18, err
    assert " flow closed: " in rest
    assert " not registered: " in rest
    assert "next attempt in " in rest
    assert "\nunregistered" not in rest
    assert err.startswith("sipsua: ")
    assert "; not registered again within --keep of 1.5 s, the next attempt was to come " in err


def test_server_that_sends_garbage_after_the_handshake_is_18(tmp_path: Path) -> None:
    with BadServer(CASES["tls-then-garbage"]) as server:
        command = [SIPSUA, "register", server.uri(), "--ca", str(server.write(tmp_path).ca), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 18
    assert json.loads(done.stdout)["error"]["code"] == "flow_lost"
    what, fix = done.stderr.splitlines()[-2:]
    assert "this is not SIP" in what
    assert "fix: " in fix
    assert "Traceback" not in done.stderr


def test_pbx_tells_the_command_to_try_and_who_comes_and_goes(tmp_path: Path) -> None:
    environment = {**os.environ, "PBX_PASSWORD": PASSWORD, "TMPDIR": str(tmp_path), "COLUMNS": "40"}
    with subprocess.Popen(
        [SIPSUA, "pbx", "--port", "0", "--users", "2000-2001", "--password-env", "PBX_PASSWORD"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            out = line = ""
            while "to try it" not in line:
                line = process.stdout.readline()
                assert line, process.communicate()
                out += line
            program, *arguments = shlex.split(line.partition("to try it")[2])
            assert program == "sipsua"
            (key,) = tmp_path.glob("sipsua-pbx-*/server.key")
            assert stat.S_IMODE(key.stat().st_mode) == 0o600
            good = subprocess.run([SIPSUA, *arguments], capture_output=True, text=True, env=environment)
            bare = [arguments[0], arguments[1], "--password", "wrong"]
            bad = subprocess.run([SIPSUA, *bare], capture_output=True, text=True, env=environment)
        finally:
            process.terminate()
            rest, err = process.communicate()
    assert process.returncode == 0
    assert err == ""
    assert good.returncode == 0, good.stderr
    assert arguments[1].startswith("sips:2000@127.0.0.1:")
    assert bad.returncode == 10
    assert " 2000 registered for 3600 s," in rest
    assert " 2000 unregistered" in rest
    assert "failed the client ended the TLS handshake with the alert unknown_ca (48)" in rest
    assert PASSWORD not in out + rest + good.stdout + good.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["typer", "asyncio", "OpenSSL.SSL"])
def test_interrupt_in_the_midst_of_an_import_is_130_and_told(module: str) -> None:
    program = f"""
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from sipsua.cli import main
sys.argv[1:] = ["register", "sips:1000@127.0.0.1:9", "--json"]
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.splitlines()[0] == "sipsua: interrupted"
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "interrupted"


def test_hang_up_under_nohup_changes_nothing(pbx: PbxProcess, ca: Path) -> None:
    program = f"""
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from sipsua.cli import interrupt, main
sys.argv[1:] = ["register", "sips:1000@127.0.0.1:{pbx.port}", "--ca", {str(ca)!r}, "--password-env", "PASS"]
interrupt.arm()
os.kill(os.getpid(), signal.SIGHUP)
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PASS": PASSWORD}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["register", "register --json", "demo", "pbx", "register --help"])
@pytest.mark.parametrize(
    ("end", "words"),
    [(">/dev/full", "cannot write to standard output: No space left on device"), (">&-", "standard output is closed")],
)
def test_output_that_takes_nothing_is_17(command: str, end: str, words: str, pbx: PbxProcess, ca: Path) -> None:
    command = command.replace("register", f"register sips:1000@127.0.0.1:{pbx.port} --ca {ca} --password-env PASS")
    command = command.replace("pbx", "pbx --port 0 --password-env PASS")
    done = subprocess.run(
        f"{SIPSUA} {command} {end}", shell=True, stderr=subprocess.PIPE, text=True, env={**os.environ, "PASS": PASSWORD}
    )
    assert done.returncode == 17
    assert done.stderr.splitlines()[-2:] == [
        f"sipsua: {words}",
        "   fix: redirect it to a file that can be written, or to /dev/null",
    ]
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert pbx.counts().bound == 0


@pytest.mark.parametrize("end", ["2>&-", "2>/dev/full"])
def test_errors_that_nobody_can_read_have_their_exit_code(end: str) -> None:
    done = subprocess.run(f"{SIPSUA} register nonsense --json {end}", shell=True, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "usage"


def test_files_may_be_pipes(pbx: PbxProcess, ca: Path) -> None:
    command = f"{SIPSUA} register sips:1000@127.0.0.1:{pbx.port} --ca <(cat {ca}) --password-file <(echo $PASS)"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "PASS": PASSWORD})
    assert done.returncode == 0, done.stderr


def test_pbx_with_a_certificate_of_ours_tells_a_command_that_works(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    files = authority.issue("127.0.0.1").write(tmp_path)
    environment = {**os.environ, "PBX_PASSWORD": PASSWORD}
    options = [
        "--port",
        "0",
        "--password-env",
        "PBX_PASSWORD",
        "--cert",
        str(files.certificate),
        "--key",
        str(files.key),
    ]
    with subprocess.Popen([SIPSUA, "pbx", *options], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            while "to try it" not in (line := process.stdout.readline()):
                assert line
            _, *arguments = shlex.split(line.partition("to try it")[2])
            done = subprocess.run([SIPSUA, *arguments], capture_output=True, text=True, env=environment)
        finally:
            process.terminate()
    assert done.returncode == 0, done.stderr


def test_demo_off_a_terminal_is_plain_text() -> None:
    done = subprocess.run([SIPSUA, "demo"], capture_output=True, text=True, env={**os.environ, "PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert done.stdout.count("\N{LOCK} locked sips:") == 3
    assert done.stdout.count("\N{OPEN LOCK} refused sips:") == 1
    assert done.stdout.count("registered 200 OK: expires in 3600 s") == 3
    assert "unknown_issuer in certificate 0" in done.stdout
    assert "add CN=sipsua demo CA to the server's chain file if it is an intermediate" in done.stdout
    assert done.stdout.endswith("the PBX holds no binding any more\n")


def test_demo_on_an_ascii_terminal_has_padlocks_of_ascii() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([SIPSUA, "demo"], capture_output=True, env=environment, check=True)
    assert done.stdout.count(b"[#] locked sips:") == 3
    assert done.stdout.count(b"[x] refused sips:") == 1


def test_demo_on_a_terminal_has_colours() -> None:
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color", "PYTHONUTF8": "1"}
    with subprocess.Popen([SIPSUA, "demo"], stdout=theirs, stdin=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:
                break  # the other end is closed
            if not data:
                break
            shown += data
        os.close(ours)
    assert process.returncode == 0
    assert shown.count("\x1b[1;32m\N{LOCK} locked\x1b[0m".encode()) == 3
    assert "\x1b[1;31m\N{OPEN LOCK} refused\x1b[0m".encode() in shown


def test_pbx_that_trusts_the_emulated_manufacturer_says_mac(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "PBX_PASSWORD": PASSWORD, "SIPSUA_HOME": str(home)}
    root = tmp_path / "root.pem"
    subprocess.run(
        [SIPSUA, "device", "manufacturer-ca", "--out", root], check=True, capture_output=True, env=environment
    )
    with subprocess.Popen(
        [SIPSUA, "pbx", "--port", "0", "--password-env", "PBX_PASSWORD", "--client-ca", root],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            line = ""
            while "to try it" not in line:
                line = process.stdout.readline()
                assert line
            words = shlex.split(line.partition("to try it")[2])
            assert words[-2:] == ["--mac", "MAC"]
            tried = subprocess.run(
                [SIPSUA, *words[1:-1], "001565aabbcc"], capture_output=True, text=True, env=environment
            )
        finally:
            process.terminate()
    assert tried.returncode == 0, tried.stderr
