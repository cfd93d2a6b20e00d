"""Views of a judgement: terminal, JSON, JUnit, Markdown. Pure but for `writer`, which writes."""
