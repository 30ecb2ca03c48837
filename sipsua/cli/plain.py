"""Text from strangers made fit to print.

Names in certificates, reason phrases and whole messages come from whoever answered. Printed as they are, they could move the cursor,
recolour the screen, or break a line of a log in two.
"""

from __future__ import annotations

import unicodedata


def printable(text: str, *, lines: bool = False) -> str:
    """The text with control, format and unpaired characters as escapes; with `lines`, line feeds stay and CR LF counts as one."""
    if lines:
        text = text.replace("\r\n", "\n")
    return "".join(
        character
        if (character == "\n" and lines) or unicodedata.category(character) not in _HARMFUL
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's categories of what is no visible character: escape sequences and bidirectional overrides are of these."""
