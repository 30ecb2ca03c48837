"""What the tests of every room need: foreign programs, asked for by name, and a Hypothesis that does not look at the clock."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from hypothesis import settings

# A busy machine is not a failed test. In CI this builds on Hypothesis's own profile, which is not random there.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="session")
def require_program() -> Callable[[str], str]:
    """A function from a program's name to its path. Where the program is missing it skips the test, and in CI (the environment
    variable CI is set) it fails it: there, a missing program would hide a test for good."""

    def require(name: str) -> str:
        # Debian keeps servers in /usr/sbin, which is not on an ordinary user's PATH.
        path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
        if path is not None:
            return path
        reason = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)

    return require


@pytest.fixture(scope="session")
def needs_kamailio(require_program: Callable[[str], str]) -> str:
    """The path of kamailio."""
    return require_program("kamailio")
