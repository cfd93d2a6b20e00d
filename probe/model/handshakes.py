"""The negotiation matrix as data: one row a case.

The rule: a row says what is sent, what is right, how bad a deviation is, and where that is
written. `probe.negotiation` makes the bytes and judges the answers; nothing here is code.

Graded `rfc` is only what a server MUST do: refuse what is no handshake (RFC 6455 section
4.2.1: "including but not limited to any violations of the ABNF grammar", with an HTTP error)
and answer as section 4.2.2 says. What is a MUST for the client alone is informational, and
what a service ought to take because its dialect says so is its policy.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from probe.model.handshake import HandshakeCase as Case

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN: Final = "plain"
NO_OFFER: Final = "no_offer"
_READ: Final = "RFC 6455 section 4.2.1"
_SENT: Final = "RFC 6455 section 4.2.2"
_OFFERS: Final = "RFC 6455 section 4.1, item 10"
_ABNF: Final = "RFC 6455 sections 4.2.1 and 4.3 (1#token)"
_DIALECT: Final = "the dialect's presentations"
_LONG: Final = "RFC 9110 section 5.4"
_DEFLATE: Final = "RFC 7692 section 7"
_ORIGIN: Final = "RFC 6455 section 10.2"
_UNSUPPORTED: Final = "negotiation.accepted_unsupported"
_BAD_TOKEN: Final = "negotiation.token_ignored"  # noqa: S105 -- the code of a finding
_EXTENSIONS: Final = "Sec-WebSocket-Extensions"
_PING: Final = b"\x89\x80\x37\xfa\x21\x3d"  # empty and masked

_OFFERED: Final = (
    Case(PLAIN, "the plain good request: the control", "accepted", "policy", _DIALECT),
    Case(
        NO_OFFER, "no subprotocol", "accepted", "policy", f"{_SENT}; {_DIALECT}",
        offers=(), shown="beside",
    ),
    Case("one", "one that is supported", "accepted", "policy", _DIALECT, offers=("{one}",)),
    Case("several", "several that are supported", "accepted", "policy", _DIALECT),
    Case(
        "several_reversed", "the same in the other order", "accepted", "policy",
        f"{_SENT}; {_DIALECT}", offers=("{reversed}",),
    ),
    Case(
        "every_supported", "all that any presentation offers", "either", "informational", _SENT,
        offers=("{all}",),
    ),
    Case(
        "unsupported_only", "nothing but an unknown one", "rejected", "policy",
        f"{_SENT}; {_DIALECT}", _UNSUPPORTED, offers=("{unknown}",), shown="beside",
    ),
    Case(
        "supported_last", "the supported behind an unknown one", "accepted", "policy", _SENT,
        offers=("{unknown}, {default}",),
    ),
    Case(
        "supported_first", "the supported before an unknown one", "accepted", "policy", _SENT,
        offers=("{default}, {unknown}",),
    ),
    Case(
        "duplicate", "one of them twice", "either", "informational", f"{_OFFERS} (unique)",
        offers=("{default}, {default}",),
    ),
    Case(
        "other_case", "a supported one in the other case", "rejected", "policy", _SENT,
        _UNSUPPORTED, offers=("{folded}",), shown="beside",
    ),
    Case(
        "empty_header", "an empty header", "rejected", "rfc", _ABNF, offers=("",), shown="beside"
    ),
    Case(
        "empty_element", "an empty element between the offers", "either", "informational",
        f"{_OFFERS} (non-empty); RFC 9110 section 5.6.1.2", offers=("{default}, , {default}",),
    ),
    Case(
        "blanks", "spaces and tabs around the commas", "accepted", "policy",
        "RFC 9110 section 5.6.1", offers=(" \t {blanks} \t ",),
    ),
    Case(
        "two_lines", "one header line for each offer", "accepted", "policy",
        "RFC 6455 section 11.3.4", offers=("{first}", "{rest}"),
    ),
    Case(
        "two_lines_unknown_first", "an unknown one in a header line before", "accepted", "policy",
        "RFC 6455 section 11.3.4", offers=("{unknown}", "{default}"),
    ),
    Case(
        "equals_sign", "an element with =", "rejected", "rfc", _ABNF,
        offers=("{default}, token=probe",),
    ),
    Case(
        "slash", "an element with /", "rejected", "rfc", _ABNF, offers=("{default}, probe/1",)
    ),
    Case(
        "blank_within", "an element with a blank in it", "rejected", "rfc", _ABNF,
        offers=("{default}, probe one",),
    ),
    Case(
        "non_ascii", "an element that is not ASCII", "rejected", "rfc", _ABNF,
        offers=("{default}, pröbe",),
    ),
    Case(
        "comma_in_token", "a comma within the token", "rejected", "policy",
        f"{_OFFERS}; the token ends at the comma", _BAD_TOKEN, offers=("{broken}",),
    ),
    Case(
        "value_300", "a token-bearing value of at least 300 characters", "accepted", "policy",
        _LONG, offers=("{default}, {pad:300}",),
    ),
    Case(
        "value_4000", "a token-bearing value of at least 4,000 characters", "accepted", "policy",
        _LONG, offers=("{default}, {pad:4000}",),
    ),
    Case(
        "value_16000", "a token-bearing value of 16,000 characters", "either", "informational",
        _LONG, offers=("{default}, {pad:16000}",),
    ),
    Case(
        "token_alone", "the token without its companion", "either", "informational", _SENT,
        offers=("{bearing}",),
    ),
    Case(
        "companion_alone", "the companion without a token", "rejected", "policy", _DIALECT,
        _BAD_TOKEN, offers=("{companion}",), shown="nowhere",
    ),
    Case(
        "two_tokens", "two tokens that differ", "either", "informational", _DIALECT,
        offers=("{default}, {other}",),
    ),
)  # fmt: skip

_VERSION: Final = "Sec-WebSocket-Version"
_KEY: Final = "Sec-WebSocket-Key"
_HEADERS: Final = (
    Case(
        "version_missing", "no version", "rejected", "rfc", f"{_READ}, item 6",
        lines=((_VERSION, ()),),
    ),
    Case(
        "version_12", "version 12, which never was one", "rejected", "rfc",
        f"{_READ}, item 6; 4.2.2, /version/", lines=((_VERSION, ("Sec-WebSocket-Version: 12",)),),
    ),
    Case("key_missing", "no key", "rejected", "rfc", f"{_READ}, item 5", lines=((_KEY, ()),)),
    Case(
        "key_short", "a key of 15 bytes", "either", "informational",
        f"{_READ}, item 5; 4.2.2, /key/ (a server need not decode it)",
        lines=((_KEY, ("Sec-WebSocket-Key: cHJvYmVwcm9iZXByb2Jl",)),),
    ),
    Case(
        "key_no_base64", "a key that is no base64", "rejected", "rfc", f"{_READ}, item 5",
        lines=((_KEY, ("Sec-WebSocket-Key: ?!?!?!?!?!?!?!?!?!?!?!==",)),),
    ),
    Case(
        "key_twice", "two keys", "rejected", "rfc", f"{_READ}, item 5; 11.3.1",
        lines=((_KEY, ("Sec-WebSocket-Key: {key}", "Sec-WebSocket-Key: {key}")),),
    ),
    Case(
        "upgrade_missing", "no Upgrade", "rejected", "rfc", f"{_READ}, item 3",
        lines=(("Upgrade", ()),),
    ),
    Case(
        "upgrade_wrong", "Upgrade to something else", "rejected", "rfc", f"{_READ}, item 3",
        lines=(("Upgrade", ("Upgrade: probe",)),),
    ),
    Case(
        "upgrade_other_case", "Upgrade in the other case", "accepted", "rfc",
        f"{_READ}, item 3 (case-insensitive)", lines=(("Upgrade", ("Upgrade: WebSocket",)),),
    ),
    Case(
        "connection_missing", "no Connection", "rejected", "rfc", f"{_READ}, item 4",
        lines=(("Connection", ()),),
    ),
    Case(
        "connection_wrong", "Connection without Upgrade", "rejected", "rfc", f"{_READ}, item 4",
        lines=(("Connection", ("Connection: keep-alive",)),),
    ),
    Case(
        "connection_list", "Connection: keep-alive, Upgrade, as Firefox sends it", "accepted",
        "browsers", f"{_READ}, item 4",
        lines=(("Connection", ("Connection: keep-alive, Upgrade",)),),
    ),
    Case(
        "host_missing", "no Host", "rejected", "rfc", "RFC 9112 section 3.2", lines=(("Host", ()),)
    ),
    Case(
        "host_twice", "two Hosts", "rejected", "rfc", "RFC 9112 section 3.2",
        lines=(("Host", ("Host: {host}", "Host: probe.invalid")),),
    ),
    Case(
        "host_foreign", "the Host of somebody else", "either", "informational",
        f"{_READ}, item 2; a server need not know all its names",
        lines=(("Host", ("Host: probe.invalid",)),),
    ),
    Case(
        "method_post", "POST", "rejected", "rfc", f"{_READ}, item 1",
        lines=(("", ("POST {resource} HTTP/1.1",)), ("Content-Length", ("Content-Length: 0",))),
    ),
    Case(
        "http_1_0", "HTTP/1.0", "rejected", "rfc", f"{_READ}, item 1; RFC 9110 section 7.8",
        lines=(("", ("GET {resource} HTTP/1.0",)),),
    ),
    Case(
        "absolute_uri", "the absolute URI in the request line", "either", "informational",
        f"{_READ}, item 1; RFC 9112 section 3.2.2",
        lines=(("", ("GET {scheme}://{host}{resource} HTTP/1.1",)),),
    ),
    Case("origin_missing", "no Origin: no browser", "either", "informational", f"{_READ}, item 7"),
    Case(
        "origin_own", "the service's own Origin", "either", "informational", _ORIGIN,
        lines=(("Origin", ("Origin: {scheme}://{host}",)),),
    ),
    Case(
        "origin_foreign", "a foreign Origin", "rejected", "policy", _ORIGIN,
        "negotiation.origin_ignored", lines=(("Origin", ("Origin: https://probe.invalid",)),),
    ),
    Case(
        "origin_null", "the Origin null, as of a sandboxed page", "rejected", "policy", _ORIGIN,
        "negotiation.origin_ignored", lines=(("Origin", ("Origin: null",)),),
    ),
    Case(
        "folded_header", "a header folded over two lines", "either", "informational",
        "RFC 9112 section 5.2", lines=(("X-Probe", ("X-Probe: one\r\n two",)),),
    ),
    Case(
        "oversized_header", "a header of 65,536 characters", "either", "informational", _LONG,
        lines=(("X-Probe", ("X-Probe: " + "p" * 65_536,)),),
    ),
)  # fmt: skip

_BEYOND: Final = (
    Case(
        "deflate", "permessage-deflate", "either", "informational", "RFC 7692 section 7.1",
        lines=((_EXTENSIONS, (f"{_EXTENSIONS}: permessage-deflate; client_max_window_bits",)),),
    ),
    Case(
        "deflate_bad_value", "permessage-deflate with a window of 99 bits", "either",
        "informational", _DEFLATE,
        lines=((_EXTENSIONS, (f"{_EXTENSIONS}: permessage-deflate; server_max_window_bits=99",)),),
    ),
    Case(
        "deflate_bad_name", "permessage-deflate with an unknown parameter", "either",
        "informational", _DEFLATE,
        lines=((_EXTENSIONS, (f"{_EXTENSIONS}: permessage-deflate; probe=1",)),),
    ),
    Case(
        "extension_unknown", "an unknown extension", "either", "informational",
        "RFC 6455 sections 4.2.2 and 9.1", lines=((_EXTENSIONS, (f"{_EXTENSIONS}: x-probe",)),),
    ),
    Case(
        "body", "a body with the request", "either", "informational", "RFC 9110 section 9.3.1",
        lines=(("Content-Length", ("Content-Length: 5",)),), behind=b"probe",
    ),
    Case(
        "early_frame", "a frame before the 101", "either", "informational",
        "RFC 6455 section 4.1 (the client must wait)", behind=_PING,
    ),
    Case(
        "single_bytes", "the request in single bytes", "accepted", "policy",
        "RFC 9112 section 2.2 (a stream has no packets)", sent="bytes",
    ),
    Case(
        "slow_client", "a pause of 3 s in the middle", "either", "informational",
        "RFC 9110 section 15.5.9", sent="paused",
    ),
)  # fmt: skip

HANDSHAKES: Final[Mapping[str, Case]] = MappingProxyType(
    {row.name: row for row in (*_OFFERED, *_HEADERS, *_BEYOND)}
)
