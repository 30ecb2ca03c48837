"""The phones of a plan by number: what each account is, what phones share, and every mistake told before the first one."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from sipsua.account.config import Connection, Limits
from sipsua.account.persona import GENERIC, YEALINK, Backoff
from sipsua.errors import BadConfiguration
from sipsua.load.plan import Plan
from sipsua.load.population import Population
from sipsua.phone.factory import Factory
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.policy import NameRule, TlsVersion

REGISTER = {"do": "register", "arrivals": {"rate": 10}}
ANY = {"dangerous_accept_any_certificate": True}


def plan(directory: Path, *groups: dict[str, Any], **settings: Any) -> Plan:
    settings = {"server": "127.0.0.1:5061", "trust": ANY, **settings}
    return Plan.model_validate({"phones": groups, "phases": [REGISTER], "directory": directory, **settings})


def refusal(directory: Path, *groups: dict[str, Any], **settings: Any) -> str:
    with pytest.raises(BadConfiguration) as refused:
        Population(plan(directory, *groups, **settings))
    assert refused.value.fix == "correct the plan; `sipsua load plan --example` shows all its parts"
    return refused.value.what.replace(str(directory), "DIR")


def test_phones_of_a_pattern_have_the_groups_settings(tmp_path: Path) -> None:
    group = {
        "users": "1000-1009",
        "password": "se{{cr}}et",
        "auth_user": "{user}-{index}",
        "display_name": "Phone {mac}",
        "uri": "sip:{user}@example.com;transport=tls",
        "expires": 600,
        "persona": "yealink",
        "user_agent": "UA {server}",
        "backoff": {"base": 1, "maximum": 8},
        "connection": "shared",
        "keep_alive": [5, 6],
        "mac": "00-15-65-00-00-FE",
        "source": ["127.0.1.0/30", "127.0.2.9"],
    }
    population = Population(plan(tmp_path, group, timeouts={"handshake": 3}))
    assert len(population) == 10
    config = population.config(4)
    assert config.uri == population.label(4) == "sip:1004@example.com;transport=tls"
    assert (config.password, config.auth_user, config.display_name) == ("se{cr}et", "1004-4", "Phone 001565000102")
    assert (config.server, str(config.target), config.expires) == ("127.0.0.1:5061", "127.0.0.1:5061", 600)
    assert (config.persona, config.user_agent) == (YEALINK, "UA 127.0.0.1:5061")
    assert (config.backoff, config.connection, config.keep_alive) == (Backoff(1, 8), Connection.SHARED, (5.0, 6.0))
    assert config.limits == Limits(handshake=3)
    sources = [population.config(phone).source for phone in range(5)]
    assert sources == ["127.0.1.1", "127.0.1.2", "127.0.2.9", "127.0.1.1", "127.0.1.2"]


def test_what_is_left_out_is_left_to_the_account(tmp_path: Path) -> None:
    config = Population(plan(tmp_path, {"users": "1000", "keep_alive": False}, server="localhost")).config(0)
    assert config.uri == "sips:1000@localhost:5061"
    assert (config.password, config.auth_user, config.display_name, config.user_agent) == ("", None, "", None)
    assert (config.source, config.backoff, config.keep_alive, config.persona) == (None, None, None, GENERIC)


def test_groups_follow_each_other(tmp_path: Path) -> None:
    groups = (
        {"users": "1000-1001"},
        {"users": "7", "name": "the seventh", "server": "[::1]"},
        {"users": "a1-a9", "count": 2},
    )
    population = Population(plan(tmp_path, *groups))
    labels = [population.label(phone) for phone in range(len(population))]
    assert labels == [
        "sips:1000@127.0.0.1:5061",
        "sips:1001@127.0.0.1:5061",
        "sips:7@[::1]:5061",
        "sips:a1@127.0.0.1:5061",
        "sips:a2@127.0.0.1:5061",
    ]
    assert [population.group(phone) for phone in (0, 1, 2, 3, 4)] == [
        "1000-1001",
        "1000-1001",
        "the seventh",
        "a1-a9",
        "a1-a9",
    ]
    for outside in (-1, 5):
        with pytest.raises(IndexError):
            population.config(outside)


def test_phones_share_what_they_have_in_common_across_groups(tmp_path: Path) -> None:
    authority = CertificateAuthority("test CA")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    trust = {"ca": ["ca.pem"], "names": "rfc5922", "minimum": "1.3"}
    groups = ({"users": "1-3"}, {"users": "4"}, {"users": "5", "trust": {"ca": ["ca.pem"]}})
    population = Population(plan(tmp_path, *groups, trust=trust))
    first, same, other, third = (population.config(phone) for phone in (0, 1, 3, 4))
    assert first.policy is same.policy is other.policy
    assert (first.policy.names, first.policy.minimum) == (NameRule.RFC5922, TlsVersion.TLS1_3)
    assert third.policy is not first.policy
    assert third.policy.anchors is first.policy.anchors
    assert [anchor.path for anchor in third.policy.anchors] == [str(tmp_path / "ca.pem")]
    assert first.limits is third.limits


def test_rows_of_our_csv_go_before_the_group(tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text(
        "user,password,auth_user,uri,server,mac,display_name,source,site\n"
        "anna,own{x},a,,localhost:7,00:15:65:aa:bb:cc,Anna,127.0.9.9,Bonn\n"
        "bert,,,sips:b@example.com,,,,,Köln\n"
    )
    group = {"csv": "phones.csv", "password": "all", "auth_user": "{user}@{site}", "display_name": "{user}, {site}"}
    population = Population(plan(tmp_path, group))
    anna, bert = population.config(0), population.config(1)
    assert (anna.uri, anna.password, anna.auth_user, anna.server) == (
        "sips:anna@localhost:7",
        "own{x}",
        "a",
        "localhost:7",
    )
    assert (anna.display_name, anna.source) == ("Anna", "127.0.9.9")
    assert (bert.uri, bert.password, bert.auth_user) == ("sips:b@example.com", "all", "bert@Köln")
    assert (bert.server, bert.display_name, bert.source) == ("127.0.0.1:5061", "bert, Köln", None)
    assert population.group(0) == "phones.csv"


def test_rows_of_sipps_csv_are_fields(tmp_path: Path) -> None:
    (tmp_path / "sipp.csv").write_text("SEQUENTIAL\n# a comment\nanna;pa;x\nbert;pb;y\n")
    population = Population(
        plan(tmp_path, {"csv": "sipp.csv", "password": "{field1}", "display_name": "{user} {field2}", "count": 5})
    )
    assert [population.label(phone)[5:9] for phone in range(5)] == ["anna", "bert", "anna", "bert", "anna"]
    assert (population.config(3).password, population.config(3).display_name) == ("pb", "bert y")


def test_random_rows_are_drawn_by_the_seed_and_alike_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "sipp.csv").write_text("RANDOM\n" + "".join(f"u{row}\n" for row in range(100)))
    group = {"csv": "sipp.csv", "count": 200}

    def drawn(seed: int, **share: int) -> list[str]:
        population = Population(plan(tmp_path, group, seed=seed), **share)
        return [population.label(phone) for phone in range(200)]

    assert drawn(1) == drawn(1, worker=1, workers=2) != drawn(2)
    assert 50 < len(set(drawn(1))) <= 100  # some twice, so not all


def test_user_order_gives_phone_n_row_n_and_never_one_twice(tmp_path: Path) -> None:
    (tmp_path / "sipp.csv").write_text("USER\na\nb\n")
    assert Population(plan(tmp_path, {"csv": "sipp.csv"})).label(1) == "sips:b@127.0.0.1:5061"
    assert refusal(tmp_path, {"csv": "sipp.csv", "count": 3}) == (
        'phones[0].count: 3 phones are wanted, DIR/sipp.csv has 2 rows: add rows, or say order = "sequential" to use them again'
    )
    assert len(Population(plan(tmp_path, {"csv": "sipp.csv", "count": 3, "order": "sequential"}))) == 3


def test_rows_with_uris_need_no_users(tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text("uri\nsips:a@example.com\n")
    assert Population(plan(tmp_path, {"csv": "phones.csv"})).label(0) == "sips:a@example.com"


def test_a_server_for_each_row_needs_none_above(tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text("user,server\na,one.example\nb,\n")
    assert refusal(tmp_path, {"csv": "phones.csv"}, server=None) == (
        "DIR/phones.csv:3: server: is empty, and neither the group nor the plan has one: write HOST:PORT"
    )
    (tmp_path / "phones.csv").write_text("user,server\na,one.example\nb,two.example:5\n")
    population = Population(plan(tmp_path, {"csv": "phones.csv"}, server=None))
    assert [population.label(phone) for phone in (0, 1)] == ["sips:a@one.example:5061", "sips:b@two.example:5"]


def test_the_password_of_the_environment_is_taken_as_it_is_and_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PBX_PASSWORD", "s3{cret}")
    made = plan(tmp_path, {"users": "1000", "password_env": "PBX_PASSWORD"})
    population = Population(made)
    assert population.config(0).password == "s3{cret}"
    for shown in (repr(population), repr(population.config(0)), population.label(0), repr(made)):
        assert "s3" not in shown
    monkeypatch.setenv("PBX_PASSWORD", "")
    assert refusal(tmp_path, {"users": "1000", "password_env": "PBX_PASSWORD"}) == (
        "phones[0].password_env: the environment variable PBX_PASSWORD is empty: write the password there"
    )
    monkeypatch.delenv("PBX_PASSWORD")
    assert refusal(tmp_path, {"users": "1000", "password_env": "PBX_PASSWORD"}) == (
        "phones[0].password_env: the environment variable PBX_PASSWORD is not set: set it, and export it"
    )


def test_no_password_is_in_any_error(tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text("user,password,uri\na,hidden\x01,\nb,,sips:b:hidden@example.com\n")
    texts = [
        refusal(tmp_path, {"users": "1000", "password": "hid{den}"}),
        refusal(tmp_path, {"users": "1000", "password": "hid{den"}),
        refusal(tmp_path, {"users": "1000", "uri": "sips:{user}:hidden@{server}"}),
        refusal(tmp_path, {"csv": "phones.csv"}),
        refusal(tmp_path, {"csv": "phones.csv", "display_name": "{password}"}),
    ]
    for text in texts:
        assert not re.search("hid(?!den from)|den", text), text
    assert texts[0] == (
        "phones[0].password: there is a name in braces that is not known: choose from {user}, {index}, {mac}, {server}; "
        "a brace itself is written twice"
    )
    assert texts[3] == (
        "DIR/phones.csv:2: password: password holds a control character or half a surrogate pair: take it out\n"
        "DIR/phones.csv:3: uri: 'sips:b:***@example.com' holds a password: give the password apart from the address"
    )


def test_each_phone_has_its_certificate_from_the_manufacturer(tmp_path: Path) -> None:
    (tmp_path / "maker").mkdir()
    group = {"users": "1000-1003", "mac": "00:15:65:00:00:08"}
    population = Population(plan(tmp_path, group, certificate={"manufacturer": "maker"}))
    made = sorted(file.stem for file in (tmp_path / "maker" / "unique").glob("*/*.pem"))
    assert made == ["001565000008", "001565000009", "00156500000a", "00156500000b"]
    one, two = population.config(1).policy, population.config(2).policy
    assert one.identity is not None
    assert two.identity is not None
    assert (one.identity.subject, two.identity.subject) == ("CN=001565000009", "CN=00156500000a")
    assert one.anchors is two.anchors
    assert Factory(tmp_path / "maker").identity("001565000009", "ec").der == one.identity.der


def test_a_worker_has_only_its_own_phones_certificates_made(tmp_path: Path) -> None:
    (tmp_path / "maker").mkdir()
    groups = ({"users": "1-3", "mac": "000000000000"}, {"users": "1-4", "mac": "000000000010"})
    Population(plan(tmp_path, *groups, certificate={"manufacturer": "maker"}), worker=1, workers=2)
    made = sorted(file.stem[-2:] for file in (tmp_path / "maker" / "unique").glob("*/*.pem"))
    assert made == ["01", "10", "12"]  # phones 1, 3 and 5 of all


def test_certificates_from_files_are_one_for_each_file(tmp_path: Path) -> None:
    authority = CertificateAuthority("test CA")
    for name in ("bonn", "koeln"):
        authority.issue(f"{name}.example").write(tmp_path, name)
        (tmp_path / f"{name}.both").write_bytes(
            (tmp_path / f"{name}.pem").read_bytes() + (tmp_path / f"{name}.key").read_bytes()
        )
    (tmp_path / "phones.csv").write_text("user,site,certificate\na,bonn,\nb,koeln,\nc,bonn,\nd,bonn,koeln.both\n")
    group = {"csv": "phones.csv", "connection": "shared", "certificate": {"file": "{site}.both"}}
    population = Population(plan(tmp_path, group))
    a, b, c, d = (population.config(phone).policy for phone in range(4))
    assert a == c != b == d  # so that a shared flow is shared
    all_alike = Population(plan(tmp_path, {"users": "1-2", "certificate": {"file": "bonn.both"}}))
    assert all_alike.config(0).policy is all_alike.config(1).policy
    assert all_alike.config(0).policy.identity is not None


def test_all_mistakes_are_told_at_once_and_shared_ones_once(tmp_path: Path) -> None:
    groups = (
        {"users": "1000-1099", "count": 500, "uri": "sips:{usr}@{server}"},
        {"csv": "phones.csv", "certificate": {"file": "{mac}.pem"}},
        {"users": "1", "mac": "ffffffffffff", "trust": {"ca": ["a.pem"]}},
    )
    assert refusal(tmp_path, *groups, trust={}, server=None).splitlines() == [
        'phones[0].server: there is none: give server = "HOST:PORT" here, or at the top of the plan for all',
        'trust.ca: nobody is trusted: give the certificate of the server\'s CA, ca = ["ca.pem"], or other lists',
        "phones[0].uri: {usr} is not known: did you mean {user}?",
        "phones[0].count: 500 phones are wanted, 1000-1099 has 100: write a longer pattern, such as 1000-1499, or take 100 at most",
        "phones[1].csv: there is no file DIR/phones.csv: check the path, which is relative to the plan",
        'phones[1].server: there is none: give server = "HOST:PORT" here, or at the top of the plan for all',
        'phones[2].server: there is none: give server = "HOST:PORT" here, or at the top of the plan for all',
        "phones[2].trust: there is no file DIR/a.pem: check the path",
    ]


@pytest.mark.parametrize(
    ("group", "settings", "what"),
    [
        (
            {"users": "1-2", "mac": "ff:ff:ff:ff:ff:ff"},
            {},
            "phones[0].mac: there are no 2 MAC addresses from ff:ff:ff:ff:ff:ff: begin lower, or ask for fewer, but for one at least",
        ),
        (
            {"users": "a,b", "count": 3},
            {},
            "phones[0].count: 3 phones are wanted, a,b has 2: write a longer pattern, or take 2 at most",
        ),
        (
            {"users": "1", "uri": "{user}@x"},
            {},
            "phones[0].uri: '1@x' is no SIP address: URI: it does not start with a scheme and a colon: write sips:user@host",
        ),
        (
            {"users": "1", "display_name": "a\x07"},
            {},
            "phones[0].display_name: display_name holds a control character or half a surrogate pair: take it out",
        ),
        (
            {"users": "1", "user_agent": "{x"},
            {},
            "phones[0].user_agent: there is a { without its partner: "
            "write a name in braces, such as {user}; a brace itself is written twice: {{ or }}",
        ),
        (
            {"users": "1", "source": ["::1"]},
            {},
            "phones[0].source[0]: nothing can connect from ::1 to 127.0.0.1:5061: give addresses of IPv4",
        ),
        (
            {"users": "1-9", "source": ["192.0.2.7"]},
            {},
            "phones[0].source: nothing can connect from 192.0.2.7 here: Cannot assign requested address: "
            "give addresses that this machine has: `ip address` shows them",
        ),
        (
            {"users": "1", "certificate": {"file": "none.pem"}},
            {},
            "phones[0].certificate.file: there is no file DIR/none.pem: check the path",
        ),
        (
            {"users": "8-9"},
            {"certificate": {"file": "{user}.pem"}},
            "certificate.file: there is no file DIR/8.pem: check the path\n"
            "certificate.file: there is no file DIR/9.pem: check the path",
        ),
        (
            {"users": "1"},
            {"certificate": {"manufacturer": "none"}},
            "certificate.manufacturer: there is no directory DIR/none: "
            "`sipsua device manufacturer-ca` makes a manufacturer, in ~/.local/share/sipsua/manufacturer",
        ),
        (
            {"users": "1", "connection": "shared"},
            {"certificate": {"manufacturer": "."}},
            "phones[0].connection: a shared flow shows one certificate, the manufacturer makes one for each phone: "
            "say own, or give a file",
        ),
        ({"users": "1"}, {"trust": {**ANY, "crl": ["no.crl"]}}, "trust: there is no file DIR/no.crl: check the path"),
        ({"csv": "."}, {}, "phones[0].csv: cannot read DIR: Is a directory: check the path and the rights of the file"),
    ],
)
def test_mistakes_name_the_field_and_what_would_be_right(
    tmp_path: Path, group: dict[str, Any], settings: dict[str, Any], what: str
) -> None:
    assert refusal(tmp_path, group, **settings) == what


def test_a_broken_certificate_of_one_phone_is_found_with_its_row(tmp_path: Path) -> None:
    CertificateAuthority("test CA").issue("a.example").write(tmp_path, "good")
    good = (tmp_path / "good.pem").read_bytes() + (tmp_path / "good.key").read_bytes()
    (tmp_path / "good.pem").write_bytes(good)
    (tmp_path / "bad.pem").write_bytes(b"nothing")
    (tmp_path / "phones.csv").write_text("user,certificate\na,good.pem\nb,bad.pem\nc,\n")
    assert refusal(tmp_path, {"csv": "phones.csv"}) == (
        "DIR/phones.csv:3: certificate: DIR/bad.pem is neither a PEM nor a DER certificate: give the file of the certificate"
    )


def test_wrong_rows_are_told_with_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text(
        "user,server,mac,source\n"
        "a,127.0.0.1,,\n"
        "b b,127.0.0.1,,\n"
        "c,:5061,zz,\n"
        "d,127.0.0.1,,::1\n"
        "e,127.0.0.1,,127.0.0.0/8\n"
        "f,,,192.0.2.7\n"
    )
    assert refusal(tmp_path, {"csv": "phones.csv"}).splitlines() == [
        "DIR/phones.csv:3: user: 'sips:b b@127.0.0.1:5061' is no SIP address: URI: it holds ' ', which must be escaped: "
        "write sips:user@host",
        "DIR/phones.csv:4: mac: 'zz' is no MAC address: give twelve hexadecimal digits, such as 001565aabbcc or 00:15:65:aa:bb:cc",
        "DIR/phones.csv:4: server: ':5061' is no server: write HOST or HOST:PORT, an IPv6 address in brackets",
        "DIR/phones.csv:5: source: nothing can connect from ::1 to 127.0.0.1:5061: give addresses of IPv4",
        "DIR/phones.csv:6: source: 127.0.0.0/8 is a network: give one address for each phone here",
        "DIR/phones.csv:7: source: nothing can connect from 192.0.2.7 here: Cannot assign requested address: "
        "give addresses that this machine has: `ip address` shows them",
    ]


def test_a_column_that_is_used_nowhere_and_looks_like_a_known_one_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text("user,pasword\na,b\n")
    assert refusal(tmp_path, {"csv": "phones.csv"}) == (
        "DIR/phones.csv: column pasword: is used nowhere: did you mean password?"
    )
    assert Population(plan(tmp_path, {"csv": "phones.csv", "password": "{pasword}"})).config(0).password == "b"


def test_twenty_mistakes_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text("user\n" + "a b\n" * 10_000)
    lines = refusal(tmp_path, {"csv": "phones.csv"}).splitlines()
    assert len(lines) == 20
    assert lines[-1] == "and 9981 more"


def test_mistakes_travel_between_processes(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as refused:
        Population(plan(tmp_path, {"csv": "none.csv"}))
    copy = pickle.loads(pickle.dumps(refused.value))
    assert (str(copy), copy.fix) == (str(refused.value), refused.value.fix)


def test_two_phones_of_one_address_are_legal(tmp_path: Path) -> None:
    population = Population(plan(tmp_path, {"users": "1000"}, {"users": "1000,1000"}))
    assert {population.label(phone) for phone in range(3)} == {"sips:1000@127.0.0.1:5061"}
