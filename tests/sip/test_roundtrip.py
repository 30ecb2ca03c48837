"""What is written is read back the same: values, messages, and streams of them however they are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sipsua.errors import MalformedMessage
from sipsua.sip.framing import Framer, KeepAlive
from sipsua.sip.headers import CSeq, NameAddr, Params, Via, Warning, parse_params, quote, split_list
from sipsua.sip.message import Header, Message, Request, Response, parse_message

ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
tokens = st.text(ALPHANUMERIC + "-.!%*_+`'~", min_size=1, max_size=12)
blanks = st.sampled_from(["", " ", "\t", "  "])
printable = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20)
"""What can stand between quotes."""
values = printable.map(lambda text: text.strip(" \t"))
"""What can stand behind the colon."""
hosts = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,10}[a-z0-9])?", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)
ports = st.none() | st.integers(0, 65535)
params: st.SearchStrategy[Params] = st.dictionaries(tokens.map(str.lower), st.none() | tokens | printable, max_size=4)
uris = st.builds("{}:{}@{};{}".format, st.sampled_from(["sip", "sips"]), tokens, hosts, tokens)


@st.composite
def written_params(draw: st.DrawFn, given: Params) -> str:
    """Parameters as a peer may write them: blanks anywhere, quotes where they are needed and where they are not."""
    text = ""
    for name, value in given.items():
        text += f"{draw(blanks)};{draw(blanks)}{draw(st.sampled_from([name, name.upper()]))}"
        if value is not None:
            plain = value != "" and all(character in ALPHANUMERIC + "-.!%*_+`'~" for character in value)
            written = value if plain and draw(st.booleans()) else quote(value)
            text += f"{draw(blanks)}={draw(blanks)}{written}"
    return text


@given(st.data(), params)
def test_parameters(data: st.DataObject, params: Params) -> None:
    assert parse_params(data.draw(written_params(params))) == params


@given(st.data(), st.sampled_from(["TLS", "UDP", "tls", "TLS-SCTP"]), hosts, ports, params)
def test_via(data: st.DataObject, transport: str, host: str, port: int | None, params: Params) -> None:
    gap, colon = data.draw(blanks), data.draw(st.sampled_from([":", " : ", "\t:"]))
    sent_by = host if port is None else f"{host}{colon}{port}"
    text = f"{gap}SIP{gap}/{gap}2.0{gap}/{gap}{transport} {gap}{sent_by}{data.draw(written_params(params))}{gap}"
    assert Via.parse(text) == (transport, host, port, params)


@given(st.data(), printable, uris, params)
def test_address_in_brackets(data: st.DataObject, display: str, uri: str, params: Params) -> None:
    name = quote(display) + data.draw(blanks) if display else data.draw(st.sampled_from(["", '""', " "]))
    assert NameAddr.parse(f"{name}<{uri}>{data.draw(written_params(params))}") == (display, uri, params)


@given(st.data(), st.lists(tokens, min_size=1, max_size=3).map(" ".join), uris, params)
def test_address_with_a_name_of_tokens(data: st.DataObject, display: str, uri: str, params: Params) -> None:
    gap = data.draw(blanks)
    assert NameAddr.parse(f"{display}{gap}<{uri}>{data.draw(written_params(params))}") == (display, uri, params)


@given(st.data(), hosts, params)
def test_address_without_brackets(data: st.DataObject, host: str, params: Params) -> None:
    text = f"sip:a@{host}{data.draw(written_params(params))}"
    assert NameAddr.parse(text) == ("", f"sip:a@{host}", params)


@given(st.integers(0, 2**32 - 1), tokens, st.integers(0, 9))
def test_cseq(number: int, method: str, zeros: int) -> None:
    assert CSeq.parse(f"{'0' * zeros}{number} {method}") == (number, method)


@given(st.integers(0, 999), tokens, printable)
def test_warning(code: int, agent: str, text: str) -> None:
    assert Warning.parse(f"{code:03} {agent} {quote(text)}") == (code, agent, text)


@given(st.data(), st.lists(st.tuples(printable, uris), min_size=1, max_size=4))
def test_list_of_addresses(data: st.DataObject, addresses: list[tuple[str, str]]) -> None:
    items = [f"{quote(display)} <{uri}>" for display, uri in addresses]
    text = f"{data.draw(blanks)},{data.draw(blanks)}".join(items)
    assert [NameAddr.parse(item)[:2] for item in split_list(text)] == addresses


# Messages

names = st.sampled_from("Via From t Call-ID CSEQ m X-Odd_1 Subject WWW-Authenticate Date".split()) | tokens
headers = st.lists(st.tuples(names, values), max_size=8).map(
    lambda fields: [field for field in fields if field[0].lower() not in ("content-length", "l")]
)
bodies = st.binary(max_size=40) | st.sampled_from([b"\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"])


def with_length(fields: list[Header], body: bytes) -> list[Header]:
    return [*fields, ("Content-Length", str(len(body)))]


requests = st.builds(
    lambda method, uri, fields, body: Request(method, uri, with_length(fields, body), body),
    tokens,
    uris,
    headers,
    bodies,
).filter(lambda request: request.method.upper() != "SIP")
responses = st.builds(
    lambda status, reason, fields, body: Response(status, reason, with_length(fields, body), body),
    st.integers(100, 699),
    printable,
    headers,
    bodies,
)
messages: st.SearchStrategy[Message] = requests | responses


def parts(message: Message | KeepAlive) -> tuple[object, ...]:
    """All that a message holds."""
    if isinstance(message, KeepAlive):
        return (message,)
    assert message.defect is None
    return (type(message), message.start_line, message.headers, message.index, message.body)


@given(messages)
def test_message(message: Message) -> None:
    again = parse_message(bytes(message))
    assert parts(again) == parts(message)
    assert bytes(again) == bytes(message)


@given(st.data(), requests)
def test_message_with_folded_lines_and_odd_blanks(data: st.DataObject, message: Request) -> None:
    ends = st.sampled_from(["", " ", "\t", "\r\n ", " \r\n\t "])
    lines = [message.start_line]
    for name, value in message.headers:
        start, end = data.draw(ends), data.draw(ends)
        lines.append(f"{name}{data.draw(blanks)}:{start}{value}{end}")
    again = parse_message("\r\n".join(lines).encode() + b"\r\n\r\n" + message.body)
    assert parts(again) == parts(message)


@given(st.data(), st.lists(messages.map(bytes) | st.sampled_from([b"\r\n", b"\r\n\r\n"]), max_size=6), st.booleans())
def test_any_split_of_a_stream_gives_the_same_frames_as_whole(
    data: st.DataObject, items: list[bytes], pings: bool
) -> None:
    stream = b"".join(items)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, split = frames_of([stream], pings), frames_of(pieces, pings)
    if not pings:
        # A client does not wait to see whether a CRLF is half a ping: only the number of CRLFs is the same.
        whole, split = crlfs_alone(whole), crlfs_alone(split)
    assert split == whole


def crlfs_alone(found: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Each ping as the two CRLFs that it is."""
    return [half for frame in found for half in ([(KeepAlive.PONG,)] * 2 if frame == (KeepAlive.PING,) else [frame])]


def frames_of(pieces: list[bytes], pings: bool) -> list[tuple[object, ...]]:
    framer = Framer(pings=pings)
    found: list[tuple[object, ...]] = []
    for piece in pieces:
        framer.receive(piece)
        while (frame := framer.next_frame()) is not None:
            found.append(parts(frame))
    return [*found, (framer.incomplete,)]


@given(st.binary(max_size=30))
def test_bytes_behind_a_message_do_not_change_it(behind: bytes) -> None:
    framer = Framer()
    framer.receive(b"SIP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi" + behind)
    frame = framer.next_frame()
    assert isinstance(frame, Response)
    assert frame.body == b"hi"
    try:
        while framer.next_frame() is not None:
            pass
    except MalformedMessage as error:
        fatal = error.fatal
    else:
        fatal = True
    assert fatal


def test_a_header_value_that_begins_with_a_blank_is_read_without_it() -> None:
    message = Request("OPTIONS", "sip:a", [("Subject", " x ")])
    assert parse_message(bytes(message)).first("subject") == "x"
