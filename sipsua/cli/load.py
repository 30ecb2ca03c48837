"""`sipsua load`: many phones at once, by a plan or without one, on this machine or as a worker of Locust's.

Here are its words; `cli.load_run` does a run, `cli.dashboard` shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sipsua.cli.failure import UsageError
from sipsua.cli.password import PasswordFile, PasswordText, PasswordVariable, read_password

if TYPE_CHECKING:
    from sipsua.load.plan import Plan

# What is dear to import (OpenSSL, pydantic, asyncio) is imported where the work begins, so that `--help` comes at once.

Workers = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, max=1024, help="Processes; 0 is as many as there are cores."),
]
JsonFile = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write the whole result as JSON.")]
CsvFile = Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Write a row for each second.")]
HtmlFile = Annotated[
    str | None,
    typer.Option("--html", metavar="FILE", help="Write a page with plots; it needs no network to be opened."),
]
JunitFile = Annotated[str | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML, for a CI server.")]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        min=0,
        max=65535,
        help="Serve metrics for Prometheus on 127.0.0.1 while it runs; 0: a free port.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show nothing while it runs; the summary comes all the same.")]


def run(
    plan: Annotated[str, typer.Argument(metavar="PLAN.toml", help="The plan: see sipsua load plan --example.")],
    phones: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="So many phones in place of the plan's, dealt over its groups."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="R", help="Phones a second in place of the arrivals of the plan's phases.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="In place of the plan's: all its hold phases together.")
    ] = None,
    workers: Workers = None,
    server: Annotated[
        str | None, typer.Option(metavar="HOST[:PORT]", help="In place of the plan's server, and of its groups'.")
    ] = None,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
    html_file: HtmlFile = None,
    junit_file: JunitFile = None,
    metrics_port: MetricsPort = None,
    quiet: Quiet = False,
) -> None:
    """Run a load plan, show it as it goes, and write the reports that are asked for.

    Ctrl-C has all phones unregister within the plan's grace, and the reports are written all the same; a second one does not wait.

    Exit codes: 0 passed, 2 usage, 17 the plan or a file cannot be used, 20 a threshold was missed or a worker lost,
    21 the generator itself was the limit, 70 sipsua is wrong, 130 interrupted.
    """
    from sipsua.load.adapt import adapted
    from sipsua.load.source import read_plan

    changed = adapted(
        read_plan(Path(plan)), phones=phones, rate=rate, duration=duration, workers=workers, server=server
    )
    _perform(changed, json_file, csv_file, html_file, junit_file, metrics_port, quiet)


def quick(
    pattern: Annotated[
        str, typer.Argument(metavar="URI-PATTERN", help="The phones: 1000-1999, or sips:1000-1999@example.com.")
    ],
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST[:PORT]", help="Where they register. Without: what the address names."),
    ] = None,
    phones: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many; without: as many as the pattern has.")
    ] = None,
    rate: Annotated[float, typer.Option(metavar="R", help="So many come a second.")] = 50.0,
    duration: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long they stay, refreshing, once all have come.")
    ] = 10.0,
    password: PasswordText = None,
    password_env: PasswordVariable = None,
    password_file: PasswordFile = None,
    ca: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Certificates to trust. May be given again.")
    ] = None,
    trust: Annotated[
        Literal["builtin", "custom", "all", "mozilla"] | None,
        typer.Option(help="Lists that count: the phone's 76 roots, --ca, both, or today's public roots with --ca."),
    ] = None,
    expires: Annotated[int, typer.Option(metavar="SECONDS", min=1, help="Life of a binding that is asked for.")] = 3600,
    dangerous_accept_any_certificate: Annotated[
        bool, typer.Option("--dangerous-accept-any-certificate", help="Go on whatever the server shows.")
    ] = False,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="THRESHOLD", help="Such as 'register.p99 > 500ms'. May be given again."),
    ] = None,
    workers: Workers = None,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
    html_file: HtmlFile = None,
    junit_file: JunitFile = None,
    metrics_port: MetricsPort = None,
    quiet: Quiet = False,
) -> None:
    """Register many phones, hold them, and unregister them: no plan file is needed. Exit codes are those of `load run`."""
    from sipsua.cli.interrupt import PATIENCE, within
    from sipsua.load.adapt import quick as quick_plan
    from sipsua.load.plan import TrustSettings

    with within(PATIENCE, "the file of --password-file"):
        secret = read_password(password, password_env, password_file)
    settings = TrustSettings(
        lists=trust or ("custom" if ca else "builtin"),
        ca=tuple(map(Path, ca or ())),
        dangerous_accept_any_certificate=dangerous_accept_any_certificate,
    )
    plan = quick_plan(
        pattern,
        server=server,
        phones=phones,
        rate=rate,
        duration=duration,
        password=secret or "",
        trust=settings,
        expires=expires,
        fail_if=tuple(fail_if or ()),
        workers=workers or 0,
    )
    _perform(plan, json_file, csv_file, html_file, junit_file, metrics_port, quiet)


def worker(
    locust: Annotated[
        str, typer.Option(metavar="HOST[:PORT]", help="Locust's master. Without a port: 5557, Locust's own.")
    ],
    plan: Annotated[
        str, typer.Option(metavar="FILE", help="The plan: its phones are the users; its phases do not count.")
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="That of a worker that has ended: take its place. Without: a new one."),
    ] = None,
) -> None:
    """Be a worker of a Locust master: its web page, spawn rate, stop and tables are those of any Locust run.

    Start the master with the file that sipsua load locustfile writes.
    """
    from sipsua.cli.load_run import run_locust_worker
    from sipsua.load.source import read_plan

    run_locust_worker(read_plan(Path(plan)), locust, name)


def locustfile(
    output: Annotated[str | None, typer.Option(metavar="FILE", help="Write it there. Without: print it.")] = None,
) -> None:
    """Print the file that a Locust master wants: locust -f FILE --master."""
    from sipsua.load.locust.locustfile import locustfile as text

    _put(text(), output)


def plan(
    example: Annotated[bool, typer.Option("--example", help="Print a plan with all that there is, explained.")] = False,
    check: Annotated[str | None, typer.Option(metavar="FILE", help="Say whether this plan can be run.")] = None,
    output: Annotated[str | None, typer.Option(metavar="FILE", help="Write the example there.")] = None,
) -> None:
    """Print an example of a plan, or check one."""
    if example == (check is not None):
        raise UsageError("one of --example and --check FILE is wanted", fix="say which")
    if check is not None:
        if output is not None:
            raise UsageError("--output with --check: nothing is written", fix="leave it out")
        from sipsua.load.population import Population
        from sipsua.load.source import read_plan

        checked = read_plan(Path(check))
        print(f"{check}: {len(Population(checked)):,} phones, {len(checked.phases)} phases: it can be run")
        return
    from importlib.resources import files

    _put((files("sipsua.load") / "example.toml").read_text("utf-8"), output)


def _put(text: str, output: str | None) -> None:
    from sipsua.cli.output import print_bytes, write_file

    if output is None:
        print_bytes(text.encode())
    else:
        write_file(output, text.encode())


def _perform(
    plan: Plan,
    json_file: str | None,
    csv_file: str | None,
    html_file: str | None,
    junit_file: str | None,
    metrics_port: int | None,
    quiet: bool,
) -> None:
    from sipsua.cli.load_run import LoadRun

    files = {"json": json_file, "csv": csv_file, "html": html_file, "junit": junit_file}
    LoadRun(plan, {kind: file for kind, file in files.items() if file is not None}, metrics_port, quiet).perform()
