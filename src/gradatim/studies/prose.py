"""Docstrings as HTML: paragraphs, lists and code, which is all that they use."""

import html
import inspect
import re


def to_html(text: str) -> str:
    """Set a docstring in HTML; everything in it is escaped.

    Blank lines part paragraphs, lines that begin with "- " are a list's entries, and words
    between backticks are code.

    >>> to_html("Tried ``a < b``:\\n\\n- one\\n  more\\n- two")
    '<p>Tried <code>a &lt; b</code>:</p>\\n<ul><li>one more</li><li>two</li></ul>'
    """
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n".join(_block(block) for block in blocks if block.strip())


def _block(block: str) -> str:
    """A paragraph, or a list, or a paragraph that ends in a list."""
    lead, *entries = re.split(r"^\s*[-*] +", block, flags=re.MULTILINE)
    paragraph = f"<p>{_inline(lead)}</p>" if lead.strip() else ""
    items = "".join(f"<li>{_inline(entry)}</li>" for entry in entries)
    return paragraph + (f"<ul>{items}</ul>" if items else "")


def _inline(text: str) -> str:
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"``?([^`]+)``?", r"<code>\1</code>", escaped)
