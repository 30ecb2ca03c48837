"""The two lists that come with sipsua: the 76 roots that the phone has built in, and the roots that browsers trust today.

The phone's list is of its guide's time, with roots that have expired since and keys that are too short by now, because that is what the
phones in the field have; `certs/README.md` says where each is from. Today's list is Mozilla's, from `certifi`. Each is parsed once in a
process, and everybody who asks gets the same object.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import certifi

from sipsua.errors import Defect
from sipsua.trust.store import TrustList

# A wheel has the roots beside this file; a checkout, and an installation that points to one, in the top folder.
_PLACES = (
    Path(__file__).parent / "roots" / "builtin.pem",
    Path(__file__).parents[2] / "certs" / "trusted" / "builtin.pem",
)


@lru_cache(maxsize=1)
def built_in_roots() -> TrustList:
    """The trusted certificates that the phone has built in, of origin `built-in`. Raises Defect if they were not installed."""
    for place in _PLACES:
        if place.is_file():
            return TrustList.from_files(place, origin="built-in")
    raise Defect(f"the built-in roots are not at {_PLACES[0]}", fix="install sipsua again")


@lru_cache(maxsize=1)
def mozilla_roots() -> TrustList:
    """Today's public roots, of origin `mozilla`: the bundle of the installed `certifi`."""
    return TrustList.from_files(certifi.where(), origin="mozilla")
