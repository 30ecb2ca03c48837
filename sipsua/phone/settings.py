"""The phone's settings for TLS: which parameters there are, what they may be, and what they are when nobody set them.

They are the parameters that a Yealink takes from its configuration files, by the same names and with the same defaults, and they are kept
in the flash in the same form. Firmware up to V80 knows most of them without `static.` in front, and both spellings are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from sipsua.errors import BadConfiguration
from sipsua.phone.cfg import VERSION_LINE, CfgFile
from sipsua.phone.flash import Flash

FILE = "settings.cfg"
"""The name in the flash."""

PREFIX = "static."
"""What firmware from V81 on writes before the names of parameters that concern the whole phone."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the configuration files."""

    name: str
    """As firmware from V81 on spells it; `old_name` without the prefix is the same parameter."""
    permitted: Mapping[int, str] | range
    """What each value means; of a range each number is permitted."""
    default: int
    """What counts where the parameter is not set, or set to nothing."""
    source: str
    """Where this is known from."""

    @property
    def old_name(self) -> str:
        """The name without `static.`"""
        return self.name.removeprefix(PREFIX)

    @property
    def words(self) -> str:
        """What is permitted, for a person."""
        if isinstance(self.permitted, range):
            return f"a number from {self.permitted.start} to {self.permitted.stop - 1}"
        return ", ".join(f"{value} ({meaning})" for value, meaning in self.permitted.items())

    def parse(self, text: str, where: str) -> int:
        """The value that a text means; empty is the default. Raises BadConfiguration, naming `where`, for one that is not permitted."""
        if not text:
            return self.default
        # int() takes " 1_0" and Arabic digits too, and the phone does not.
        if text.isascii() and text.isdigit() and len(text) < 10 and int(text) in self.permitted:
            return int(text)
        raise BadConfiguration(f"{where}: {self.name} cannot be {text[:100]!r}", fix=f"permitted: {self.words}")


_FACTS = "phone facts, section 1"
_SWITCH = {0: "disabled", 1: "enabled"}

PARAMETERS: Mapping[str, Parameter] = {
    "trust_certificates": Parameter(
        "static.security.trust_certificates",
        {0: "accept any certificate", 1: "only accept trusted certificates"},
        1,
        f"{_FACTS}; guide page 940, Trusted Certificate",
    ),
    "ca_cert": Parameter(
        "static.security.ca_cert",
        {0: "default certificates", 1: "custom certificates", 2: "all certificates"},
        2,
        f'{_FACTS}; guide page 940: "default certificates, custom certificates or all certificates"',
    ),
    "cn_validation": Parameter(
        "static.security.cn_validation", _SWITCH, 0, f"{_FACTS}; guide page 940, Common Name Validation"
    ),
    "dev_cert": Parameter(
        "static.security.dev_cert",
        {0: "default certificates", 1: "custom certificates"},
        0,
        f"{_FACTS}; guide page 940, Server Certificate",
    ),
    "default_ssl_method": Parameter(
        "static.security.default_ssl_method",
        {0: "TLS 1.0 only", 3: "negotiated with the server", 4: "TLS 1.1 only", 5: "TLS 1.2 only"},
        3,
        _FACTS,
    ),
    "reserve_certs_enable": Parameter(
        "static.phone_setting.reserve_certs_enable",
        {0: "a factory reset deletes the custom certificates", 1: "it keeps them"},
        0,
        f"{_FACTS}; guide page 940, Note",
    ),
    "tls_listen_port": Parameter("sip.tls_listen_port", range(1, 65536), 5061, _FACTS),
}
"""By the field of `Settings` that holds its value."""

_FIELDS = {name: field for field, one in PARAMETERS.items() for name in (one.name, one.old_name)}

# A cut-off file of lines looks like a shorter file of lines. One that says at its head how it ends cannot be cut off unnoticed.
_HEAD = "# Kept by sipsua. The file is whole if it has the line: # end"
_END = "# end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of all parameters, in the phone's own numbers; see PARAMETERS for their meaning."""

    trust_certificates: int = 1
    ca_cert: int = 2
    cn_validation: int = 0
    dev_cert: int = 0
    default_ssl_method: int = 3
    reserve_certs_enable: int = 0
    tls_listen_port: int = 5061
    unknown: tuple[str, ...] = ()
    """What the file has beside these, such as `line 7: account.1.label`: kept in it, and without effect."""

    def __post_init__(self) -> None:
        for field, parameter in PARAMETERS.items():
            value = getattr(self, field)
            if type(value) is not int or value not in parameter.permitted:
                raise BadConfiguration(f"{parameter.name} cannot be {value!r}", fix=f"permitted: {parameter.words}")

    @classmethod
    def of(
        cls, file: CfgFile, where: str, before: Self | None = None, *, elsewhere: frozenset[str] = frozenset()
    ) -> Self:
        """The settings that a configuration file makes, of those `before` where it is silent; of two lines for one parameter the later
        counts. Parameters that are read `elsewhere` are not unknown.

        Raises BadConfiguration, naming `where` and the line, for a value that is not permitted.
        """
        values = {}
        unknown = [(number, text.strip()) for number, text in file.strange]
        for number, name, text in file:
            field = _FIELDS.get(name)
            if field is None:
                if name not in elsewhere:
                    unknown.append((number, name))
            else:
                values[field] = PARAMETERS[field].parse(text, f"{where}, line {number}")
        told = tuple(f"line {number}: {text[:100]}" for number, text in sorted(unknown))
        return replace(before, **values, unknown=told) if before is not None else cls(**values, unknown=told)

    @classmethod
    def read(cls, flash: Flash) -> Self:
        """The settings that are kept in the flash; the defaults where there are none.

        Raises BadConfiguration for a file that is torn, or that holds what is not permitted.
        """
        file = _stored(flash)
        return cls.of(file, str(flash.path(FILE))) if file is not None else cls()

    def write(self, flash: Flash) -> None:
        """Keep these settings in the flash. What else the file holds stays in it. Raises BadConfiguration."""
        with flash.lock():
            file = _stored(flash) or CfgFile()
            spelled = {name for _, name, _ in file}
            values = {}
            for field, parameter in PARAMETERS.items():
                spellings = spelled & {parameter.name, parameter.old_name} or {parameter.name}
                values.update(dict.fromkeys(spellings, str(getattr(self, field))))
            file.set(values)
            if _HEAD not in file:
                file.insert(_HEAD)
            file.remove(_END)
            file.append(_END)
            flash.write(FILE, bytes(file))


def told_settings(file: CfgFile) -> tuple[str, ...]:
    """The lines of a file that set one of the parameters, each with its number, and what its value means."""
    told = []
    for number, name, text in file:
        field = _FIELDS.get(name)
        if field is not None:
            parameter = PARAMETERS[field]
            value = parameter.parse(text, name)
            meaning = f" ({parameter.permitted[value]})" if not isinstance(parameter.permitted, range) else ""
            told.append(f"line {number}: {parameter.name} = {value}{meaning}")
    return tuple(told)


def _stored(flash: Flash) -> CfgFile | None:
    data = flash.read(FILE)
    if data is None:
        return None
    if f"{VERSION_LINE}\n{_HEAD}\n".encode().startswith(data):
        raise flash.torn(FILE, "it ends with its head")
    file = CfgFile.parse(data, str(flash.path(FILE)))
    if _HEAD in file and _END not in file:
        raise flash.torn(FILE, f"its last line, {_END!r}, is missing")
    return file
