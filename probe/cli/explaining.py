"""What an answer means, after a connection by hand: `probe connect`'s last lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.engine.stage import on_disk
from probe.history.columns import History
from probe.negotiation.answer import answer_of, request_of
from probe.negotiation.clients import OF_THE_PAGE, VERSIONS, opinion, unsendable
from probe.negotiation.diagnosis import diagnose, outcome
from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from probe.history.journal import Journal
    from probe.negotiation.clients import Client
    from probe.redact import Redactor

_GRADES: Final = {
    "rfc": "violates the RFC",
    "browsers": "fails in browsers",
    "policy": "against the dialect",
    "informational": "for information",
}


async def explain(
    journal: Journal,
    screen: Console,
    redactor: Redactor,
    given: Sequence[str],
    headers: Sequence[str],
    alike: Client | None,
) -> None:
    """Print what came of the one attempt in `journal`, and what it means.

    `given` are the offers that a client library would have known of, which those in a header
    written by hand are not; `headers` are the names of those that were added to the handshake;
    `alike` is the client whose opinion is wanted. What it cannot send it does not open.
    """
    await on_disk(journal)
    history = History.open(journal.folder)
    attempt = history.attempts[0]
    answer = answer_of(history, attempt)
    request = request_of(history, attempt)
    # What was stored is masked where a token is, and so is what it is compared with.
    known = [redactor.text(each) for each in given]

    def say(text: str) -> None:
        screen.print(f"             = {visible(text)}", markup=False, soft_wrap=True)

    say(outcome(answer))
    for remark in diagnose(request, answer, known):
        say(f"{remark.words} ({_GRADES[remark.grade]}: {remark.section})")
    if alike is None:
        return
    cannot = unsendable(alike, headers, given)
    for why in cannot:
        say(why)
    said = opinion(alike, answer, known)
    if said.opens and cannot:
        return
    say(f"{alike} ({VERSIONS[alike]}) {said.words}")
    page = sorted({name for name in headers if name.lower() in OF_THE_PAGE})
    if alike == "browser" and page:
        say(f"a browser takes {' and '.join(page)} from the page, so this holds for the same there")
