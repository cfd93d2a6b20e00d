"""The live page: one file without data, in the style of the report.

The policy names its style and script by their hashes and lets it ask this server alone. What it
shows comes as JSON and goes in by `textContent`.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

ICON: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    b'<circle cx="8" cy="8" r="6" fill="#0b62b0"/></svg>'
)
_WITHOUT: Final = "This page is drawn by a script. The terminal shows the same."


@cache
def _style() -> str:
    report = files("probe.report.page") / "assets" / "page.css"
    live = files("probe.dashboard") / "assets" / "live.css"
    return report.read_text(encoding="utf-8") + live.read_text(encoding="utf-8")


@cache
def _script() -> str:
    report = files("probe.report.page") / "assets" / "make.js"
    live = files("probe.dashboard") / "assets" / "live.js"
    return report.read_text(encoding="utf-8") + live.read_text(encoding="utf-8")


@cache
def page() -> bytes:
    """The page as it is served."""
    frame = (files("probe.dashboard") / "assets" / "live.html").read_text(encoding="utf-8")
    parts = {"STYLE": _style(), "SCRIPT": _script(), "WITHOUT": _WITHOUT}
    for name, text in parts.items():
        frame = frame.replace(f"%{name}%", text, 1)
    return frame.encode()


@cache
def policy() -> str:
    """What the page may do: run its own script, wear its own style, ask its own server."""
    return (
        f"default-src 'none'; script-src {_hash(_script())}; style-src {_hash(_style())}; "
        "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
