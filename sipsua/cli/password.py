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


def read_password(text: str | None, variable: str | None, file: str | None) -> str | None:
    """The password, or None where none of the options is given. Raises UsageError for several, BadConfiguration."""
    if sum(option is not None for option in (text, variable, file)) > 1:
        raise UsageError(
            "the password is given in more than one way",
            fix="give one of --password, --password-env and --password-file",
        )
    if variable is not None:
        if variable not in os.environ:
            raise BadConfiguration(
                f"the environment variable {variable} of --password-env is not set", fix="set it, and export it"
            )
        return os.environ[variable]
    if file is not None:
        try:
            lines = Path(file).read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no UTF-8 text"
            # `from None`: an error of decoding quotes what it could not decode.
            raise BadConfiguration(
                f"cannot read the password from {file}: {why}", fix="check the path and the rights of the file"
            ) from None
        if not lines or not lines[0]:
            raise BadConfiguration(f"the first line of {file} is empty", fix="write the password there")
        return lines[0]
    return text
