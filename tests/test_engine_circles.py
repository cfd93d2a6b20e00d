"""A session leaves nothing that only the collector would find, which is off in a run."""

import gc
from collections import Counter

import pytest

from tests.engine_sites import talk

SESSION = {"Client", "Connection", "FrameReader", "Reference", "Identity"}
HOLD = {"do": "hold", "lasts": "60ms", "ping_every": "20ms"}


async def answers(websocket):
    await websocket.send('{"type":"hello"}')
    async for _ in websocket:
        pass


async def refuses(websocket):
    await websocket.close(1008, "no")


@pytest.mark.parametrize("serve", [answers, refuses])
@pytest.mark.parametrize(
    "script",
    [
        [{"do": "connect"}, HOLD, {"do": "close"}],
        [{"do": "connect"}, {"do": "vanish"}, {"do": "connect"}],
        [{"do": "connect"}, {"do": "await", "event": "told", "within": "50ms"}],
    ],
)
def test_no_circle_is_left(tmp_path, serve, script):
    talk(tmp_path / "warm", serve, script)
    gc.collect()
    gc.disable()
    try:
        talk(tmp_path / "run", serve, script, users=("probe-0", "probe-1", "probe-2"))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = Counter(
            f"{type(each).__module__}.{type(each).__qualname__}"
            for each in gc.garbage
            if type(each).__module__.startswith(("probe.engine", "probe.wire", "probe.auth"))
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    circles = {name: n for name, n in left.items() if name.rpartition(".")[2] in SESSION}
    assert circles == {}
