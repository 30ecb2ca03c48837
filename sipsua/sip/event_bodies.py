"""The bodies of the two event packages that light a phone's lamps: voice mail (RFC 3842) and other phones' calls (RFC 4235).

Both come from whoever answers for the server, so they are bounded, and the XML is read without any of the features by which a small
document becomes a large one: a document type is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from xml.parsers import expat

from sipsua.errors import MalformedMessage

MESSAGE_SUMMARY = "application/simple-message-summary"
DIALOG_INFO = "application/dialog-info+xml"

MAX_LINES = 100
"""Lines of a message summary that are read: RFC 3842 has six classes, and optional header fields of the newest messages."""
MAX_DIALOGS = 256
"""Dialogs of one document that are kept: more than one phone has."""


class Messages(NamedTuple):
    """The messages of one class."""

    new: int
    old: int
    new_urgent: int = 0
    old_urgent: int = 0


@dataclass(frozen=True, slots=True)
class MessageSummary:
    """What a mailbox holds (RFC 3842 section 5.2)."""

    waiting: bool
    account: str | None
    """The URI to dial for the messages."""
    classes: Mapping[str, Messages]
    """By class in lower case: `voice-message`, `fax-message` ..."""

    @classmethod
    def parse(cls, body: bytes) -> MessageSummary:
        """Read a body of `application/simple-message-summary`. Raises MalformedMessage."""
        waiting: bool | None = None
        account = None
        classes: dict[str, Messages] = {}
        for line in body.decode("utf-8", "replace").splitlines()[:MAX_LINES]:
            name, colon, value = line.partition(":")
            if not colon:
                continue
            name, value = name.strip().lower(), value.strip()
            if name == "messages-waiting":
                waiting = value.lower() == "yes"
            elif name == "message-account":
                account = value
            elif name.endswith("-message"):
                classes[name] = _messages(value)
        if waiting is None:
            raise MalformedMessage("a message summary without Messages-Waiting")
        return cls(waiting, account, classes)


class DialogState(NamedTuple):
    """One call of somebody whom we watch (RFC 4235 section 4.1)."""

    id: str
    state: str
    """`trying`, `proceeding`, `early`, `confirmed` or `terminated`."""
    direction: str | None = None
    """`initiator` or `recipient`."""
    call_id: str | None = None
    local_tag: str | None = None
    remote_tag: str | None = None
    remote: str | None = None
    """URI of the one that the call is with."""


@dataclass(frozen=True, slots=True)
class DialogInfo:
    """The calls of somebody whom we watch."""

    entity: str
    version: int
    full: bool
    """All of them; else those that have changed."""
    dialogs: tuple[DialogState, ...]

    @classmethod
    def parse(cls, body: bytes) -> DialogInfo:
        """Read a body of `application/dialog-info+xml`. Raises MalformedMessage."""
        reader = _Reader()
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler = reader.begin
        parser.EndElementHandler = reader.end
        parser.CharacterDataHandler = reader.text
        try:
            parser.Parse(body, True)
        except expat.ExpatError as error:
            raise MalformedMessage(f"dialog information that is no XML: {error}") from None
        if reader.entity is None:
            raise MalformedMessage("XML that is no dialog information")
        return cls(reader.entity, reader.version, reader.full, tuple(reader.dialogs))


class _Reader:
    """What is gathered while the elements pass."""

    def __init__(self) -> None:
        self.entity: str | None = None
        self.version = 0
        self.full = True
        self.dialogs: list[DialogState] = []
        self._dialog: dict[str, str] | None = None
        self._path: list[str] = []
        self._text = ""

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(" ")[2]
        self._path.append(name)
        self._text = ""
        if len(self._path) == 1 and name == "dialog-info":
            self.entity = attributes.get("entity", "")
            version = attributes.get("version", "0")
            self.version = int(version) if version.isascii() and version.isdigit() and len(version) < 11 else 0
            self.full = attributes.get("state", "full") == "full"
        elif self._path == ["dialog-info", "dialog"]:
            self._dialog = dict(attributes)

    def text(self, data: str) -> None:
        if len(self._text) < 1000:
            self._text += data

    def end(self, name: str) -> None:
        dialog, text = self._dialog, self._text.strip()
        if dialog is not None:
            if self._path[2:] == ["state"]:
                dialog["state"] = text.lower()
            elif self._path[2:] == ["remote", "identity"]:
                dialog["remote"] = text
            elif self._path == ["dialog-info", "dialog"]:
                self._dialog = None
                if len(self.dialogs) < MAX_DIALOGS and "state" in dialog:
                    self.dialogs.append(
                        DialogState(
                            dialog.get("id", ""),
                            dialog["state"],
                            dialog.get("direction"),
                            dialog.get("call-id"),
                            dialog.get("local-tag"),
                            dialog.get("remote-tag"),
                            dialog.get("remote"),
                        )
                    )
        self._path.pop()
        self._text = ""


def _refuse(*_: object) -> None:
    raise MalformedMessage("dialog information with a document type, which it has no need of")


def _messages(value: str) -> Messages:
    """`new/old` with, in brackets, the urgent ones of them."""
    numbers = [
        int(part)
        for part in value.replace("(", "/").replace(")", "/").replace(" ", "").split("/")
        if part.isascii() and part.isdigit() and len(part) < 10
    ]
    if len(numbers) not in (2, 4):
        raise MalformedMessage(f"no numbers of messages: {value[:40]!r}")
    return Messages(*numbers)
