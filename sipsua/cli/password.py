"""A password given to a command, in one of three ways.

Only a file or an environment variable keeps it from the list of processes, which every user of the machine can read. Whichever way it
came, it appears in no output.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sipsua.cli.failure import UsageError
from sipsua.errors import BadConfiguration

PasswordText = Annotated[
    str | None,
    typer.Option(
        "--password", metavar="TEXT", help="The password itself. Every user of this machine can see it in ps."
    ),
]
PasswordVariable = Annotated[
    str | None, typer.Option("--password-env", metavar="VAR", help="Environment variable that holds the password.")
]
PasswordFile = Annotated[
    str | None, typer.Option("--password-file", metavar="FILE", help="File whose first line is the password.")
]

MAXIMUM_FILE_SIZE = 4096
"""Bytes: more is no password, but a device or the wrong file."""


def read_password(text: str | None, variable: str | None, file: str | None) -> str | None:
    """The password, or None where none of the options is given. Raises UsageError for several, BadConfiguration."""
    if sum(option is not None for option in (text, variable, file)) > 1:
        raise UsageError(
            "the password is given in more than one way",
            fix="give one of --password, --password-env and --password-file",
        )
    if variable is not None:
        where, text = f"the environment variable {variable} of --password-env", os.environ.get(variable)
        if text is None:
            raise BadConfiguration(f"{where} is not set", fix="set it, and export it")
    elif file is not None:
        where = f"the first line of {file}"
        try:
            with Path(file).open("rb") as opened:
                data = opened.read(MAXIMUM_FILE_SIZE + 1)
            if len(data) > MAXIMUM_FILE_SIZE:
                raise BadConfiguration(f"{file} is larger than 4 KiB", fix="give a file that holds only the password")
            # -sig: some editors begin a file with a byte order mark, which is no letter of the password.
            text = next(iter(data.decode("utf-8-sig").splitlines()), "")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no UTF-8 text"
            # `from None`: an error of decoding quotes what it could not decode.
            raise BadConfiguration(
                f"cannot read the password from {file}: {why}", fix="check the path and the rights of the file"
            ) from None
    else:
        where = "the password of --password"
    if text == "":
        raise BadConfiguration(f"{where} is empty", fix="write the password there")
    return text
