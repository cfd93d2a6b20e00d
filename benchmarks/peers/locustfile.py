"""The works through Locust: websocket-client on gevent, one greenlet for each user.

A connect is told to Locust's statistics as an event, as its page on other protocols has it. Text
is not checked to be UTF-8 and masking is in C (`wsaccel`), as websocket-client advises for speed.
A connection is dropped, without a closing handshake.
"""
# What is imported here is installed in an environment of its own.
# mypy: ignore-errors

import os
import time
from itertools import repeat
from typing import Any

import gevent
from gevent.event import Event
from locust import User, events, task
from websocket import WebSocket, create_connection

WORK = os.environ["WORK"]
N = int(os.environ["WORK_N"])
URL = os.environ["WORK_URL"]
SIZE = os.environ["WORK_SIZE"]
HELD_S = 600

everyone = Event()


@events.spawning_complete.add_listener
def _all_are_there(**_told: Any) -> None:
    everyone.set()


class Client(User):
    begun = 0
    ended = 0

    @task
    def work(self) -> None:
        if WORK == "upgrade":
            everyone.wait()
        if Client.begun >= N:
            gevent.sleep(HELD_S)
        Client.begun += 1
        connection = self.connect()
        if WORK == "burst":
            connection.send(f"go {N} {SIZE}")
            for _ in repeat(None, N):
                connection.recv()
            self.quit()
        elif WORK in {"hold", "single"}:
            while True:
                connection.recv()
        else:
            connection.shutdown()
            Client.ended += 1
            if Client.ended == N:
                self.quit()

    def connect(self) -> WebSocket | None:
        begin_s = time.perf_counter()
        error = connection = None
        try:
            connection = create_connection(URL, skip_utf8_validation=True, enable_multithread=False)
        except Exception as caught:  # noqa: BLE001 -- Locust counts whatever it was
            error = caught
        self.environment.events.request.fire(
            request_type="WS", name="connect", response_length=0, exception=error, context={},
            response_time=(time.perf_counter() - begin_s) * 1000,
        )  # fmt: skip
        return connection

    def quit(self) -> None:
        # Not from this greenlet: it would wait for itself.
        gevent.spawn(self.environment.runner.quit)
        gevent.sleep(HELD_S)
