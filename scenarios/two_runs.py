"""Two runs on one connection, the second after a pause: a scenario written in Python.

The model is the one of the TOML files; a script that needs branches or loops is an
`async def` on the session API, and everything it waits for has a deadline.
"""

from probe.model.scenario import Scenario
from probe.model.script import Session

PAUSE_NS = 200_000_000


async def client(session: Session) -> None:
    """Connect, run, pause, run again, and close."""
    await session.connect()
    for pause_ns in (PAUSE_NS, 0):
        await session.run()
        await session.hold(pause_ns)
    await session.close()


scenario = Scenario.model_validate(
    {
        "title": "Two runs on one connection",
        "stages": {
            "users": {
                "expect": {"success": {"rate": "95%"}, "runs": {"rate": "95%"}},
                "populations": {
                    "users": {
                        "shape": {"rate": "20/s", "lasts": "3s", "arrivals": "even"},
                        "script": client,
                    }
                },
            }
        },
    }
)
