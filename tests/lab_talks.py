"""Conversations with the lab by tokens that differ; used by test_lab_races and _tenure."""

from __future__ import annotations

import asyncio
import itertools
import json

from aiohttp import WSMsgType

from tests.lab_process import SECRET, Talk, token, websocket

_numbers = itertools.count()


def new_user():
    return f"racer{next(_numbers)}"


def fresh(user, key=SECRET, **claims):
    """A token like no other."""
    return token(key, sub=user, jti=f"{user}-{next(_numbers)}", **claims)


def forged(user):
    return fresh(user, "another-key-of-at-least-32-bytes-length")


async def dial(http, lab, shown, path="/ws"):
    return await websocket(http, lab, path, headers={"Authorization": f"Bearer {shown}"})


async def opened(http, lab, shown):
    ws = await dial(http, lab, shown)
    return Talk(ws, await ws.receive_json())


async def revoke(http, lab, shown):
    bearer = {"Authorization": f"Bearer {shown}"}
    async with http.post(lab.url + "/auth/revoke", data={"token": shown}, headers=bearer) as answer:
        assert answer.status == 200


async def to_the_end(ws):
    """What still comes, the code of the Close (None: the connection just ended), its reason."""
    got = []
    while (message := await ws.receive()).type is WSMsgType.TEXT:
        got.append(json.loads(message.data))
    if message.type is not WSMsgType.CLOSE:
        return got, None, None
    return got, message.data, message.extra


async def line_of(lab, event, **fields):
    """The first line of the ledger with these fields, once there is one."""
    while True:
        for line in lab.lines(event):
            if fields.items() <= line.items():
                return line
        await asyncio.sleep(0.01)
