"""Judge: a history and what it was held to, made into one judgement.

The rule: pure and deterministic; the same files give the same judgement bit for bit, in
whatever order shards were merged. Nothing here knows a clock, an environment or a socket.
The order of things: every stage's checks; Holm over the FAILs of bounds; the fitness veto;
what was accepted; the fold. A stage that did not run leaves its checks SKIPPED, a run that did
not end leaves a required check open, so that neither can be a PASS.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check import authentication as tokens
from probe.check import sequences
from probe.check.accepted import Accepted, accept, run_day
from probe.check.authenticity import authenticity, counts
from probe.check.bound import Part
from probe.check.capacity import capacity
from probe.check.catalogue import finding
from probe.check.contract import contract
from probe.check.definite import definite
from probe.check.delivery.checks import names_of
from probe.check.everybody import everybody_in
from probe.check.fitness import fitness
from probe.check.gap import readiness_gap
from probe.check.health import health
from probe.check.isolation import isolation
from probe.check.latency import latency
from probe.check.negotiation import expected_rows, negotiation
from probe.check.offers import handshakes, offers
from probe.check.preflight import connects
from probe.check.race import race
from probe.check.restart import failed_restarts, recovery, restarts, restarts_seen
from probe.check.runs import runs
from probe.check.sessions import success
from probe.check.strain import STRAIN, strained
from probe.check.undisturbed import undisturbed
from probe.check.verdict import Check, Evidence, Finding, Judgement, Outcome, fold, taint
from probe.check.view import StageView, views
from probe.check.words import counted, duration, seconds
from probe.stats.binomial import ALPHA
from probe.stats.rates import holm

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.history.columns import History
    from probe.model.resolved import Resolved

TOPICS: Final[tuple[Callable[[StageView], Part], ...]] = (
    health,
    connects,
    offers,
    negotiation,
    tokens.authentication,
    sequences.sequences,
    handshakes,
    success,
    latency,
    restarts_seen,
    recovery,
    readiness_gap,
    everybody_in,
    restarts,
    definite,
    *STRAIN,
    runs,
    isolation,
    contract,
    race,
    capacity,
    undisturbed,
)
REPRODUCE_TRIALS: Final = 3
WORKER_FAULT: Final = "worker"
_FAULTS: Final = {"auth": "target.no_token", "restart": "target.no_restart"}


def judge(
    history: History,
    resolved: Resolved,
    *,
    only_stage: str | None = None,
    accepted: Accepted | None = None,
) -> Judgement:
    """The judgement of a run, or of one stage of it (for a gate, while the run goes on).

    `accepted` are the known findings that the run was played with.
    Raises ValueError for an `only_stage` that the scenario does not have.
    """
    every = views(history, resolved)
    chosen = tuple(view for view in every if only_stage in (None, view.name))
    if not chosen:
        raise ValueError(f"no stage {only_stage!r}; stages: {', '.join(v.name for v in every)}")
    checks: list[Check] = []
    findings: list[Finding] = []
    summary: dict[str, Any] = {"restarts": []}
    for view in chosen:
        part = _stage(view)
        checks += part.checks
        findings += part.findings
        _merge(summary, part.summary)
    if only_stage is None:
        whole = _whole_run(history)
        checks += whole.checks
        findings += whole.findings
    summary["counts"] = counts([view for view in chosen if not view.skipped])
    summary["failed_restarts"] = [
        f"{view.name}: {words}" for view in chosen if (words := failed_restarts(view))
    ]
    fit = fitness(history, resolved, chosen, window=only_stage is not None)
    if history.meta.get("fault") == WORKER_FAULT:
        fit = replace(fit, invalid=(str(history.meta.get("error")), *fit.invalid))
    judged = taint(corrected(tuple(checks)), fit)
    run = _run(history, resolved, every)
    ranked = _ranked(history, resolved, judged, findings)
    told: tuple[str, ...] = ()
    of = (run["scenario"], run["target"])
    mine = accepted.meant_for(*of, embedded=run["embedded"]) if accepted else ()
    if mine:
        judged, ranked, told = accept(judged, ranked, mine, run_day(run["started"]))
    verdict, reasons = fold(judged, fit)
    return Judgement(
        verdict=verdict,
        run=run,
        checks=judged,
        findings=ranked,
        fitness=fit,
        authenticity=authenticity(history),
        summary=summary,
        reasons=reasons,
        interrupted=run["interrupted"],
        accepted=told,
    )


def _stage(view: StageView) -> Part:
    if view.skipped:
        why = view.why or "the run did not come to this stage"
        return Part(checks=[_skipped(view, *each, why) for each in expected(view)])
    whole = Part()
    for topic in TOPICS:
        part = topic(view)
        whole.checks += part.checks
        whole.findings += part.findings
        _merge(whole.summary, part.summary)
    made = {check.id for check in whole.checks}
    whole.checks += [
        _unjudged(view, what, required)
        for what, required in expected(view)
        if f"{view.name}.{what}" not in made
    ]
    return whole


def _unjudged(view: StageView, what: str, required: bool) -> Check:
    """An expectation without a check is our own mistake, and must not vanish into a PASS."""
    name = f"{view.name}.{what}"
    words = "no check has judged this expectation"
    return Check(name, view.name, required, Outcome.ERROR, "absence", 0, words)


def expected(view: StageView) -> list[tuple[str, bool]]:
    """What a stage is held to: the last part of each check's id, and whether it is required."""
    expect = view.stage.expect
    out = [
        (what, True)
        for what, wanted in (("health", expect.health), ("connect", expect.connects))
        if wanted
    ]
    if expect.offers:
        out += [(f"offers.{g.population.present}", True) for g in view.groups.values()]
    out += [*expected_rows(view), *tokens.named(view), *sequences.named(view)]
    for limit in expect.latency:
        what = f"latency.{limit.phase}.p{limit.quantile * 100:g}"
        out.append((f"{what}.{limit.population}" if limit.population else what, limit.required))
    if view.stage.anchor == "restart":
        out.append(("restarts_seen", True))
    for what in ("success", "recovery", "readiness_gap", "everybody_in", "runs"):
        bound = getattr(expect, what)
        if bound is not None:
            out.append((what, bound.required))
    if expect.definite:
        names = ("accepted_then_closed", "silence", "dropped")
        out += [(f"definite.{name}", True) for name in names]
    if expect.delivery is not None:
        out += [(name, expect.delivery.required) for name in names_of(view)]
    out += [("capacity", True)] if view.stage.capacity is not None else []
    for what in ("replay", "broadcast", "isolation", "contract", "race", "undisturbed"):
        if getattr(expect, what):
            out.append((what, True))
    return out + strained(view)


def _skipped(view: StageView, what: str, required: bool, why: str) -> Check:
    name = f"{view.name}.{what}"
    return Check(name, view.name, required, Outcome.SKIPPED, "absence", 0, f"skipped: {why}")


def _whole_run(history: History) -> Part:
    """`run.complete`, only where the run did not end as planned.

    Tokens that could not be had and a target that could not be restarted are the target's
    failures; an end in the middle leaves the run open.
    """
    ended, part = history.meta.get("ended"), Part()
    if history.complete and ended == "complete":
        return part
    rows = history.rows
    error = str(history.meta.get("error") or "no reason was told")
    code = _FAULTS.get(str(history.meta.get("fault") or ""), "")
    match ended:
        case "aborted" if history.meta.get("fault") == WORKER_FAULT:
            # A process of the probe's own: the run is INVALID by its fitness.
            verdict, why = Outcome.INCONCLUSIVE, error
        case "crashed":
            verdict, why = Outcome.ERROR, f"the probe itself failed: {error}"
        case "aborted" if code:
            verdict, why = Outcome.FAIL, error
            part.findings.append(finding(code, "run.complete", 1, error))
        case "aborted":
            verdict, why = Outcome.ERROR, f"the run was ended early: {error}"
        case "interrupted":
            verdict, why = Outcome.INCONCLUSIVE, "the run was interrupted"
        case "complete":
            verdict, why = Outcome.INCONCLUSIVE, "the journal was not closed in order"
        case _:
            verdict, why = Outcome.INCONCLUSIVE, "the run is incomplete: killed, or still going on"
    message = f"{why}; there are {counted(len(rows), 'row')}"
    if len(rows):
        message += f" up to {duration(int(rows['t'].max() - rows['t'].min()))}"
    evidence: Evidence = "witness" if verdict is Outcome.FAIL else "absence"
    part.checks.append(
        Check("run.complete", "run", True, verdict, evidence, min(len(rows), 1), message)
    )
    return part


def corrected(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """Holm over all bounds at once: a FAIL that does not survive it is INCONCLUSIVE."""
    gated = [k for k, check in enumerate(checks) if check.p_value is not None]
    if not gated:
        return checks
    adjusted = holm(np.array([checks[k].p_value for k in gated]))
    out = list(checks)
    for k, p in zip(gated, adjusted.tolist(), strict=True):
        if checks[k].verdict is Outcome.FAIL and p > ALPHA:
            words = f"{checks[k].message}; not beyond chance among {len(gated)} limits (Holm)"
            out[k] = replace(checks[k], verdict=Outcome.INCONCLUSIVE, message=words)
    return tuple(out)


def _ranked(
    history: History, resolved: Resolved, checks: tuple[Check, ...], findings: list[Finding]
) -> tuple[Finding, ...]:
    """Findings with how to run them again; all but witnesses no graver than their check."""
    verdicts = {check.id: check.verdict for check in checks}
    out = []
    for each in findings:
        severity = each.severity
        proven = each.evidence == "witness" or verdicts.get(each.check) is Outcome.FAIL
        if not proven and severity != "info":
            severity = "minor"
        again = _reproduce(history, resolved, each.check, each.reproduce)
        out.append(replace(each, severity=severity, reproduce=again))
    order = ("critical", "major", "minor", "info")
    # All else follows from a service that is gone.
    return tuple(
        sorted(
            out,
            key=lambda f: (order.index(f.severity), f.code != "service.gone", f.check, f.code),
        )
    )


def _reproduce(history: History, resolved: Resolved, check: str, more: str) -> str:
    """The command; `more` are the options of a finding that try just that, once."""
    again = history.meta.get("again") or ["probe", "run", resolved.name]
    words = again if isinstance(again, str) else shlex.join(str(word) for word in again)
    if "--seed" not in words and "seed" in history.meta:
        words += f" --seed {history.meta['seed']}"
    stage = resolved.scenario.stages.get(check.partition(".")[0])
    if stage is not None and stage.anchor == "restart" and "--restarts" not in words:
        words += f" --restarts {min(REPRODUCE_TRIALS, stage.trials)}"
    if "--stage" in words and more.startswith("--stage"):
        more = " ".join(more.split(" ")[2:])
    if more.startswith("--at") and "--at" in words:
        more = ""
    stage_only, _, assignment = more.partition("--set ")
    if assignment and assignment.strip('"').partition("=")[0] in words:
        more = stage_only.strip()  # who has narrowed it already need not do so twice
    if more:
        words += f" {more}"
    return words


def _run(history: History, resolved: Resolved, every: tuple[StageView, ...]) -> dict[str, Any]:
    meta, rows = history.meta, history.rows
    span = int(rows["t"].max() - rows["t"].min()) if len(rows) else 0
    target = resolved.target
    planned = {str(s.get("name")): s for s in meta.get("stages", []) if isinstance(s, dict)}
    ended = meta.get("ended")
    return {
        "run_id": meta.get("run_id", ""),
        "scenario": resolved.name,
        "title": resolved.scenario.title,
        "target": str(target.get("name", "")),
        "target_facts": dict(target),
        "embedded": bool(target.get("embedded")),
        "seed": meta.get("seed"),
        "plan": meta.get("plan", ""),
        "scenario_file": str(meta.get("scenario_file") or ""),
        "again": str(meta.get("again", "")),
        "defects": [str(name) for name in meta.get("defects", [])],
        "started": meta.get("started_at", ""),
        "duration_s": seconds(span),
        "complete": history.complete and ended == "complete",
        "ended": ended or "unknown",
        "error": str(meta.get("error") or ""),
        "interrupted": ended == "interrupted",
        "host": meta.get("host", {}),
        "stages": [_ran(view, planned.get(view.name, {})) for view in every],
    }


def _ran(view: StageView, planned: dict[str, Any]) -> dict[str, Any]:
    state = "skipped" if view.skipped else "stopped early" if view.stopped_early else "ran"
    return {
        "name": view.name,
        "activity": view.stage.activity,
        "anchor": view.stage.anchor,
        "state": state,
        "why": view.why,
        "trials_planned": view.stage.trials,
        "trials": len(view.trials) if view.stage.anchor == "restart" else int(not view.skipped),
        "clients_planned": planned.get("planned"),
        "clients": len(view.sessions),
        "attempts": len(view.attempts),
        "duration_s": None if view.skipped else seconds(view.ended - view.begun),
    }


def _merge(into: dict[str, Any], part: dict[str, Any]) -> None:
    for key, value in part.items():
        if isinstance(value, dict):
            into.setdefault(key, {}).update(value)
        else:
            into.setdefault(key, []).extend(value)
