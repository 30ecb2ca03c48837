"""The REGISTER as text, spelled as the persona spells it.

A phone sends the same request for years: only branch, CSeq, Contact, Expires and credentials change. So the request is rendered once for
a flow, as a template with places for these, and one more REGISTER costs one `%`.
"""

from __future__ import annotations

from sipsua.account.config import AccountConfig
from sipsua.sip.headers import quote
from sipsua.sip.uri import Uri

_NOT_IN_FROM = frozenset({"method", "maddr", "ttl", "transport", "lr"})
"""URI parameters that RFC 3261's table in section 19.1.1 keeps out of From and To."""


def registrar(config: AccountConfig) -> str:
    """The Request-URI of a REGISTER: the domain of the account (RFC 3261 section 10.2)."""
    uri = config.aor
    transport = uri.transport if config.persona.transport_in_request_uri else None
    return domain(uri, transport)


def domain(uri: Uri, transport: str | None) -> str:
    """A URI without user and header fields, as RFC 3261 section 10.2 wants the Request-URI of a REGISTER."""
    port = f":{uri.port}" if uri.port is not None else ""
    return f"{uri.scheme}:{uri.host}{port}" + (f";transport={transport}" if transport else "")


def contact(config: AccountConfig, aor: Uri, sent_by: str) -> str:
    """Our Contact value on a flow whose own end is `sent_by`."""
    if aor.scheme == "sips":
        return f"<sips:{aor.user}@{sent_by}>"
    return f"<sip:{aor.user}@{sent_by};transport={config.persona.contact_transport}>"


def sent_by(host: str, port: int) -> str:
    """Our own end of a flow as Via and Contact have it."""
    host = host.partition("%")[0]  # the zone of a link-local address means something on this host only
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def own_address(config: AccountConfig, aor: Uri) -> str:
    """The account as From and To name it, with its display name and without a tag."""
    persona = config.persona
    address = f"{aor.scheme}:{aor.user}@{aor.host}"
    if persona.port_in_aor and aor.port is not None:
        address += f":{aor.port}"
    for name, value in aor.params.items():
        if name not in _NOT_IN_FROM:
            address += f";{name}" if value is None else f";{name}={value}"
    display = config.display_name or (aor.decoded_user or "" if persona.user_as_display_name else "")
    return f"{quote(display)} <{address}>" if display else f"<{address}>"


def template(config: AccountConfig, aor: Uri, sent_by: str, call_id: str, from_tag: str) -> str:
    """The REGISTER with places for `uri`, `branch`, `cseq`, `contact`, `expires`, and `authorization` (whole header lines)."""
    persona = config.persona
    address = own_address(config, aor)
    constant = {
        "From": f"{address};tag={from_tag}",
        "To": address,
        "Call-ID": call_id,
        "Max-Forwards": "70",
        "Allow": ", ".join(persona.allow),
        "Allow-Events": persona.list_separator.join(persona.allow_events),
        "User-Agent": config.user_agent or persona.user_agent,
        "Content-Length": "0",
    }
    changing = {
        "Via": f"SIP/2.0/TLS {sent_by};branch=%(branch)s" + (";rport" if persona.rport else ""),
        "CSeq": "%(cseq)d REGISTER",
        "Contact": "%(contact)s",
        "Expires": "%(expires)d",
    }
    lines = ["REGISTER %(uri)s SIP/2.0\r\n"]
    for name in persona.register_fields:
        if name == "Authorization":
            lines.append("%(authorization)s")
        elif name in changing:
            lines.append(f"{name}: {changing[name]}\r\n")
        else:
            lines.append(f"{name}: {constant[name]}\r\n".replace("%", "%%"))
    return "".join(lines) + "\r\n"
