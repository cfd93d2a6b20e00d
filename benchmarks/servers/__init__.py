"""Servers that the probe's matrices are held against: as their libraries have them.

Each lets in who shows a good JWT (issuer and audience `probe`, with an expiry) as
`jwt.<token>` among the subprotocols, in Authorization, as `?token=`, or, where the query says
`auth=message`, in a first message. It speaks `jwt-auth` and `probe.v2`, says
`connection_ready`, answers pings, runs and refreshes, and sends any other message back. What
is offered, chosen and refused is otherwise left to the library, with its defaults, and tokens
are checked by a library of the same language, as its documentation says. Each prints one line
when it listens; the key is the shared secret of HS256, or a public key in PEM:

    python -m benchmarks.servers.websockets_server PORT --key KEY [--algorithm RS256]
"""
