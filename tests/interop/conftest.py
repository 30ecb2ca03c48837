"""Fixtures for tests that speak with a foreign program: a throw-away authority, and Kamailio with its log kept for failures."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sipsua.testing.pki import CertificateAuthority, IssuedFiles
from tests.interop.kamailio import Kamailio

_STARTED = pytest.StashKey[list[Kamailio]]()


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    """The authority that certified the servers of this run."""
    return CertificateAuthority("interop test CA")


@pytest.fixture(scope="session")
def authority_file(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate as a PEM file: the trust list of the phones."""
    return authority.write(tmp_path_factory.mktemp("authority") / "authority.pem")


@pytest.fixture(scope="session")
def server_files(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> IssuedFiles:
    """A good server certificate for 127.0.0.1, localhost and sip.example.com."""
    issued = authority.issue("127.0.0.1", "localhost", "sip.example.com")
    return issued.write(tmp_path_factory.mktemp("server"))


@pytest.fixture
def kamailio(
    request: pytest.FixtureRequest, tmp_path: Path, server_files: IssuedFiles, needs_kamailio: str
) -> Iterator[Callable[..., Kamailio]]:
    """A maker of running registrars: takes the arguments of :class:`Kamailio`; user 1000 has the password ``secret``."""
    started = request.node.stash.setdefault(_STARTED, [])
    with ExitStack() as stack:

        def start(**options: Any) -> Kamailio:
            directory = tmp_path / f"kamailio-{len(started)}"
            directory.mkdir()
            options = {
                "program": needs_kamailio,
                "certificate": server_files.certificate,
                "key": server_files.key,
                "users": {"1000": "secret"},
                **options,
            }
            pbx = Kamailio(directory, **options)
            started.append(pbx)
            return stack.enter_context(pbx)

        yield start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what Kamailio wrote, under a failing test."""
    report = yield
    if report.failed:
        for pbx in item.stash.get(_STARTED, []):
            report.sections.append((f"kamailio on port {pbx.port}", pbx.log()))
    return report
