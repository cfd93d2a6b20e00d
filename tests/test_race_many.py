"""One token on two and on five connections within a second: that they are, and what is seen."""

import numpy as np
import pytest

from probe.history.columns import History
from probe.history.records import Kind, Trial

pytestmark = pytest.mark.long

S = 1_000_000_000


@pytest.mark.parametrize(("stage", "connections"), [("pair", 2), ("five", 5)])
def test_a_token_on_several_connections_within_a_second_is_seen_unserved(probe, stage, connections):
    race = f"stages.{stage}.race"
    sets = [f"{race}.{each}" for each in ("trials=10", "confirm=0", "comb=10", "within=1s")]
    if stage == "pair":
        sets.append(f'{race}.range=["-100ms","100ms"]')
    words = [word for each in sets for word in ("--set", each)]
    defect = ("--defect", "token_reuse_race=50ms")
    done = probe.run("token_reuse", "--stage", stage, "--seed", 4, *words, *defect, target="lab")
    found = History.open(done.folder / "history")
    sessions, acted = found.sessions, found.of(Kind.ACTION)
    shown = found.of(Kind.INTENDED)
    told = {int(row["op"]): Trial(row["flag"]) for row in found.of(Kind.TRIAL)}
    assert len(told) == 10, done.told
    for trial in told:
        mine = sessions[sessions["trial"] == trial]["session"]
        assert len(mine) == connections
        # One identity, and with it one token; let go within a second of each other.
        assert len(np.unique(shown[np.isin(shown["session"], mine)]["b"])) == 1
        aims = acted[np.isin(acted["session"], mine)]["b"]
        assert len(aims) == connections
        assert aims.max() - aims.min() <= S
    check = done.check(f"{stage}.race")
    assert (check["verdict"], done.codes) == ("FAIL", {"race.token_reuse"}), done.told
    hits = [line for line in done.ledger() if line["event"] == "hit"]
    bad = sum(each is Trial.ANOMALY for each in told.values())
    assert 0 < bad <= len(hits)
    assert bad < 10  # elsewhere all of them are served
