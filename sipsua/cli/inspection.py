"""What `sipsua check` found: an object for a program, lines for a person, both from the same findings.

The person reads from the outside in: what the server does, what it showed, what we make of that, what others would make of it, and at
the end what to change. Nothing in it asks the server anything; `net.probe` has done that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sipsua.cli.report import JsonReport
from sipsua.cli.screen import Screen, Tone
from sipsua.net.probe import ClientCertificate, Probe
from sipsua.trust.certificate import Parsed
from sipsua.trust.differential import Opinion, advice, opinions
from sipsua.trust.ocsp import staple_problems
from sipsua.trust.policy import Policy, Revocation, TlsVersion
from sipsua.trust.verdict import ALERT_NAMES, Certificate, Problem, ProblemCode, Verdict
from sipsua.trust.verifier import AnyCertificate, judge


class Inspection(JsonReport):
    """All that is known of a server, or of a chain in a file. What was not reached is None, or empty."""

    def __init__(self) -> None:
        self.probe: Probe | None = None
        """What the server does; None where a file was asked about."""
        self.verdict: Verdict | None = None
        """Ours: of the handshake, or of the chain where none came so far."""
        self.staple: Staple | None = None
        """What the server stapled."""
        self.opinions: Mapping[str, Opinion] = {}
        """Those of other clients, by persona."""
        self.advice: Sequence[str] = ()
        """What to change to make all of them agree."""
        self._at = datetime.min.replace(tzinfo=UTC)

    def judge(
        self, sent: Sequence[AnyCertificate], policy: Policy, reference: str, at: datetime, probe: Probe | None = None
    ) -> Verdict:
        """Judge a chain (leaf first) at `at` (aware), as we and as the others do; with the `probe` of the server that sent it.

        Returns our own Verdict. Raises nothing for what is in the chain.
        """
        staple = probe.best.staple if probe is not None else None
        verdict = probe.handshake.verdict if probe is not None else None
        self._at = at
        self.verdict = verdict or judge(sent, policy=policy, reference=reference, at=at, staple=staple)
        self.staple = Staple.read(staple, self.verdict, at) if staple is not None else None
        others = replace(policy, revocation=Revocation.SOFT)  # --revocation is ours alone
        self.opinions = opinions(sent, policy=others, reference=reference, at=at, staple=staple)
        self.advice = advice(self.opinions, reference)
        return self.verdict

    def as_json(self) -> dict[str, Any]:
        """The object:

        - `server`: null where a file was asked about. `host`, `port` and `name` (which was verified), `address` that answered, `versions`
          (`TLSv1` to `TLSv1.3`: `taken`, null where not known, and `reason`), `protocol`, `cipher` and `group` of the best version,
          `client_certificate` (`not_asked`, `optional`, `demanded`, `accepted` or `refused`), `resumes` and `resumes_reason`, `staple`
          (`status`: `none`, `good`, `revoked`, `bad` or `not_checked`; `problems` as in the verdict), `handshake` with our policy
          (`step` and `at_ms`), its `timings_ms` (`dns`, `tcp`, `tls`), `alert_sent` and `alert_received` by number.
        - `chain`: the certificates as they were sent, leaf first, and `path`: as they lead to the trust anchor. Each as in
          `trust.verdict.Certificate`, with `days_left`, below 0 where it has expired.
        - `verdict`: by `--trust` and `--names`, see `trust.verdict.Verdict`.
        - `verdicts`: by persona `accepted` (null where not known), `problems` (codes) and `unknown` (what is not known of the client).
        - `advice`: what to change to make all of them agree, a text each.
        - `error`: `code` in words, `what` and `fix`; null where all went well.
        - `exit_code`: the number that the command ends with.
        """
        server = self.probe.as_json() if self.probe is not None else None
        if server is not None:
            server["staple"] = self.staple.as_json() if self.staple is not None else None
        verdict = self.verdict
        return {
            "server": server,
            "chain": self._certificates(verdict.chain if verdict is not None else ()),
            "path": self._certificates(verdict.path if verdict is not None else ()),
            "verdict": verdict.as_json() if verdict is not None else None,
            "verdicts": {persona: opinion.as_json() for persona, opinion in self.opinions.items()},
            "advice": list(self.advice),
            **self._end(),
        }

    def show(self, screen: Screen) -> None:
        """Show all of it, section by section."""
        if self.probe is not None:
            _show_server(self.probe, self.staple, screen)
        if self.verdict is None:
            return
        if self.probe is not None:
            screen.blank()
        screen.chain(self.verdict)
        _show_path(self.verdict, screen)
        screen.blank()
        screen.verdict(self.verdict)
        screen.blank()
        screen.line(("verdicts", "title"), f"for {self.verdict.reference}, as others judge")
        width = max(map(len, self.opinions), default=0)
        for persona, opinion in self.opinions.items():
            words, tone = _OPINION[opinion.accepted]
            codes = ", ".join(dict.fromkeys(str(problem.code) for problem in opinion.problems))
            why = codes if opinion.accepted is not None else str(opinion.unknown)
            screen.line((f"{persona:<{width}}", "dim"), (f"{words:<9}", tone), why, indent=2)
        if self.advice:
            screen.line(("to make all agree", "title"))
            for one in self.advice:
                screen.line("-", one, indent=2)

    def _certificates(self, certificates: Sequence[Certificate]) -> list[dict[str, Any]]:
        return [{**one.as_json(), "days_left": (one.not_after - self._at).days} for one in certificates]


@dataclass(frozen=True, slots=True)
class Staple:
    """What a stapled OCSP response says."""

    status: str
    """`none`, `good`, `revoked`, `bad` (it cannot be relied on), or `not_checked` (nobody knows the issuer's key)."""
    problems: tuple[Problem, ...] = ()
    """Why it is `revoked` or `bad`."""

    @classmethod
    def read(cls, response: bytes, verdict: Verdict, at: datetime) -> Staple:
        """Read what was stapled with the chain of a verdict, b"" for nothing, at `at` (aware). Raises nothing."""
        if not response:
            return cls("none")
        try:
            leaf = Parsed(verdict.chain[0].der)
            issuers = [Parsed(one.der) for one in (*verdict.path[1:2], *verdict.chain[1:])]
        except (ValueError, IndexError):
            return cls("not_checked")
        issuer = next((one for one in issuers if leaf.issuer == one.subject and leaf.signed_by(one)), None)
        if issuer is None:
            return cls("not_checked")
        problems = tuple(staple_problems(response, leaf, issuer, at))
        if any(problem.code is ProblemCode.REVOKED for problem in problems):
            return cls("revoked", problems)
        return cls("bad" if problems else "good", problems)

    def as_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {"status": self.status, "problems": [problem.as_json() for problem in self.problems]}


def _show_server(probe: Probe, staple: Staple | None, screen: Screen) -> None:
    at = f"at {probe.address}" if probe.address is not None else "not reached"
    name = f", asked for {probe.reference}" if probe.reference != probe.target.host else ""
    screen.line(("server", "title"), f"{probe.target} {at}{name}")
    if probe.address is None:
        return
    for version, one in probe.versions.items():
        words, tone = _TAKEN[one.taken]
        if one.taken and version < TlsVersion.TLS1_2:
            tone = "weak"
        screen.line((f"{version!s:<7}", "dim"), (f"{words:<9}", tone), one.reason, indent=2)
    best, handshake = probe.best, probe.handshake
    if best.established:
        screen.line(
            ("agreed on         ", "dim"), f"{best.protocol}, {best.cipher}, {best.group or 'no group'}", indent=2
        )
    if probe.client_certificate is not None:
        screen.line(("client certificate", "dim"), _CLIENT[probe.client_certificate], indent=2)
    if probe.resumption is not None:
        words, tone = ("yes:", "good") if probe.resumption.resumed else ("no:", "")
        screen.line(("resumption        ", "dim"), (words, tone), probe.resumption.reason, indent=2)
    if staple is not None:
        words, tone = _STAPLE[staple.status]
        screen.line(("stapled OCSP      ", "dim"), (words, tone), indent=2)
        for problem in staple.problems:
            screen.line(problem.evidence, indent=4)
    screen.line(("handshake", "title"), f"with {probe.target}")
    for step in handshake.steps:
        screen.line(f"{step.at_ms:7.1f} ms  {step.step}", indent=2)
    for who, alert in (("we", handshake.alert_sent), ("the server", handshake.alert_received)):
        if alert is not None:
            screen.line((f"{who} sent the alert", "bad"), f"{ALERT_NAMES.get(alert, 'unknown')} ({alert})", indent=2)
    took = ", ".join(f"{step} {ms:.1f} ms" for step, ms in handshake.timings_ms.items())
    if took:
        screen.line(("took", "dim"), took, indent=2)


def _show_path(verdict: Verdict, screen: Screen) -> None:
    """Which way leads from the leaf to an anchor, and which of its certificates were sent."""
    if not verdict.path:
        return
    screen.line(("path", "title"), "that was built" if verdict.anchor else "that was built, to no trust anchor")
    sent = {one.der: index for index, one in reversed(list(enumerate(verdict.chain)))}
    for number, one in enumerate(verdict.path):
        where = f"sent as {sent[one.der]}" if one.der in sent else "not sent"
        if verdict.anchor and number == len(verdict.path) - 1:
            where += f", {verdict.anchor_list} list"
        screen.line(f"{number}", one.subject, (f"({where})", "dim"), indent=2)


_TAKEN: dict[bool | None, tuple[str, Tone]] = {
    True: ("taken", "good"),
    False: ("not taken", ""),
    None: ("not known", "weak"),
}
_OPINION: dict[bool | None, tuple[str, Tone]] = {
    True: ("accepted", "good"),
    False: ("refused", "bad"),
    None: ("not known", "weak"),
}
_CLIENT: dict[ClientCertificate, str] = {
    ClientCertificate.NOT_ASKED: "not asked for",
    ClientCertificate.OPTIONAL: "asked for, and done without",
    ClientCertificate.DEMANDED: "demanded: give one that the server trusts with --cert and --key",
    ClientCertificate.ACCEPTED: "asked for, and ours was accepted",
    ClientCertificate.REFUSED: "asked for, and ours was refused",
}
_STAPLE: dict[str, tuple[str, Tone]] = {
    "none": ("none", ""),
    "good": ("good", "good"),
    "revoked": ("revoked", "bad"),
    "bad": ("cannot be relied on", "bad"),
    "not_checked": ("not checked: the issuer's certificate was neither sent nor is it trusted", "weak"),
}
