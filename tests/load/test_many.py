"""Many phones in processes of their own: ten thousand in the heavy tests, hundreds in their small twins."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sipsua.load.plan import BackoffSettings, Hold
from sipsua.load.results import Results
from sipsua.load.sample import Count
from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.pki import CertificateAuthority, Issued
from tests.load.whole import group, held_twice, plan_of, run, users


def assert_held_twice(results: Results, phones: int) -> None:
    """None lost, all locked while they are held, two refreshes each, all unregistered."""
    counts = results.counts
    assert not results.errors
    assert not results.lost_workers
    assert counts[Count.REGISTERED] == counts[Count.HANDSHAKES] == counts[Count.TLS1_3] == phones
    assert counts[Count.UNREGISTERED] == phones
    assert counts[Count.LOST] == counts[Count.FAILED] == counts[Count.UNANSWERED] == 0
    held = [row for row in results.rows if row["phase"] == 1]
    assert {row["locked"] for row in held} == {row["registered"] for row in held} == {phones}
    assert counts[Count.REFRESHED] >= 2 * phones


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("phones", "expires", "rate"), [(200, 3, 200), pytest.param(10_000, 60, 400, marks=pytest.mark.heavy)]
)
def test_phones_register_are_held_with_two_refreshes_each_and_unregister_and_none_is_lost(
    tmp_path: Path, phones: int, expires: int, rate: float
) -> None:
    with PbxProcess(users(phones)) as pbx:
        ca = tmp_path / "ca.pem"
        ca.write_bytes(pbx.ca_pem)
        results = run(plan_of(pbx.port, ca, group(phones, expires=expires), phases=held_twice(phones, expires, rate)))
        left = pbx.counts()
    assert_held_twice(results, phones)
    assert (left.bound, left.flows, left.failures) == (0, 0, ())
    # A nonce may be used again: one challenge for each phone, and a REGISTER for each refresh and for the end. A refresh that is under way
    # when its phone is told to leave is answered, and no more counted.
    assert left.responses[401] == phones
    assert 0 <= left.responses[200] - (2 * phones + results.counts[Count.REFRESHED]) <= phones / 20


@pytest.mark.timeout(600)
@pytest.mark.parametrize("phones", [400, pytest.param(10_000, marks=pytest.mark.heavy)])
def test_of_phones_of_which_one_in_a_hundred_meets_a_bad_certificate_exactly_those_are_refused_each_with_its_code(
    tmp_path: Path, phones: int
) -> None:
    authority = CertificateAuthority()
    ca = authority.write(tmp_path / "ca.pem")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    bad = phones // 100
    shares = {"expired": (bad + 1) // 2, "name_mismatch": bad // 4, "unknown_issuer": bad - (bad + 1) // 2 - bad // 4}
    shown: dict[str, Issued] = {
        "": authority.issue("127.0.0.1"),
        "expired": authority.issue("127.0.0.1", not_after=yesterday),
        "name_mismatch": authority.issue("127.0.0.2"),
        "unknown_issuer": CertificateAuthority("somebody else").issue("127.0.0.1"),
    }
    with ExitStack() as stack:
        ports = {
            code: stack.enter_context(PbxProcess(users(phones), certificate=(issued.chain_pem, issued.key_pem))).port
            for code, issued in shown.items()
            if not code or shares[code]
        }
        groups = [group(phones - bad, expires=60)]
        for code, share in shares.items():
            if share:
                once = BackoffSettings(base=3600, maximum=3600)  # one attempt in the time of the run
                groups.append(group(share, name=code, server=f"127.0.0.1:{ports[code]}", backoff=once))
        plan = plan_of(ports[""], ca, *groups, phases=(*held_twice(phones, 3, 200)[:1], Hold(do="hold", duration=1)))
        results = run(plan)
    expected = {f"certificate refused: {code}": share for code, share in shares.items() if share}
    assert {kind: error.count for kind, error in results.errors.items()} == expected
    held = [row for row in results.rows if row["phase"] == 1]
    assert {(row["locked"], row["registered"]) for row in held} == {(phones - bad, phones - bad)}
    assert results.counts[Count.REGISTERED] == phones - bad
