"""What a run is told before it begins: the order, and what nobody is to read of it.

The rule: whatever could be a secret is known to the redactor before the first byte is written.
"""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from probe.cli.caller import called_by, host
from probe.cli.files import Loaded, variables
from probe.engine.routes import make_proxy
from probe.engine.run import Order
from probe.history.folder import RESOLVED, point_latest
from probe.model.auth import secrets
from probe.model.resolved import Resolved, target_facts
from probe.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from probe.cli.calibration import Quote
    from probe.engine.run import Spread
    from probe.model.plan import Plan
    from probe.model.target import Target

ELSEWHERE: Final = ("--export", "--baseline", "--fail-on")
FOR_PROGRAMS: Final = "--json"
DASHBOARD: Final = "--dashboard"
SECRET_MIN = 6  # what is shorter and stands in a query or header is a word, and no key


def redactor_of(target: Target, lab_secret: str, seed: int) -> Redactor:
    """What nobody is to read, as far as it is known before the first token."""
    hidden = (*secrets(target.auth, seed=seed), *_network_secrets(target, variables()))
    return Redactor(lab_secret, *hidden)


def _network_secrets(target: Target, values: Mapping[str, str]) -> list[str]:
    """The proxy's password, and in headers and queries whatever came from a variable."""
    found: list[str] = []
    proxy = make_proxy(target.network)
    if proxy is not None and proxy.authorization is not None:
        url = target.network.proxy.get_secret_value() if target.network.proxy else ""
        password = urlsplit(url).password or ""
        found += [url, password, unquote(password), proxy.authorization.partition(" ")[2]]
    headers = list(target.network.headers.values())
    queries = [query for url in target.urls() if (query := urlsplit(url).query)]
    for value in values.values():
        found += [value] if any(value in each for each in (*headers, *queries)) else []
        found += [part for query in queries for _, part in parse_qsl(query) if part in value]
    return [secret for secret in found if len(secret) >= SECRET_MIN]


def _of_the_run(words: Sequence[str]) -> list[str]:
    """What was asked for, without what is not for whoever repeats it.

    That is where else it was sent or shown, and what it was compared with: the options of
    ELSEWHERE, each with the value behind it, DASHBOARD with its port if it has one, and
    FOR_PROGRAMS.
    """
    left_out = tuple(f"{o}=" for o in (*ELSEWHERE, DASHBOARD))
    kept = [word for word in words if not word.startswith(left_out) and word != FOR_PROGRAMS]
    return [
        word
        for before, word in zip(["", *kept], kept, strict=False)
        if word not in {*ELSEWHERE, DASHBOARD}
        and before not in ELSEWHERE
        and not (before == DASHBOARD and word.isdecimal())
    ]


def order_of(
    loaded: Loaded,
    plan: Plan,
    folder: Path,
    redactor: Redactor,
    lab_secret: str,
    defects: list[str],
    divided: Spread | None,
    known: Quote,
) -> Order:
    """What the engine plays into `folder`, whose resolved files it writes."""
    target = loaded.target
    resolved = Resolved(
        loaded.name, loaded.scenario, loaded.dialect, target_facts(loaded.target_name, target)
    )
    (folder / RESOLVED).write_text(resolved.to_toml(), encoding="utf-8")
    point_latest(folder)
    words = [called_by(), "run", *_of_the_run(sys.argv[2:])]
    if "--seed" not in words:
        words += ["--seed", str(plan.seed)]
    meta: dict[str, Any] = {
        "run_id": folder.name,
        "seed": plan.seed,
        "plan": plan.digest,
        "again": redactor.text(shlex.join(words)),
        "defects": list(defects),
        "scenario_file": redactor.text(str(loaded.scenario_path)),
        "started_at": datetime.now(UTC).isoformat(),
        "stages": [
            {
                "name": stage.name,
                "activity": stage.stage.activity,
                "anchor": stage.stage.anchor,
                "trials": stage.trials,
                "planned": len(stage.clients),
            }
            for stage in plan.stages
        ],
        "endpoints": list(target.endpoints),
        "services": list(target.services),
        "types": list(loaded.dialect.types),
        "workers": divided.count if divided else 0,
        "host": host(),
        "calibration": known.facts,
    }
    return Order(
        run_id=folder.name,
        folder=folder,
        target=target,
        dialect=loaded.dialect,
        plan=plan,
        redactor=redactor,
        meta=meta,
        origin=str(loaded.target_path),
        files=loaded.target_path.parent,
        lab_secret=lab_secret,
        defects=tuple(defects),
        keep=loaded.scenario.keep_messages,
        spread=divided,
    )
