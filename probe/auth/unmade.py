"""The error of a bad token that cannot be made, by itself: whoever steps may meet it.

The rule: it loads nothing. What makes bad tokens takes memory that no idle connection needs.
"""

from __future__ import annotations


class UnmadeError(Exception):
    """This case cannot be made of what there is; the message says why, and holds no token."""
