"""What comes between the 101 and connection_ready, which on a healthy lab is nothing.

With `auth_drops_early_frames` the session is made ready at the end of the window, and what
was said inside it is lost. What was said outside of it waits, and is served in order, as
all of it is on a healthy lab. With `token_reuse_race` it is never made ready.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from aiohttp import WSMessage, WSMsgType

from probe.lab.messages import ids_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from probe.lab.claims import Claims
    from probe.lab.ledger import Ledger
    from probe.lab.state import State
    from probe.lab.windows import Window

KEPT_MAX: Final = 1_000  # then nothing more is read until the session is ready


async def drop_early(
    ledger: Ledger,
    window: Window,
    receive: Callable[[], Awaitable[WSMessage]],
    accepted_ns: int,
    ids: dict[str, str],
) -> list[WSMessage]:
    """Wait for the end of the window; returns what was kept of what came meanwhile.

    A message that is no text and no bytes is the last one: the connection is over.
    """
    opened = window.opened()
    kept: list[WSMessage] = []
    left_s = opened.left_s(time.perf_counter_ns() - accepted_ns)
    try:
        async with asyncio.timeout(left_s):
            while len(kept) < KEPT_MAX:
                message = await receive()
                after_ns = time.perf_counter_ns() - accepted_ns
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    return [*kept, message]
                if opened.hits(after_ns):
                    told = {**ids, **ids_in(message)}
                    ledger.hit("auth_drops_early_frames", after_ns=after_ns, **told)
                else:
                    kept.append(message)
            await asyncio.get_running_loop().create_future()  # until the window ends
    except TimeoutError:
        pass
    return kept


def is_one_too_many(state: State, claims: Claims, accepted_ns: int, connection_id: str) -> bool:
    """Whether a session comes too soon after another with its token, and is to hear nothing."""
    window = state.defects.window("token_reuse_race")
    if window is None:
        return False
    second = state.firsts.again(window, claims.token_id, accepted_ns, connection_id)
    if second is None:
        return False
    state.ledger.hit(
        "token_reuse_race",
        user_id=claims.subject,
        connection_id=connection_id,
        first_connection_id=second.first,
        after_ns=second.after_ns,
    )
    return True
