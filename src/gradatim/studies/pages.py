"""Pages from templates: everything escaped, each a single file that asks for nothing outside it."""

from functools import cache
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: Any) -> str:
    """Fill a template; a value that it lacks is an error, and markup in words is escaped."""
    text: str = _environment().get_template(template).render(**values)
    return text


def is_page_of(generator: str, path: Path) -> bool:
    """Whether a file is a page that names this generator, and so may be made anew."""
    with path.open("rb") as file:
        return f'<meta name="generator" content="{generator}">'.encode() in file.read(1000)


@cache
def _environment() -> Any:
    """Made once: it keeps the templates that it has read."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
