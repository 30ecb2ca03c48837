"""The custom list takes what is a certificate, says why it does not take the rest, and is then as it was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sipsua.errors import BadConfiguration
from sipsua.phone.flash import Flash
from sipsua.phone.trusted import AlreadyTrusted, TrustedCertificates
from sipsua.testing.pki import CertificateAuthority, self_signed
from sipsua.trust.builtin import built_in_roots

ROOTS = [CertificateAuthority(f"Root {number}") for number in range(12)]
KEY = ROOTS[0].key
NOW = datetime.now(UTC)


def der(authority: CertificateAuthority) -> bytes:
    return authority.certificate.public_bytes(Encoding.DER)


@pytest.fixture
def flash(tmp_path: Path) -> Flash:
    return Flash(tmp_path / "phone")


@pytest.fixture
def trusted(flash: Flash) -> TrustedCertificates:
    return TrustedCertificates(flash)


def names(trusted: TrustedCertificates) -> list[tuple[int, str, str]]:
    return [(one.index, one.name, one.certificate.subject) for one in trusted.list()]


def content(flash: Flash) -> dict[str, bytes]:
    return {name: flash.path(name).read_bytes() for name in flash.names("trusted")}


# What is taken


@pytest.mark.parametrize("extension", [".pem", ".cer", ".crt", ".der", ".PEM", ".Der"])
@pytest.mark.parametrize("form", ["pem", "der"])
def test_the_format_of_the_trusted_certificate_files_must_be_pem_cer_crt_and_der(
    trusted: TrustedCertificates, tmp_path: Path, extension: str, form: str
) -> None:
    """'The format of the trusted certificate files must be *.pem,*.cer,*.crt and *.der and the maximum file size is 5MB.'"""
    path = tmp_path / f"ca{extension}"
    path.write_bytes(ROOTS[0].pem if form == "pem" else der(ROOTS[0]))
    upload = trusted.add(path)
    assert upload.warnings == ()
    assert [one.certificate.der for one in upload.added] == [der(ROOTS[0])]
    assert names(trusted) == [(1, path.name, "CN=Root 0")]


def test_a_certificate_is_listed_with_index_issued_to_issued_by_expiry_and_fingerprint(
    trusted: TrustedCertificates,
) -> None:
    between = ROOTS[0].intermediate("Intermediate")
    trusted.put("a.pem", ROOTS[1].pem)
    trusted.put("b.pem", between.pem)
    one = trusted.list()[1]
    certificate = between.certificate
    assert one.as_json() == {
        "index": 2,
        "name": "b.pem",
        "subject": "CN=Intermediate",
        "issuer": "CN=Root 0",
        "serial": format(certificate.serial_number, "x"),
        "names": [],
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "key": "EC P-256",
        "signature": "ecdsa-with-SHA256",
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def test_the_list_stays_in_the_flash_and_is_the_phones_trust_list(flash: Flash, trusted: TrustedCertificates) -> None:
    trusted.put("a.pem", ROOTS[0].pem)
    trusted.put("b.cer", der(ROOTS[1]))
    again = TrustedCertificates(Flash(flash.directory))
    assert [(one.subject, one.origin) for one in again.trust_list()] == [
        ("CN=Root 0", "custom"),
        ("CN=Root 1", "custom"),
    ]
    assert again.trust_list() is trusted.trust_list()


def test_phones_with_the_same_certificates_hold_one_trust_list(tmp_path: Path) -> None:
    lists = []
    for number in range(5):
        trusted = TrustedCertificates(Flash(tmp_path / str(number)))
        trusted.put("a.pem" if number % 2 else "b.der", ROOTS[0].pem)
        lists.append(trusted.trust_list())
    assert len(set(lists)) == 1


def test_each_certificate_of_a_file_counts(trusted: TrustedCertificates) -> None:
    trusted.put("a.pem", ROOTS[0].pem)
    assert len(trusted.put("bundle.pem", ROOTS[1].pem + ROOTS[2].pem + ROOTS[1].pem).added) == 2
    trusted.put("z.pem", ROOTS[3].pem)
    assert names(trusted) == [
        (1, "a.pem", "CN=Root 0"),
        (2, "bundle.pem", "CN=Root 1"),
        (3, "bundle.pem", "CN=Root 2"),
        (4, "z.pem", "CN=Root 3"),
    ]


def test_two_uploads_of_one_name_are_both_kept(trusted: TrustedCertificates) -> None:
    trusted.put("ca.pem", ROOTS[0].pem)
    trusted.put("ca.pem", ROOTS[1].pem)
    assert names(trusted) == [(1, "ca.pem", "CN=Root 0"), (2, "ca.pem", "CN=Root 1")]


def test_a_server_certificate_may_be_pinned_and_an_old_root_kept(trusted: TrustedCertificates) -> None:
    trusted.put("pin.crt", self_signed("sip.example.com").certificate_pem)
    weak = next(one for one in built_in_roots() if "Equifax Secure eBusiness" in one.subject)  # MD5, RSA 1024
    trusted.put("weak.der", weak.der)
    assert [one.certificate.key for one in trusted.list()] == ["EC P-256", "RSA 1024"]


@pytest.mark.parametrize(
    ("before", "after", "warning"),
    [
        (-20, -10, "certificate 1 (CN=Odd) expired on"),
        (10, 20, "certificate 1 (CN=Odd) is not valid before"),
    ],
)
def test_an_expired_certificate_is_kept_with_a_warning(
    trusted: TrustedCertificates, before: int, after: int, warning: str
) -> None:
    odd = CertificateAuthority("Odd", not_before=NOW + timedelta(days=before), not_after=NOW + timedelta(days=after))
    (told,) = trusted.put("odd.pem", odd.pem, NOW).warnings
    assert told.startswith(warning)
    assert names(trusted) == [(1, "odd.pem", "CN=Odd")]
    assert (
        TrustedCertificates(Flash(trusted._flash.directory.parent / "other"))
        .put("odd.pem", odd.pem, NOW + timedelta(days=before + 5))
        .warnings
        == ()
    )


# What is refused


def request() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "phone")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(KEY, hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


def revocations() -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(ROOTS[0].certificate.subject)
    builder = builder.last_update(NOW).next_update(NOW + timedelta(days=1))
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


def key(encoding: Encoding, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password is not None else NoEncryption()
    return KEY.private_bytes(encoding, PrivateFormat.PKCS8, encryption)


REFUSED: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("another extension", "ca.txt", lambda: ROOTS[1].pem, "none of the extensions .pem .cer .crt .der"),
    ("no extension", "pem", lambda: ROOTS[1].pem, "none of the extensions"),
    ("a name of control characters", "c\na.pem", lambda: ROOTS[1].pem, "a name that cannot be kept"),
    ("a name of 300 characters", "x" * 300 + ".pem", lambda: ROOTS[1].pem, "a name that cannot be kept"),
    ("too large", "ca.pem", lambda: ROOTS[1].pem + b" " * 5_000_000, "is larger than 5 MB"),
    ("empty", "ca.pem", lambda: b"", "is empty"),
    ("text", "ca.pem", lambda: b"hello", "neither a PEM nor a DER certificate"),
    ("an image", "ca.der", lambda: b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "neither a PEM nor a DER certificate"),
    ("cut off", "ca.pem", lambda: ROOTS[1].pem[:200], "is cut off: END CERTIFICATE is missing"),
    ("a second one cut off", "ca.pem", lambda: ROOTS[1].pem + ROOTS[2].pem[:200], "is cut off"),
    ("DER with more after it", "ca.der", lambda: der(ROOTS[1]) + b"\0", "neither a PEM nor a DER"),
    ("a request", "ca.pem", request, "holds no certificate but CERTIFICATE REQUEST"),
    ("a revocation list", "ca.pem", revocations, "holds no certificate but X509 CRL"),
    ("a key", "ca.pem", lambda: key(Encoding.PEM), "holds a private key and no certificate"),
    ("an encrypted key", "ca.pem", lambda: key(Encoding.PEM, b"x"), "holds a private key and no certificate"),
    ("a key in DER", "ca.der", lambda: key(Encoding.DER), "holds a private key"),
    (
        "a certificate and its key",
        "ca.pem",
        lambda: ROOTS[1].pem + key(Encoding.PEM),
        "a private key beside the certif",
    ),
    (
        "a duplicate",
        "other.pem",
        lambda: ROOTS[0].pem,
        "CN=Root 0, which is certificate 1 of the list (first.pem) already",
    ),
    ("a duplicate in DER", "o.der", lambda: der(ROOTS[0]), "which is certificate 1 of the list"),
    ("a duplicate among new ones", "o.pem", lambda: ROOTS[1].pem + ROOTS[0].pem, "which is certificate 1 of the list"),
    (
        "more than fit",
        "bundle.pem",
        lambda: b"".join(root.pem for root in ROOTS[1:11]),
        "there is 1 custom certificate and a phone holds 10: {} holds 10 more, of which none was taken",
    ),
]


@pytest.mark.parametrize(("name", "data", "says"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_an_upload_that_is_refused_says_why_and_changes_nothing(
    flash: Flash, trusted: TrustedCertificates, tmp_path: Path, name: str, data: Callable[[], bytes], says: str
) -> None:
    trusted.put("first.pem", ROOTS[0].pem)
    before = content(flash)
    with pytest.raises(BadConfiguration) as caught:
        trusted.put(name, data())
    assert says.format(name) in caught.value.what
    assert caught.value.fix
    assert content(flash) == before
    if len(name) < 256:
        path = _written(tmp_path / name, data())
        with pytest.raises(BadConfiguration) as caught:
            trusted.add(path)
        assert says.format(path) in caught.value.what
        assert str(path) in caught.value.what
        assert content(flash) == before


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_private_key_by_mistake_is_not_shown(trusted: TrustedCertificates) -> None:
    for data in (key(Encoding.PEM), ROOTS[0].pem + key(Encoding.PEM)):
        with pytest.raises(BadConfiguration) as caught:
            trusted.put("ca.pem", data)
        assert not any(line in str(caught.value) for line in data.decode().splitlines() if not line.startswith("---"))


def test_a_missing_file_is_named(trusted: TrustedCertificates, tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"there is no file .*ca\.pem"):
        trusted.add(tmp_path / "ca.pem")


def test_the_maximum_file_size_is_5mb(trusted: TrustedCertificates, tmp_path: Path) -> None:
    trusted.add(_written(tmp_path / "largest.pem", ROOTS[0].pem + b"\n" * (5_000_000 - len(ROOTS[0].pem))))
    with pytest.raises(BadConfiguration, match="larger than 5 MB"):
        trusted.add(_written(tmp_path / "larger.pem", ROOTS[1].pem + b"\n" * (5_000_001 - len(ROOTS[1].pem))))
    assert names(trusted) == [(1, "largest.pem", "CN=Root 0")]


def test_the_largest_certificate_fits_into_the_flash_as_pem(trusted: TrustedCertificates) -> None:
    comment = x509.UnrecognizedExtension(
        x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x04\x84\x00\x4b\x00\x00" + b"x" * 4_915_200
    )
    large = CertificateAuthority("Large", extensions=[x509.Extension(comment.oid, False, comment)])
    assert 4_900_000 < len(der(large)) <= 5_000_000
    trusted.put("large.der", der(large))
    assert names(trusted) == [(1, "large.der", "CN=Large")]


def test_you_can_upload_10_custom_certificates_at_most(flash: Flash, trusted: TrustedCertificates) -> None:
    """'You can upload 10 custom certificates at most.'"""
    for number in range(10):
        trusted.put(f"{number}.pem", ROOTS[number].pem)
    before = content(flash)
    with pytest.raises(BadConfiguration) as caught:
        trusted.put("10.pem", ROOTS[10].pem)
    assert caught.value.what == "there are 10 custom certificates and a phone holds 10: 10.pem is one too many"
    assert caught.value.fix == "delete some first"
    assert content(flash) == before
    trusted.delete(3)
    trusted.put("10.pem", ROOTS[10].pem)
    assert [one.certificate.subject for one in trusted.list()][-2:] == ["CN=Root 9", "CN=Root 10"]


def test_an_upload_fills_the_list_to_the_last_place(trusted: TrustedCertificates) -> None:
    assert len(trusted.put("ten.pem", b"".join(root.pem for root in ROOTS[:10])).added) == 10


# Deleting


def test_certificates_are_deleted_one_by_one(trusted: TrustedCertificates) -> None:
    trusted.put("a.pem", ROOTS[0].pem)
    trusted.put("bundle.pem", ROOTS[1].pem + ROOTS[2].pem)
    assert trusted.delete(2) == ["CN=Root 1"]
    assert names(trusted) == [(1, "a.pem", "CN=Root 0"), (2, "bundle.pem", "CN=Root 2")]
    assert trusted.delete(1) == ["CN=Root 0"]
    assert trusted.delete(1) == ["CN=Root 2"]
    assert names(trusted) == []


@pytest.mark.parametrize("index", [0, -1, 2, 99])
def test_an_index_that_is_not_there_is_told(flash: Flash, trusted: TrustedCertificates, index: int) -> None:
    trusted.put("a.pem", ROOTS[0].pem)
    before = content(flash)
    with pytest.raises(BadConfiguration, match=f"there is no custom certificate {index}: the list has 1"):
        trusted.delete(index)
    assert content(flash) == before
    trusted.delete_all()
    with pytest.raises(BadConfiguration, match="the list is empty"):
        trusted.delete(index)


def test_a_name_deletes_all_that_came_under_it(trusted: TrustedCertificates) -> None:
    trusted.put("bundle.pem", ROOTS[1].pem + ROOTS[2].pem)
    trusted.put("a.pem", ROOTS[0].pem)
    trusted.put("bundle.pem", ROOTS[3].pem)
    assert trusted.delete("bundle.pem") == ["bundle.pem"]
    assert names(trusted) == [(1, "a.pem", "CN=Root 0")]
    with pytest.raises(BadConfiguration, match=r"no custom certificate of the name bundle\.pem"):
        trusted.delete("bundle.pem")


@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("http://localhost/all", []),
        ("http://localhost/a.pem", ["b c.pem"]),
        ("http://localhost/b%20c.pem", ["a.pem"]),
        ("http://localhost/absent.pem", ["a.pem", "b c.pem"]),
    ],
)
def test_the_phones_parameter_deletes_all_or_one(trusted: TrustedCertificates, url: str, left: list[str]) -> None:
    trusted.put("a.pem", ROOTS[0].pem)
    trusted.put("b c.pem", ROOTS[1].pem)
    trusted.delete_url(url)
    assert [one.name for one in trusted.list()] == left


@pytest.mark.parametrize("url", ["", "all", "http://localhost/", "http://example.com/all", "https://localhost/all"])
def test_another_url_deletes_nothing(trusted: TrustedCertificates, url: str) -> None:
    trusted.put("a.pem", ROOTS[0].pem)
    with pytest.raises(BadConfiguration, match="does not say what to delete") as caught:
        trusted.delete_url(url)
    assert caught.value.fix == "write http://localhost/all or http://localhost/NAME"
    assert len(trusted.list()) == 1


# What lies in the flash


def test_a_stored_file_that_is_cut_off_anywhere_is_noticed_and_named(
    flash: Flash, trusted: TrustedCertificates
) -> None:
    trusted.put("good.pem", ROOTS[0].pem)
    trusted.put("my ca.pem", ROOTS[1].pem + ROOTS[2].pem)
    stored = flash.path("trusted/02-my ca.pem")
    whole = stored.read_bytes()
    for length in (*range(40), *range(40, len(whole) - 40, 17), *range(len(whole) - 40, len(whole) - 1)):
        stored.write_bytes(whole[:length])
        with pytest.raises(BadConfiguration) as caught:
            trusted.list()
        assert f"{stored} is torn: " in caught.value.what
        if length:
            assert f"sipsua trust delete 'my ca.pem' --flash {flash.directory}" in caught.value.fix
    trusted.delete("my ca.pem")
    assert names(trusted) == [(1, "good.pem", "CN=Root 0")]


def test_a_torn_file_hinders_uploads_and_not_the_deletion_of_all(flash: Flash, trusted: TrustedCertificates) -> None:
    trusted.put("a.pem", ROOTS[0].pem)
    flash.path("trusted/01-a.pem").write_bytes(b"# 1 certificate\n-----BEGIN CERT")
    with pytest.raises(BadConfiguration, match="is torn"):
        trusted.put("b.pem", ROOTS[1].pem)
    with pytest.raises(BadConfiguration, match="is torn"):
        trusted.delete(1)
    assert trusted.delete_all() == 1
    assert trusted.list() == ()


def test_a_file_that_somebody_put_there_counts_after_the_others(flash: Flash, trusted: TrustedCertificates) -> None:
    trusted.put("z.pem", ROOTS[0].pem)
    (flash.directory / "trusted" / "corp.crt").write_bytes(der(ROOTS[1]))
    assert names(trusted) == [(1, "z.pem", "CN=Root 0"), (2, "corp.crt", "CN=Root 1")]
    (flash.directory / "trusted" / "note.txt").write_bytes(b"hello")
    with pytest.raises(BadConfiguration, match=r"note\.txt is neither a PEM nor a DER certificate"):
        trusted.list()


def test_export_is_a_bundle_that_tells_what_is_in_it(trusted: TrustedCertificates) -> None:
    trusted.put("a.pem", ROOTS[0].pem + ROOTS[1].pem)
    pem = trusted.pem()
    assert b"# 2 a.pem: CN=Root 1\n-----BEGIN CERTIFICATE-----\n" in pem
    assert [one.subject for one in x509.load_pem_x509_certificates(pem)] == [
        root.certificate.subject for root in ROOTS[:2]
    ]


ADDER = """
import sys
from sipsua.errors import BadConfiguration
from sipsua.phone.flash import Flash
from sipsua.phone.trusted import TrustedCertificates
trusted = TrustedCertificates(Flash(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for path in sys.argv[2:]:
    try:
        trusted.add(path)
    except BadConfiguration as error:
        print(type(error).__name__, error.what)
"""


def test_two_processes_that_add_at_once_fill_the_list_and_no_more(flash: Flash, tmp_path: Path) -> None:
    paths = [_written(tmp_path / f"{number}.pem", root.pem) for number, root in enumerate(ROOTS)]
    adders = [
        subprocess.Popen(
            [sys.executable, "-c", ADDER, flash.directory, *mine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mine in (paths[:8], paths[:3:-1])
    ]
    for adder in adders:
        assert adder.stdout is not None
        assert adder.stdout.readline() == "ready\n"
    for adder in adders:
        assert adder.stdin is not None
        adder.stdin.write("go\n")
        adder.stdin.flush()
    told = "".join(adder.communicate(timeout=50)[0] for adder in adders)
    assert [adder.returncode for adder in adders] == [0, 0]
    listed = TrustedCertificates(flash).list()
    assert len(listed) == 10
    assert len({one.certificate.fingerprint for one in listed}) == 10
    # Sixteen were tried, of which two stood for each of four certificates.
    assert told.count("AlreadyTrusted") + told.count("is one too many") == 6
    assert told.count("\n") == 6


@pytest.mark.parametrize(
    "act",
    [
        lambda trusted: trusted.put("b.pem", ROOTS[1].pem),
        lambda trusted: trusted.delete(1),
        lambda trusted: trusted.delete("a.pem"),
        lambda trusted: trusted.delete_url("http://localhost/a.pem"),
        lambda trusted: trusted.delete_all(),
    ],
)
def test_nobody_comes_between_a_look_at_the_list_and_its_change(
    flash: Flash, act: Callable[[TrustedCertificates], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sipsua.phone.flash.LOCK_PATIENCE", 0.02)
    told = []

    class Watched(Flash):
        """A flash on which another process wants to work at each look."""

        def names(self, folder: str = "") -> list[str]:
            try:
                TrustedCertificates(Flash(self.directory)).put("z.pem", ROOTS[2].pem)
            except BadConfiguration as error:
                told.append(error.what)
            return super().names(folder)

    TrustedCertificates(flash).put("a.pem", ROOTS[0].pem)
    act(TrustedCertificates(Watched(flash.directory)))
    assert told
    assert all("another process has been changing" in one for one in told)


def test_a_duplicate_is_an_error_of_its_own(trusted: TrustedCertificates) -> None:
    trusted.put("a.pem", ROOTS[0].pem)
    with pytest.raises(AlreadyTrusted):
        trusted.put("b.pem", ROOTS[0].pem)
