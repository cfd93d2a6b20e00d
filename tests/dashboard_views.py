"""Views for the tests of the terminal and of the page."""

from probe.dashboard.view import Quantile, Trouble, View

HOSTILE = "<img src=x onerror='window.pwned=1'>\\x1b[31m"


def view(**more):
    told = {
        "state": "running", "title": "cold_start", "target": "Embedded lab", "run_id": "r-1",
        "seed": 7, "report": "/results/r-1/report.html", "elapsed": "12 s", "stage": "restarts",
        "activity": "load", "place": "stage 2 of 2", "details": ("restart 3 of 20",),
        "left": ("stage about 40 s", "run about 40 s"), "share": 0.23,
        "clients": ("120 of at most 800 let go", "34 here now", "98 got in", "3 failed"),
        "rates": ("12 clients/s", "11 ready/s", "230 messages/s"), "connect_of": "",
        "connect": (
            Quantile("p50", "12.3 ms", "11 ms to 14 ms"),
            Quantile("p95", "over 5 s", "4 s to failed"),
            Quantile("p99", "needs 368", ""),
        ),
        "connect_on": ("of 120 connects, 3 failed", "2 under way, the oldest for 1.2 s"),
        "fit": "fit", "reasons": (), "lag": "lag 1.2 ms at most",
        "troubles": (
            Trouble("closed 1011 when ready", 1200, "just now", HOSTILE * 5),
            Trouble("status 503", 4, "8 s ago", ""),
        ),
        "kinds": 2,
        "series": {
            "at_s": [1.0, 2.0, 3.0], "clients_per_s": [1.0, 2.0, 3.0], "here": [0.0, 4.0, 2.0],
            "ready_per_s": [1.0, 2.0, 3.0], "messages_per_s": [0.0, 10.0, 20.0],
        },
    }  # fmt: skip
    return View(**{**told, **more})
