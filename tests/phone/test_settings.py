"""The phone's parameters have the names, values and defaults of the facts sheet, and survive in the flash as a Yealink file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsua.errors import BadConfiguration
from sipsua.phone.cfg import VERSION_LINE, CfgFile
from sipsua.phone.flash import Flash
from sipsua.phone.settings import FILE, PARAMETERS, Settings


@pytest.fixture
def flash(tmp_path: Path) -> Flash:
    return Flash(tmp_path / "phone")


def cfg(*lines: str) -> CfgFile:
    return CfgFile.parse("\n".join([VERSION_LINE, *lines]).encode(), "test.cfg")


@pytest.mark.parametrize(
    ("name", "permitted", "default"),
    [
        ("static.security.trust_certificates", [0, 1], 1),
        ("static.security.ca_cert", [0, 1, 2], 2),
        ("static.security.cn_validation", [0, 1], 0),
        ("static.security.dev_cert", [0, 1], 0),
        ("static.security.default_ssl_method", [0, 3, 4, 5], 3),
        ("static.phone_setting.reserve_certs_enable", [0, 1], 0),
        ("sip.tls_listen_port", list(range(1, 65536)), 5061),
    ],
)
def test_a_parameter_has_the_values_and_the_default_of_the_phone(name: str, permitted: list[int], default: int) -> None:
    (field,) = (field for field, parameter in PARAMETERS.items() if parameter.name == name)
    assert list(PARAMETERS[field].permitted) == permitted
    assert PARAMETERS[field].default == getattr(Settings(), field) == default
    assert PARAMETERS[field].source
    for spelling in {name, name.removeprefix("static.")}:
        for value in {permitted[0], permitted[-1]}:
            assert getattr(Settings.of(cfg(f"{spelling} = {value}"), "test.cfg"), field) == value


def test_every_field_has_its_parameter() -> None:
    assert {*Settings.__dataclass_fields__} == {*PARAMETERS, "unknown"}


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        (
            "static.security.ca_cert = 3",
            "permitted: 0 (default certificates), 1 (custom certificates), 2 (all certificates)",
        ),
        ("security.ca_cert = -1", "permitted: 0 (default"),
        ("static.security.trust_certificates = yes", "permitted: 0 (accept any certificate), 1 (only accept"),
        ("static.security.default_ssl_method = 1", "0 (TLS 1.0 only), 3 (negotiated with the server), 4"),
        ("static.security.cn_validation = 1 0", "0 (disabled), 1 (enabled)"),
        ("static.security.cn_validation = ١", "0 (disabled), 1 (enabled)"),
        ("sip.tls_listen_port = 0", "a number from 1 to 65535"),
        ("sip.tls_listen_port = 65536", "a number from 1 to 65535"),
        ("sip.tls_listen_port = " + "9" * 5000, "a number from 1 to 65535"),
    ],
)
def test_a_value_that_is_not_permitted_is_refused_with_the_permitted_ones(line: str, fix: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        Settings.of(cfg("# comment", line), "test.cfg")
    assert caught.value.what.startswith("test.cfg, line 3: ")
    assert fix in caught.value.fix
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", [3, -1, "1", True, None, 1.0])
def test_a_program_is_held_to_the_permitted_values_too(value: object) -> None:
    with pytest.raises(BadConfiguration, match=r"static\.security\.ca_cert cannot be"):
        Settings(ca_cert=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", " ", "%NULL%"])
def test_nothing_is_the_default(text: str) -> None:
    assert Settings.of(cfg("security.ca_cert = 0", f"static.security.ca_cert = {text}"), "test.cfg").ca_cert == 2


def test_of_two_lines_the_later_counts() -> None:
    assert Settings.of(cfg("static.security.ca_cert = 0", "security.ca_cert=1"), "test.cfg").ca_cert == 1


def test_where_a_file_is_silent_the_settings_stay() -> None:
    before = Settings(ca_cert=0, dev_cert=1)
    assert Settings.of(cfg("static.security.ca_cert = 1"), "test.cfg", before) == Settings(ca_cert=1, dev_cert=1)


def test_what_is_not_known_is_told_with_its_line() -> None:
    file = cfg(
        "account.1.label = Desk",
        "",
        "# comment",
        "nonsense",
        "static.security.ca_cert = 1",
        "Static.Security.Ca_Cert = 0",
        "two words = 1",
    )
    settings = Settings.of(file, "test.cfg")
    assert settings.unknown == (
        "line 2: account.1.label",
        "line 5: nonsense",
        "line 7: Static.Security.Ca_Cert",
        "line 8: two words = 1",
    )
    assert settings.ca_cert == 1


def test_settings_come_back_from_the_flash(flash: Flash) -> None:
    assert Settings.read(flash) == Settings()
    settings = Settings(
        trust_certificates=0, ca_cert=1, cn_validation=1, dev_cert=1, default_ssl_method=5, tls_listen_port=5071
    )
    settings.write(flash)
    assert Settings.read(flash) == settings
    text = (flash.directory / FILE).read_text()
    assert text.startswith("#!version:1.0.0.1\n")
    assert "\nstatic.security.default_ssl_method = 5\n" in text
    settings.write(flash)
    assert (flash.directory / FILE).read_text() == text


def test_what_others_wrote_into_the_file_is_kept(flash: Flash) -> None:
    flash.directory.mkdir()
    lines = [
        "#!version:1.0.0.1",
        "# from the provisioning server",
        "account.1.label = Ä",
        "security.ca_cert = 0",
        "odd",
    ]
    (flash.directory / FILE).write_text("\r\n".join(lines))
    Settings(ca_cert=1).write(flash)
    kept = (flash.directory / FILE).read_text().splitlines()
    for line in ("# from the provisioning server", "account.1.label = Ä", "security.ca_cert = 1", "odd"):
        assert line in kept
    assert not any(line.startswith("static.security.ca_cert") for line in kept)
    assert Settings.read(flash).ca_cert == 1
    assert Settings.read(flash).unknown == ("line 4: account.1.label", "line 6: odd")


def test_a_line_that_a_person_adds_at_the_end_counts(flash: Flash) -> None:
    Settings().write(flash)
    with (flash.directory / FILE).open("a") as file:
        file.write("static.security.ca_cert = 0\n")
    assert Settings.read(flash).ca_cert == 0
    Settings(ca_cert=1).write(flash)
    assert Settings.read(flash).ca_cert == 1


def test_a_file_that_is_cut_off_anywhere_is_noticed_and_named(flash: Flash) -> None:
    Settings(ca_cert=1).write(flash)
    whole = (flash.directory / FILE).read_bytes()
    for length in range(1, len(whole) - 1):
        (flash.directory / FILE).write_bytes(whole[:length])
        with pytest.raises(BadConfiguration) as caught:
            Settings.read(flash)
        assert f"{flash.directory / FILE} is torn" in caught.value.what


def test_a_torn_file_is_not_written_over(flash: Flash) -> None:
    Settings(ca_cert=1).write(flash)
    whole = (flash.directory / FILE).read_bytes()
    (flash.directory / FILE).write_bytes(whole[:-20])
    with pytest.raises(BadConfiguration, match="is torn"):
        Settings().write(flash)
    assert (flash.directory / FILE).read_bytes() == whole[:-20]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"static.security.ca_cert = 1\n", "does not begin with #!version:1.0.0.1"),
        (b"\xef\xbb\xbf#!version:1.0.0.1\n", "does not begin with"),
        (b"#!version:1.0.0.1\nstatic.security.ca_cert = 1\n\xff\n", "line 3 of .* is not UTF-8"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(flash: Flash, content: bytes, says: str) -> None:
    flash.write(FILE, content)
    with pytest.raises(BadConfiguration, match=says) as caught:
        Settings.read(flash)
    assert str(flash.directory / FILE) in caught.value.what


def test_a_line_of_many_megabytes_takes_no_time() -> None:
    assert Settings.of(cfg("a = " + " " * 2_000_000 + "x", " " * 2_000_000 + "y"), "test.cfg").ca_cert == 2
