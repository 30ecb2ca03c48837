"""Users by a pattern, kept as its pieces."""

from __future__ import annotations

import pytest

from sipsua.account.users import UserPattern
from sipsua.errors import BadConfiguration


@pytest.mark.parametrize(
    ("pattern", "users"),
    [
        ("1000-1002", ["1000", "1001", "1002"]),
        ("7, 098-101", ["7", "098", "099", "100", "101"]),
        ("phone0009-phone0011", ["phone0009", "phone0010", "phone0011"]),
        ("line-8-line-10", ["line-8", "line-9", "line-10"]),
        ("anna,bert , 3", ["anna", "bert", "3"]),
        ("10a1-10a2", ["10a1", "10a2"]),
        ("5,5", ["5", "5"]),
        ("+491-+493", ["+491", "+492", "+493"]),
        ("0-0", ["0"]),
    ],
)
def test_a_pattern_gives_its_users_in_order(pattern: str, users: list[str]) -> None:
    assert list(UserPattern(pattern)) == users
    assert len(UserPattern(pattern)) == len(users)


def test_users_are_found_by_number_from_either_end_and_in_slices() -> None:
    users = UserPattern("a,10-19,b1-b3")
    assert (users[0], users[1], users[10], users[11], users[13]) == ("a", "10", "19", "b1", "b3")
    assert (users[-1], users[-14]) == ("b3", "a")
    assert users[9:12] == ["18", "19", "b1"]
    for outside in (14, -15):
        with pytest.raises(IndexError):
            users[outside]


def test_a_million_users_are_kept_as_one_piece() -> None:
    users = UserPattern("0-999999")
    assert (len(users), users[999_999], repr(users)) == (1_000_000, "999999", "<UserPattern: '0-999999'>")


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("", "there is an empty range of users in ''"),
        ("1000-1099,", "there is an empty range of users in '1000-1099,'"),
        ("a-b", "'a-b' is no range of users"),
        ("phone1-fax2", "'phone1-fax2' is no range of users"),
        ("5-1", "'5-1' is no range of users: it ends before it begins"),
        ("1000-1099-1999", "'1000-1099-1999' is no range of users"),
        ("1000 1099", "'1000 1099' is no range of users"),
        ("anna@example.com", "'anna@example.com' is no range of users"),
        ("٣-٥", "'٣-٥' is no range of users"),
        ("x" * 300, f"'{'x' * 57}...' is no range of users: it is too long"),
        ("0-1000000", "'0-1000000' is more than 1000000 users"),
        ("0-599999,600000-1199999", "'0-599999,600000-1199999' is more than 1000000 users"),
    ],
)
def test_what_is_no_pattern_is_refused_with_what_would_be(pattern: str, what: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        UserPattern(pattern)
    assert refused.value.what == what
    assert refused.value.fix in (
        "take fewer",
        "write a range like 1000-1099 or phone001-phone099, a name, or several with commas",
    )
