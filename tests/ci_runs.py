"""Small runs on the lab for tests of what CI does with them: one for each verdict."""

SMALL = """
title = "small"

[stages.preflight]
activity = "preflight"
gate = true
expect = { connects = true, health = true }

[stages.users]
patience = "3s"
expect.contract = true

[stages.users.populations.clients]
shape = { rate = "20/s", lasts = "500ms", arrivals = "even" }
"""
"""PASS, since no check hangs on time or load, also on a busy machine; with the defect
`missing_field` FAIL by a witness, with `health_503` in the gate."""

FEW = """
title = "few"

[stages.users]
patience = "3s"
expect.success = { rate = "99%" }

[stages.users.populations.clients]
shape = { rate = "20/s", lasts = "200ms", arrivals = "even" }
"""
"""INCONCLUSIVE: 4 clients cannot show 99 %."""

STUCK = '''
"""A script that holds up the probe's own loop: INVALID."""

import time

from probe.model.scenario import Scenario


async def stuck(session):
    await session.connect()
    time.sleep(0.4)
    await session.close()


scenario = Scenario.model_validate({
    "title": "stuck",
    "stages": {
        "users": {
            "patience": "3s",
            "expect": {"success": {"rate": "50%"}},
            "populations": {"clients": {"shape": {"clients": 3}, "script": stuck}},
        },
    },
})
'''

FILES = {"small.toml": SMALL, "few.toml": FEW, "stuck.py": STUCK}


def write_scenarios(folder):
    """All of them into `folder`/scenarios."""
    into = folder / "scenarios"
    into.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (into / name).write_text(text)
