"""Two tabs of one user open at once: a race of one's own, written in Python.

What TOML cannot say is the branch: a service may refuse a tab, which then comes again; but
whom it lets in it has to serve. Each actor declares when its gates let go, and `gate` comes
to the next of them: what is called behind it leaves at its instant.
"""

from probe.model.script import Session

TRIES = 3


async def tab(session: Session) -> None:
    """Come at the gate, and again if refused; whoever is let in is served."""
    await session.gate()
    for _ in range(TRIES):
        await session.connect(ready=False, expect="either")
        if session.connected:
            await session.ready()
            await session.run()
            await session.close()
            return
    raise ConnectionError(f"refused {TRIES} times")


scenario = {
    "title": "Two tabs of one user open at once",
    "stages": {
        "tabs": {
            "activity": "race",
            "budget": "60s",
            "expect": {"race": True},
            "race": {
                "range": ["-100ms", "100ms"],
                "trials": 60,
                "confirm": 40,
                "comb": 10,
                "within": "1s",
                "noun": "tab",
                "since": "the other one",
                "anomaly": "was let in and not served",
                "actors": {
                    "one": {"script": tab, "gates": ["0ms"], "user": "same"},
                    "other": {"script": tab, "gates": ["swept"], "user": "same"},
                },
            },
        }
    },
}
