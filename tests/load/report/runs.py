"""Results as `Results.as_json()` gives them, made up: runs of any length, good and bad, the same each time."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from sipsua.load.sample import Step

PARTS = {
    Step.QUEUE: 2.0,
    Step.DNS: 0.4,
    Step.TCP: 0.8,
    Step.TLS: 14.0,
    Step.CHALLENGE: 6.0,
    Step.FINAL: 7.0,
    Step.REGISTER: 31.0,
    Step.REFRESH: 9.0,
    Step.RECOVER: 900.0,
    Step.UNREGISTER: 8.0,
}
"""Each step's median in milliseconds on a calm day."""


def made_run(seconds: int = 300, *, phones: int = 5000, name: str = "evening rush") -> dict[str, Any]:
    """A run that passed: phones come, stay, lose their flows in a storm, and leave."""
    random = Random(1)
    ends = [round(seconds * share) for share in (0.3, 0.6, 0.9, 1.0)]
    begins = [0, *ends[:-1]]
    back = max(1, (ends[2] - begins[2]) // 2)
    timeline = []
    for second in range(seconds):
        phase = next(index for index, end in enumerate(ends) if second < end)
        share = (second + 1 - begins[phase]) / (ends[phase] - begins[phase])
        wanted = [min(phones, int(phones * share * 1.05)), phones, phones, int(phones * (1 - share))][phase]
        registered = wanted if phase != 2 else int(phones * min(1.0, (second + 1 - begins[2]) / back))
        busy = [1.0, 0.2, 1.6 - share, 0.5][phase] * (1 + 0.25 * math.sin(second / 9))
        measured: list[Step] = [step for step in Step if step not in (Step.RECOVER, Step.UNREGISTER)]
        measured += [Step.RECOVER] if phase == 2 else [Step.UNREGISTER] if phase == 3 else []
        rate = phones / max(1, ends[0]) * 1.05 if phase == 0 and wanted < phones else 0.0
        rate = phones / back if phase == 2 and registered < phones else rate
        timeline.append(
            {
                "second": second,
                "at": 1_790_000_000.0 + second,
                "phase": phase,
                "seconds": 1.0,
                "phones": wanted,
                "locked": min(wanted, registered + min(64, wanted - registered)),
                "registered": registered,
                "opening": min(64, wanted - registered),
                "registered_rate": rate * random.uniform(0.9, 1.1),
                "refreshed_rate": registered / 90 * random.uniform(0.8, 1.2),
                "failed_rate": float(random.randrange(3)) if phase == 2 else 0.0,
                "lost_rate": 0.0,
                "errors": float(random.randrange(3)) if phase == 2 else 0.0,
                "sent": 2100 * (rate + 20) * random.uniform(0.9, 1.1),
                "received": 3300 * (rate + 20) * random.uniform(0.9, 1.1),
                "cpu": min(0.93, 0.42 * busy * random.uniform(0.9, 1.1)),
                "lag_p99_ms": 3 * busy * random.uniform(0.7, 1.5),
                "lag_max_ms": 9 * busy * random.uniform(0.7, 2.0),
                "rss_kib": 90_000 + 46 * registered,
                "percentiles": {
                    step: {
                        "count": 100,
                        "p50_ms": PARTS[step] * (0.7 + busy) * random.uniform(0.9, 1.1),
                        "p95_ms": PARTS[step] * (0.7 + busy) * random.uniform(1.6, 2.6),
                        "p99_ms": PARTS[step] * (0.7 + busy) * random.uniform(3, 9),
                    }
                    for step in measured
                },
            }
        )
    steps = {step: latencies(PARTS[step]) for step in Step}
    counts = {
        "started": phones,
        "registered": 2 * phones,
        "refreshed": phones * seconds // 90,
        "failed": 37,
        "cut": phones,
        "unregistered": phones,
        "handshakes": 2 * phones + 31,
        "resumed": phones,
        "TLSv1.3": 2 * phones + 31,
    }
    errors = {
        "time-out: handshake": {
            "count": 31,
            "example": "sips:1042@pbx.example.com: no TLS handshake within 10 s at 192.0.2.10:5061; see whether the server is overloaded",
        },
        "status 503": {
            "count": 6,
            "example": "sips:4411@pbx.example.com: the server answered 503 Service Unavailable (Retry-After: 3)",
        },
    }
    storm = {"affected": phones, "recovered": phones, "seconds_to_95": back * 0.95, "seconds_to_100": float(back)}
    phases = [
        {
            "index": index,
            "name": ("everybody comes", "hold", "power cut", "unregister")[index],
            "do": do,
            "begin": float(begins[index]),
            "seconds": float(ends[index] - begins[index]),
            "counts": counts if index == 0 else {},
            "steps": {
                step: value
                for step, value in steps.items()
                if (step is not Step.RECOVER or index == 2) and (step is not Step.UNREGISTER or index == 3)
            },
            "errors": errors if index == 2 else {},
            "storm": storm if index == 2 else None,
        }
        for index, do in enumerate(("register", "hold", "storm", "unregister"))
    ]
    return {
        "sipsua": "0.1.0",
        "run": {
            "name": name,
            "seed": 1,
            "server": "pbx.example.com:5061",
            "phones": phones,
            "workers": 2,
            "begin": "2026-11-26T16:24:00+00:00",
            "seconds": float(seconds),
            "interrupted": False,
            "passed": True,
            "reasons": [],
        },
        "phases": phases,
        "totals": {
            "counts": counts,
            "steps": steps,
            "errors": errors,
            "sent": 48_211_004,
            "received": 71_930_212,
            "histograms": {},
            "peak": {"locked": phones, "registered": phones, "opening": 64},
        },
        "timeline": timeline,
        "thresholds": [
            threshold("register.p99 > 500ms", 214.6, 500.0, "ms"),
            threshold("errors > 1%", 0.37, 1.0, "%"),
        ],
        "saturation": [],
        "lost_workers": [],
    }


def failed_run(seconds: int = 300) -> dict[str, Any]:
    """A run that failed in each way there is."""
    run = made_run(seconds)
    first, last = seconds // 3, seconds // 3 + 14
    for row in run["timeline"][first : last + 1]:
        row["cpu"] = 0.99
        row["lag_p99_ms"] = 240.0
        row["lag_max_ms"] = 610.0
    run["run"] |= {
        "passed": False,
        "reasons": [
            "threshold missed: register.p99 > 500ms: it is 812ms",
            "threshold missed: recover.p99 > 30s: it was never measured",
            "threshold missed: storm.100 > 2min: it never came so far",
            "worker 0 with its 2500 phones was lost: killed by signal 9 (out of memory?)",
            f"the generator was the limit: worker 1, seconds {first} to {last}: CPU at 99 % of a core, 95 % is the limit",
        ],
    }
    run["thresholds"] = [
        threshold("register.p99 > 500ms", 812.0, 500.0, "ms", missed=True),
        threshold("errors > 1%", 0.37, 1.0, "%"),
        threshold("recover.p99 > 30s", None, 30.0, "s", missed=True),
        threshold("storm.100 > 2min", None, 2.0, "min", missed=True) | {"measured": True},
    ]
    run["saturation"] = [
        {"first": first, "last": last, "worker": 1, "why": "CPU at 99 % of a core, 95 % is the limit", "failed": True}
    ]
    run["lost_workers"] = [{"worker": 0, "phones": 2500, "reason": "killed by signal 9 (out of memory?)"}]
    storm = next(phase["storm"] for phase in run["phases"] if phase["storm"])
    storm |= {"recovered": 4870, "seconds_to_100": None}
    return run


def run_that_says(text: str) -> dict[str, Any]:
    """A run in which each text of a person or of the server is `text`."""
    run = failed_run(60)
    run["run"] |= {"name": text, "server": text, "reasons": [text, text]}
    for phase in run["phases"]:
        phase["name"] = text
    for part in (run["totals"], run["phases"][2]):
        part["errors"] = {text: {"count": 1, "example": text}}
    run["thresholds"] = [threshold(text, 1.0, 2.0, "ms")]
    run["saturation"][0]["why"] = run["lost_workers"][0]["reason"] = text
    return run


def empty_run() -> dict[str, Any]:
    """A run that was interrupted before its first phase began."""
    run = made_run(10)
    for phase in run["phases"]:
        phase |= {"begin": None, "seconds": 0.0, "counts": {}, "steps": {}, "errors": {}, "storm": None}
    run["run"] |= {
        "seconds": 0.0,
        "interrupted": True,
        "passed": False,
        "reasons": ["threshold missed: register.p99 > 500ms: it was never measured"],
    }
    run["totals"] |= {"counts": {}, "steps": {}, "errors": {}, "sent": 0, "received": 0}
    run["totals"]["peak"] = {"locked": 0, "registered": 0, "opening": 0}
    run["timeline"] = []
    run["thresholds"] = [threshold("register.p99 > 500ms", None, 500.0, "ms", missed=True)]
    return run


def threshold(text: str, value: float | None, limit: float, unit: str, *, missed: bool = False) -> dict[str, Any]:
    return {
        "text": text,
        "value": value,
        "limit": limit,
        "unit": unit,
        "missed": missed,
        "measured": value is not None,
        "outcome": "it was never measured" if value is None else f"it is {value}{unit}",
    }


def latencies(median: float) -> dict[str, float]:
    return {
        "count": 10_000,
        "min_ms": median * 0.4,
        "mean_ms": median * 1.3,
        "p50_ms": median,
        "p90_ms": median * 1.8,
        "p95_ms": median * 2.4,
        "p99_ms": median * 6.9,
        "p99_9_ms": median * 14,
        "max_ms": median * 31,
    }
