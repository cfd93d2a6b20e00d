"""Both sides of a rate limit: who stays under it is never told of it, who goes over it is.

A dialect does not tell how many messages are too many, so the two numbers stand here: `UNDER`
is surely allowed at once, `OVER` surely is not (the lab allows 400, and 200 more each second).
"""

from probe.model.scenario import Scenario
from probe.model.script import Session

UNDER = 300
OVER = 700
QUIET = 60
PAUSE_NS = 20_000_000
STEADY_NS = 200_000_000
AGAIN_NS = 3_000_000_000
WITHIN_NS = 1_000_000_000


async def under(session: Session) -> None:
    """One message after another, as fast as they are answered; each of them has to be."""
    await session.connect()
    for _ in range(UNDER):
        await session.settle(WITHIN_NS)
    await session.close()


async def over(session: Session) -> None:
    """More at once than may be; later, when it has passed, a run."""
    await session.connect()
    await session.hold(STEADY_NS)
    for _ in range(3):
        await session.flood(OVER)
        await session.hold(PAUSE_NS)
    await session.hold(AGAIN_NS)
    await session.run()
    await session.settle()
    await session.close()


async def quiet(session: Session) -> None:
    """Other users, who ask for little meanwhile."""
    await session.connect()
    for _ in range(QUIET):
        await session.settle(WITHIN_NS)
        await session.hold(PAUSE_NS)
    await session.close()


scenario = Scenario.model_validate(
    {
        "title": "Edges of the rate limit",
        "stages": {
            "preflight": {
                "activity": "preflight",
                "gate": True,
                "expect": {"connects": True},
            },
            "under": {
                "expect": {"success": {"rate": "100%"}, "stays": True},
                "populations": {"users": {"shape": {"clients": 5}, "script": under}},
            },
            "over": {
                "patience": "15s",
                "expect": {"rate_limit": True, "stays": True},
                "populations": {
                    "over": {"shape": {"clients": 1}, "script": over},
                    "quiet": {"shape": {"clients": 5}, "script": quiet},
                },
            },
        },
    }
)
