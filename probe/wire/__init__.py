"""One WebSocket connection, stamped phase by phase, that says exactly how it ended."""

from probe.wire.connection import Connection
from probe.wire.deadlines import Deadline, Wheel, wheel_of
from probe.wire.dialing import DnsCache, dial
from probe.wire.ends import End, Limits, Listener
from probe.wire.frames import BINARY, TEXT, encode
from probe.wire.outlet import TlsInfo
from probe.wire.request import DEFLATE, Facts, Prepared, accept_for, new_key
from probe.wire.response import Response
from probe.wire.route import Proxy, Route, TlsOptions, make_route
from probe.wire.sending import Held, Pieces, Sending

__all__ = [
    "BINARY",
    "DEFLATE",
    "TEXT",
    "Connection",
    "Deadline",
    "DnsCache",
    "End",
    "Facts",
    "Held",
    "Limits",
    "Listener",
    "Pieces",
    "Prepared",
    "Proxy",
    "Response",
    "Route",
    "Sending",
    "TlsInfo",
    "TlsOptions",
    "Wheel",
    "accept_for",
    "dial",
    "encode",
    "make_route",
    "new_key",
    "wheel_of",
]
