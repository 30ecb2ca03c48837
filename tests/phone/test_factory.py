"""The factory: made once and kept, the same for whoever asks, in files for nobody else."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sipsua.errors import BadConfiguration
from sipsua.phone.factory import Factory
from sipsua.phone.flash import Flash, home
from sipsua.trust.certificate import describe
from sipsua.trust.identity import Identity
from sipsua.trust.manufacturer import KeyKind, Manufacturer, macs_from
from sipsua.trust.store import certificates_in

MAC = "001565aabbcc"


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    return Factory(tmp_path / "manufacturer")


def files(factory: Factory) -> dict[str, bytes]:
    """What is kept, by its name."""
    top = factory.flash.directory
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*.pem")}


def test_it_is_beside_the_phone_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIPSUA_HOME", str(tmp_path))
    assert Factory().flash.directory == tmp_path / "manufacturer"
    assert home() == tmp_path / "phone"
    assert list(tmp_path.iterdir()) == []  # nothing is made before it is wanted


def test_what_is_asked_for_again_is_the_same_and_so_for_another_process(factory: Factory) -> None:
    again = Factory(factory.flash.directory)
    assert factory.manufacturer.pem == again.manufacturer.pem
    assert factory.unique(MAC) == factory.unique("00:15:65:AA:BB:CC") == again.unique(MAC)
    assert factory.generic() == again.generic() != factory.unique(MAC)


def test_files_are_for_their_owner_only_and_one_for_each_mac(factory: Factory) -> None:
    factory.unique(MAC, "ec")
    factory.generic()
    assert sorted(files(factory)) == ["authority.pem", "generic.pem", f"unique/cc/{MAC}.pem"]
    for path in factory.flash.directory.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize(("key", "name"), [("rsa", "RSA 2048"), ("ec", "EC P-256"), (None, "RSA 2048")])
def test_kind_of_key_is_the_one_asked_for_and_rsa_without_a_word(
    factory: Factory, key: KeyKind | None, name: str
) -> None:
    pem = factory.unique(MAC, key)
    assert describe(factory.identity(MAC).der).key == name
    assert describe(Identity.from_bundle(pem, "").der) == describe(factory.identity(MAC, key).der)
    assert factory.unique(MAC) == factory.unique(MAC, key) == pem


def test_phone_has_one_certificate_so_another_kind_of_key_is_refused(factory: Factory) -> None:
    pem = factory.unique(MAC, "ec")
    with pytest.raises(
        BadConfiguration, match="001565aabbcc has its unique certificate already, with a key of EC P-256"
    ):
        factory.unique(MAC, "rsa")
    assert factory.unique(MAC) == pem


def test_many_are_made_ahead_once_and_read_back(factory: Factory) -> None:
    old = factory.unique("0015650000ff", "rsa")
    assert factory.ahead(["00:15:65:00:00:ff", *macs_from("0015650000f0", 40), "0015650000F0"]) == 39
    before = files(factory)
    assert factory.ahead(macs_from("0015650000f0", 41)) == 1
    assert before.items() <= files(factory).items()
    assert factory.unique("0015650000ff") == old
    issuing = certificates_in(factory.manufacturer.issuing_pem, "")
    for mac in macs_from("0015650000f0", 41):
        identity = factory.identity(mac)
        assert identity.subject == f"CN={mac}"
        assert [one.to_cryptography() for one in identity.extra_chain] == issuing
        assert (describe(identity.der).key == "EC P-256") is (mac != "0015650000ff")


def test_rsa_keys_are_made_ahead_too(factory: Factory) -> None:
    assert factory.ahead(macs_from(MAC, 3), "rsa") == 3
    assert describe(factory.identity(MAC).der).key == "RSA 2048"


def test_a_bad_mac_among_many_makes_none(factory: Factory) -> None:
    with pytest.raises(BadConfiguration, match="'0015' is no MAC address"):
        factory.ahead([MAC, "0015"])
    assert files(factory) == {}


def test_a_full_disk_ends_the_making_ahead_and_what_was_made_is_kept(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, tries = Flash.write, []

    def full(flash: Flash, name: str, data: bytes) -> None:
        if name.startswith("unique/"):
            tries.append(name)
            if len(tries) > 5:
                raise BadConfiguration(f"cannot write {name}: No space left on device", fix="")
        write(flash, name, data)

    monkeypatch.setattr(Flash, "write", full)
    threads = threading.active_count()
    with pytest.raises(BadConfiguration, match="No space left"):
        factory.ahead(macs_from(MAC, 1000), threads=2)
    assert threading.active_count() == threads  # nobody goes on behind the caller's back
    assert len(tries) < 1000
    assert len([name for name in files(factory) if name.startswith("unique/")]) == 5


def test_threads_agree_on_one_manufacturer_and_one_certificate(factory: Factory) -> None:
    with ThreadPoolExecutor(8) as pool:
        pems = list(pool.map(lambda _: Factory(factory.flash.directory).unique(MAC, "ec"), range(8)))
    assert set(pems) == {factory.unique(MAC)}


def test_processes_at_once_agree_on_one_manufacturer_and_one_certificate_a_phone(factory: Factory) -> None:
    program = (
        "import sys; from sipsua.phone.factory import Factory; from sipsua.trust.manufacturer import macs_from;"
        "factory = Factory(sys.argv[1]); sys.stdin.read(); factory.ahead(macs_from('001565000000', 30));"
        "sys.stdout.buffer.write(factory.manufacturer.pem + factory.unique('001565000007') + factory.generic())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(factory.flash.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    try:
        for process in started:
            assert process.stdin is not None
            process.stdin.close()  # now
        said = []
        for process in started:
            assert process.stdout is not None
            assert process.stderr is not None
            with process.stdout, process.stderr:
                said.append(process.stdout.read())
                assert process.stderr.read() == b""
            assert process.wait() == 0
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert set(said) == {factory.manufacturer.pem + factory.unique("001565000007") + factory.generic()}
    for mac in macs_from("001565000000", 30):
        assert factory.identity(mac).extra_chain
    assert len(files(factory)) == 32
    assert not list(factory.flash.directory.rglob(".sipsua-new-*"))


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"hello", b"-----BEGIN CERTIFICATE-----\nMII"])
def test_broken_authority_is_named_and_not_replaced(factory: Factory, data: bytes) -> None:
    factory.flash.directory.mkdir()
    path = factory.flash.directory / "authority.pem"
    path.write_bytes(data)
    with pytest.raises(BadConfiguration, match=r"authority\.pem"):
        factory.unique(MAC)
    assert path.read_bytes() == data


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfiguration, match="file/manufacturer"):
        Factory(tmp_path / "file" / "manufacturer").generic()


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_ten_thousand_unique_certificates_are_made_ahead_and_kept(factory: Factory) -> None:
    macs = list(macs_from("001565000000", 10_000))
    assert factory.ahead(macs) == 10_000
    before = files(factory)
    again = Factory(factory.flash.directory)
    assert again.ahead(macs) == 0
    serials = set()
    for mac in macs:
        certificate = describe(again.identity(mac).der)
        assert certificate.subject == f"CN={mac}"
        serials.add(certificate.serial)
    assert len(serials) == 10_000
    assert files(factory) == before
    assert again.manufacturer.pem == Manufacturer.from_pem(before["authority.pem"], "").pem
