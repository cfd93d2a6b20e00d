"""What the site needs beside the pages: links that lead out of docs/ become the names they show."""

import re
from typing import Any, Final

_OUTSIDE: Final = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:scenarios|README|CHANGELOG|tests)[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page as the site has it; mkdocs calls this for each."""
    return _OUTSIDE.sub(r"`\1`", markdown)
