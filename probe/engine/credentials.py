"""Steps of credentials: another token, a new one on the open connection, none any more.

The rule: what a script shows next is chosen here and nowhere else, and every token, good or
bad, is known to the redactor before it is shown. What a source cannot make, or the target
forbids, ends the session with the reason in the history; nothing else is shown instead.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NoReturn

from probe.auth.unmade import UnmadeError
from probe.clock import now_ns
from probe.engine.passing import Want
from probe.engine.pressing import Pressing
from probe.engine.waiting import REFRESH, TIMEOUT, SessionOver
from probe.errors import AuthError
from probe.history.records import Credential, Kind, Outcome, Put
from probe.model.bad_tokens import FRESH, TOKEN_CASES

if TYPE_CHECKING:
    from probe.auth.identity import Identity
    from probe.auth.tokens import Tokens
    from probe.model.dialect import Request

S: Final = 1_000_000_000
GONE_WITHIN_NS: Final = 5 * S
REFRESH_WITHIN_NS: Final = 5 * S
_CANNOT, _FORBIDDEN = range(2)  # CREDENTIAL.a of NOT_MADE
_PEERS: Final = (Outcome.CLOSED, Outcome.EOF, Outcome.RESET)


class Credentials(Pressing):
    """See `probe.model.script.Session` for what each step means."""

    __slots__ = ()

    async def token(self, case: str) -> None:
        """From here on show a token of that case, or a fresh good one; see `bad_tokens`."""
        row = TOKEN_CASES.get(case)
        if row is None and case != FRESH:
            raise SessionOver(f"there is no token case {case!r}")
        if row is not None and row.expect != "accepted" and not self._site.target.safety.bad_tokens:
            self._not_made(_FORBIDDEN, "the target forbids bad tokens (safety.bad_tokens)")
        self._beside = ""
        if row is None or row.needs == "revoke":
            self._identity = await self._renewed()
            if row is not None:
                await self._ask_to_end(self._site.dialect.revoke, Credential.REVOKED)
                await self._wait(self._site.dialect.promises.revocation or 0, lasting=True)
        else:
            try:
                forged = await self._tokens().forge(self._mine, case)
            except UnmadeError as error:
                self._not_made(_CANNOT, str(error))
            self._beside = forged.beside
            expires_at_s = forged.expires_at_s
            self._identity = replace(self._mine, token=forged.token, expires_at_s=expires_at_s)
            if forged.whose is not None:
                self._site.everybody.add(forged.whose)
        self._chosen = True
        self._note_token(Credential.SHOWN, case)

    async def refresh(self, within_ns: int = REFRESH_WITHIN_NS, *, wait: bool = True) -> None:
        """Show a new token on the open connection, or the one that `token` has just chosen."""
        rule = self._site.dialect.refresh
        if rule is None:
            raise SessionOver("the dialect does not say how a token is refreshed")
        case = ""
        if not self._chosen:
            self._identity, case = await self._renewed(), FRESH
        self._chosen = False
        self._note_token(Credential.RENEWED, case)
        want = Want(REFRESH, within_ns, "no answer to the refresh") if wait else None
        await self._say(self._filled(rule.send).encode(), Put.REFRESH, want)

    async def revoke(self) -> None:
        """Have the service revoke the token that is shown; over with its answer."""
        gated = await self.through()
        await self._ask_to_end(self._site.dialect.revoke, Credential.REVOKED, gated=gated)

    async def logout(self) -> None:
        """Have the service end all of the user's sessions; over with its answer."""
        gated = await self.through()
        await self._ask_to_end(self._site.dialect.logout, Credential.LOGGED_OUT, gated=gated)

    async def gone(self, within_ns: int = GONE_WITHIN_NS) -> None:
        """Wait until the service ends the connection."""
        await self.pass_by()
        if self._connection is None:
            raise SessionOver("not connected")
        deadline = now_ns() + within_ns
        while self._open_end is None:
            if await self._wait(max(deadline - now_ns(), 0)) == TIMEOUT:
                raise SessionOver("the service did not end the connection: deadline")
        if self._open_end.outcome not in _PEERS:
            raise SessionOver(f"the service did not end the connection: {self._end_words()}")

    # What they share.

    async def _ask_to_end(
        self, rule: Request | None, what: Credential, *, gated: bool = False
    ) -> None:
        if rule is None:
            raise SessionOver(f"the dialect does not say how: {what.name.lower()}")
        shown = self._identity
        form = {
            name: text.replace("{user}", shown.user).replace("{token}", shown.token)
            for name, text in rule.form.items()
        }
        answer = await self._site.http.ask(rule, self._filled(rule.path), form, shown.token)
        if gated and answer.status:
            self.acted(answer.answered_ns)
        self._site.journal.row(
            answer.answered_ns, self._session, self._now_or_next, Kind.CREDENTIAL, what,
            answer.status, answer.sent_ns,
        )  # fmt: skip
        if not 200 <= answer.status < 300:  # noqa: PLR2004 -- RFC 9110, section 15.3
            told = f"answered with {answer.status}" if answer.status else "not answered"
            raise SessionOver(f"{rule.method} {rule.service}: {told}")

    async def _renewed(self) -> Identity:
        """This user with a new good token."""
        tokens = self._tokens()
        if not tokens.renewable:
            self._not_made(_CANNOT, "the source of tokens gives each user one token, once")
        try:
            self._mine = await tokens.refresh(self._mine)
        except AuthError as error:
            raise SessionOver(str(error)) from None
        self._site.everybody.renew(self._mine)
        return self._mine

    @property
    def _now_or_next(self) -> int:
        """The attempt that is open, else the one to come."""
        is_open = self._connection is not None and self._open_end is None
        return self.attempts - 1 if is_open else self.attempts

    def _tokens(self) -> Tokens:
        if self._site.tokens is None:
            raise SessionOver("there is no source of tokens")
        return self._site.tokens

    def _not_made(self, why: int, words: str) -> NoReturn:
        site = self._site
        text = site.journal.word(words)
        site.journal.note_at(
            self._session, self._now_or_next, Kind.CREDENTIAL, Credential.NOT_MADE, why, text
        )
        raise SessionOver(words, stopped=True)

    def _note_token(self, what: Credential, case: str) -> None:
        expires_at_s, now = self._identity.expires_at_s, now_ns()
        left_s = 0.0 if expires_at_s is None else expires_at_s - time.time()
        expiry = now + round(left_s * S) if expires_at_s is not None else 0
        text = self._site.journal.word(case) if case else 0
        self._site.journal.row(
            now, self._session, self._now_or_next, Kind.CREDENTIAL, what, text, max(expiry, 0)
        )
