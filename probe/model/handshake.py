"""One row of the negotiation matrix: how a request differs from the plain good one.

The rule: a row is data. Its templates hold places in braces, which `probe.negotiation`
fills; what no row names is sent as in the plain request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Grade = Literal["rfc", "browsers", "policy", "informational"]
"""How bad a deviation is: violates the RFC, fails in browsers, against the dialect's policy,
or worth knowing."""
Wanted = Literal["accepted", "rejected", "either"]
Sent = Literal["whole", "bytes", "paused"]


@dataclass(frozen=True, slots=True)
class HandshakeCase:
    """See `handshakes`.

    `expect` is what is right, `grade` how bad anything else is, `section` where that is
    written. `code` names the finding where what ought to be rejected gets in.

    `offers` is the value of Sec-WebSocket-Protocol, more than one for as many lines, none to
    leave the header out. Its places: `{default}` (all that the dialect offers, in its order),
    `{reversed}`, `{blanks}` (with blanks around the commas), `{first}` and `{rest}` of it,
    `{all}` (of every presentation), `{one}` (alone a whole offer), `{companion}` (beside the
    one that bears the token), `{bearing}`, `{broken}` (with a comma in the token), `{other}`
    (with another token), `{folded}` (in the other case), `{unknown}`, and `{pad:N}` (an
    unknown one that makes the value N characters long).

    `lines` are lines of the head in place of those of the same header ("" for the request
    line), none to leave it out; `{resource}`, `{host}`, `{key}` and `{scheme}` are as in the
    plain request. `shown` says where the token is: in the offers, beside them (another
    header, the query, a first message), or nowhere. `behind` follows the head at once. `sent`
    is how the head leaves: in one write, byte by byte, or with a pause in its middle.
    """

    name: str
    title: str
    expect: Wanted
    grade: Grade
    section: str
    code: str = "negotiation.illegal_accepted"
    offers: tuple[str, ...] = ("{default}",)
    lines: tuple[tuple[str, tuple[str, ...]], ...] = ()
    shown: Literal["offers", "beside", "nowhere"] = "offers"
    behind: bytes = b""
    sent: Sent = "whole"
