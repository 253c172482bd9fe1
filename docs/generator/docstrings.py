"""Docstrings as Markdown: equations as MathML, examples as code, roles as links.

An extension of griffe, which reads the source for the reference. Docstrings are written for
reading in the source; this is all that it takes to show them on a page.
"""

import re
from textwrap import indent

from griffe import Class, Extension, GriffeLoader, Module, NameResolutionError, Object
from latex2mathml.converter import convert

_EQUATION = re.compile(r"^( *)\.\. math::(.*\n?(?:\1 +.*(?:\n|$))*)", re.M)
_INLINE = re.compile(r":math:`([^`]+)`")
_EXAMPLE = re.compile(r"^( *)>>> (?:.*(?:\n|$))(?:\1.*\S.*(?:\n|$))*", re.M)
_ROLE = re.compile(r":(?:func|class|meth|data|mod|attr):`(~?)([\w.]+)`")
_COMPARISON = re.compile(r"^( *)>(?!>>)", re.M)
_NAME = re.compile(r"\\operatorname(\*?)\{([^{}]*)\}")


class Docstrings(Extension):
    """Rewrites every docstring of a package once it is loaded."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **kwargs: object) -> None:
        """Walk the package."""
        self._walk(pkg)

    def _walk(self, place: Object) -> None:
        if place.docstring is not None:
            place.docstring.value = to_markdown(place.docstring.value, place)
        if isinstance(place, Class) and "__new__" in place.members:
            place.members.setdefault("__init__", place.members.pop("__new__"))
        for member in list(place.members.values()):
            if not member.is_alias:
                self._walk(member)


def to_markdown(text: str, place: Object | None = None) -> str:
    """Rewrite a docstring.

    Args:
        text: the docstring.
        place: what it documents, from where names are looked up; None takes them as they stand.
    """
    text = _EQUATION.sub(lambda found: f"{found[1]}{mathml(found[2], 'block')}\n", text)
    text = _INLINE.sub(lambda found: f"<span>{mathml(found[1], 'inline')}</span>", text)
    text = _EXAMPLE.sub(_fenced, text)
    text = _COMPARISON.sub(r"\1&gt;", text)
    return _ROLE.sub(lambda found: _link(found[2], found[1] == "~", place), text)


def mathml(latex: str, display: str) -> str:
    r"""An equation as MathML, which browsers show without help.

    >>> mathml(r"\\alpha", "inline")
    '<math ... display="inline"><mrow><mi>&#x003B1;</mi></mrow></math>'
    """
    one_line = " ".join(latex.split())
    plain = _NAME.sub(lambda found: rf"\operatorname{found[1]}{{{_letters(found[2])}}}", one_line)
    return convert(plain, display=display)


def _letters(name: str) -> str:
    """The name of an operator without the small space that LaTeX is given in it."""
    return name.replace(r"\,", "")


def _fenced(found: re.Match[str]) -> str:
    lines = found[0].rstrip("\n").splitlines()
    margin = len(found[1])
    code = "\n".join(["```pycon", *(line[margin:] for line in lines), "```"])
    return indent(code, found[1]) + "\n"


def _link(name: str, short: bool, place: Object | None) -> str:
    """A link to what stands on a page, which is whatever has a docstring; else the name alone."""
    shown = name.rpartition(".")[2] if short else name
    if place is None:
        return f"[`{shown}`][{name}]"
    try:
        target = name if name.startswith("gradatim.") else place.resolve(name)
        documented = place.modules_collection[target].has_docstring
    except (NameResolutionError, KeyError):
        documented = False
    return f"[`{shown}`][{target}]" if documented else f"`{shown}`"
