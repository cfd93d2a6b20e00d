"""The page as bytes: a policy, styles, scripts, and one block of data.

The rule: only files of this folder are written as they are. Everything else stands in the block,
as ASCII in which no `<` and no `&` is left, so that nothing in it can end the block or begin a tag;
what cannot be seen is spelled out (`visible`). The policy names styles and scripts by their hashes
and forbids all else, so that the page can ask nobody, whatever it shows.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from probe.report.document import settled
from probe.report.facts import facts_of
from probe.report.page.sections import content
from probe.report.visible import visible

if TYPE_CHECKING:
    from probe.check.verdict import Judgement
    from probe.report.page.recorded import Recorded

STYLES: Final = ("uplot.min.css", "page.css")
SCRIPTS: Final = (("uplot.min.js",), ("draw.js",), ("charts.js",), ("make.js", "page.js"))
_WITHOUT_SCRIPT: Final = (
    "This page is drawn by the script in it. report.md beside it says the same in words."
)
_ESCAPES: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def page(judgement: Judgement, recorded: Recorded | None) -> bytes:
    """The whole file; the same bytes for the same run."""
    styles = [_asset(name) for name in STYLES]
    scripts = ["".join(map(_asset, names)) for names in SCRIPTS]
    facts = facts_of(judgement)
    title = escape(visible(f"{judgement.headline}: {facts.origin}"))
    policy = (
        f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes(styles)}; "
        "base-uri 'none'; form-action 'none'"
    )
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{title}</title>",
        *(f"<style>{text}</style>" for text in styles),
        "</head>",
        "<body>",
        f"<noscript><h1>{title}</h1><p>{_WITHOUT_SCRIPT}</p></noscript>",
        f'<script type="application/json" id="run">{block(content(judgement, recorded))}</script>',
        *(f"<script>{text}</script>" for text in scripts),
        "</body>",
        "</html>\n",
    ]
    return "\n".join(lines).encode()


def block(value: object) -> str:
    """The data as text that can stand between two tags."""
    text = json.dumps(_seen(settled(value)), separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPES)


def _seen(value: Any) -> Any:
    match value:
        case str():
            return visible(value)
        case dict():
            return {visible(key): _seen(item) for key, item in value.items()}
        case list():
            return [_seen(item) for item in value]
        case _:
            return value


def _asset(name: str) -> str:
    return (files("probe.report.page") / "assets" / name).read_text(encoding="utf-8")


def _hashes(texts: list[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)
