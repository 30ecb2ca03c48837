"""What the account answers to requests that arrive, on its flow or at the phone's listening port: RFC 3261 section 8.2, its inspections
in its order.

The first inspection that objects gives the answer. A request outside any call is all that can arrive here: for one that needs a
dialog or a subscription which does not exist the answer is 481, and a call that cannot be taken gets 480.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sipsua.account.persona import Persona
from sipsua.errors import MalformedMessage
from sipsua.sip.message import Header, Request, Response, respond

KNOWN_METHODS = frozenset(
    "ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE UPDATE".split()
)
"""IANA's SIP methods: one of these that the persona does not take is not allowed (405), any other not implemented (501)."""

_ANSWERS: dict[str, tuple[int, str]] = {
    "OPTIONS": (200, "OK"),
    "INVITE": (480, "Temporarily Unavailable"),
    "BYE": (481, "Call/Transaction Does Not Exist"),
    "CANCEL": (481, "Call/Transaction Does Not Exist"),
    "INFO": (481, "Call/Transaction Does Not Exist"),
    "PRACK": (481, "Call/Transaction Does Not Exist"),
    "UPDATE": (481, "Call/Transaction Does Not Exist"),
    "NOTIFY": (481, "Subscription Does Not Exist"),
    "SUBSCRIBE": (489, "Bad Event"),
    "PUBLISH": (489, "Bad Event"),
    "REFER": (603, "Decline"),
    "MESSAGE": (415, "Unsupported Media Type"),
}
"""Answers to methods that the persona takes, when nothing else objects. REGISTER is none of them: phones name it in Allow because
they send it, but no phone is a registrar."""

_EXPLANATIONS: dict[int, tuple[Header, ...]] = {
    415: (("Accept", ""),),
    489: (("Allow-Events", ""),),
}
"""Header fields that RFC 3261 and RFC 6665 want in an answer."""

_REASONS = {
    400: "Bad Request",
    415: "Unsupported Media Type",
    488: "Not Acceptable Here",
    505: "Version Not Supported",
    513: "Message Too Large",
}

_BODIES = {"INVITE": "application/sdp", "UPDATE": "application/sdp", "PRACK": "application/sdp"}
"""The body that a method may carry."""


Objection = tuple[int, str, tuple[Header, ...]]
"""Status, reason and the header fields that explain it."""


def objection(
    request: Request, persona: Persona, extensions: Collection[str], *, in_dialog: bool = False
) -> Objection | None:
    """Why a well-formed request other than ACK is not taken, by what it says of itself; None: nothing is wrong.

    `extensions` are the option tags that it may require; `in_dialog`: the dialog that it names is here.
    """
    return next(_objections(request, persona, extensions, in_dialog=in_dialog), None)


def final(request: Request, persona: Persona, extensions: Collection[str]) -> Objection:
    """What a request outside any dialog is answered that asks nothing of a call or a subscription."""
    status, reason = _ANSWERS[request.method]
    extra = tuple(_capabilities(persona, extensions)) if status == 200 else _EXPLANATIONS.get(status, ())
    return status, reason, extra


def not_found(request: Request, to_tag: str) -> Response:
    """The final response to a well-formed request for nobody here, other than ACK (section 8.2.2.1)."""
    return respond(request, 404, "Not Found", to_tag=to_tag)


def reject(request: Request, error: MalformedMessage, to_tag: str) -> Response:
    """The response to a request that RFC 3261 forbids, other than ACK, which has none."""
    return respond(
        request,
        error.status,
        reason(error.status),
        [("Warning", f'399 sipsua "{_printable(error.what)}"')],
        to_tag=to_tag,
    )


def reason(status: int) -> str:
    """The reason phrase of a status that answers what is wrong with a request."""
    return _REASONS.get(status, "Bad Request")


def _objections(
    request: Request, persona: Persona, extensions: Collection[str], *, in_dialog: bool
) -> Iterator[Objection]:
    # 8.2.1 Method Inspection
    if request.method not in _ANSWERS or request.method not in persona.allow:
        allow = ("Allow", ", ".join(method for method in persona.allow if method in _ANSWERS or method == "ACK"))
        if request.method in KNOWN_METHODS:
            yield 405, "Method Not Allowed", (allow,)
        yield 501, "Not Implemented", (allow,)
    # 8.2.2.1 To and Request-URI
    if not request.uri.is_sip:
        yield 416, "Unsupported URI Scheme", ()
    # 12.2.2: a To tag names a dialog, and there is none
    if request.to.tag is not None and not in_dialog:
        yield 481, "Call/Transaction Does Not Exist", ()
    # 8.2.2.3 Require
    unknown = [tag for tag in request.tokens("require") if tag.lower() not in extensions]
    if unknown and request.method != "CANCEL":
        yield 420, "Bad Extension", (("Unsupported", ", ".join(unknown)),)
    # 8.2.3 Content Processing
    if request.body:
        content = (request.first("content-type") or "").partition(";")[0].strip().lower()
        wanted = _BODIES.get(request.method)
        if wanted is not None and content != wanted:
            yield 415, "Unsupported Media Type", (("Accept", wanted),)
        if (request.first("content-encoding") or "identity").lower() != "identity":
            yield 415, "Unsupported Media Type", (("Accept-Encoding", "identity"),)
    if request.method == "INVITE" and "accept" in request.index:
        accepted = {item.partition(";")[0].strip().lower() for item in request.tokens("accept")}
        if not accepted & {"application/sdp", "application/*", "*/*"}:
            yield 406, "Not Acceptable", ()


def _capabilities(persona: Persona, extensions: Collection[str]) -> Iterator[Header]:
    """What an OPTIONS asks for (RFC 3261 section 11.2)."""
    yield "Allow", ", ".join(persona.allow)
    yield "Accept", "application/sdp" if "INVITE" in persona.allow else ""
    yield "Accept-Encoding", "identity"
    yield "Accept-Language", "en"
    yield "Supported", ", ".join(sorted(extensions)) if "INVITE" in persona.allow else ""
    if persona.allow_events:
        yield "Allow-Events", persona.list_separator.join(persona.allow_events)


def _printable(text: str) -> str:
    """The text as it may stand between quotes."""
    return "".join(character if 32 <= ord(character) < 127 and character not in '"\\' else "?" for character in text)
