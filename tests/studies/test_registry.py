import pytest

from gradatim.core.errors import InputError
from gradatim.studies import catalogue
from gradatim.studies.registry import load_study

from .conftest import HEAD, PLAIN, SLUG


def test_a_module_becomes_a_study(write_study) -> None:
    name = write_study(
        PLAIN + "\nFIGURES = ('drawn',)\n", head='"""What was tried.\n\n    More.\n    """\n' + HEAD
    )
    study = load_study(SLUG, name)
    assert study.paper is catalogue.find_paper(SLUG)
    assert (study.module, study.population, study.figures) == (name, "no one", ("drawn",))
    assert study.description == "What was tried.\n\nMore."
    assert study.claims[0].statement == "A beats B."
    assert len(list(study.function(1, "smoke"))) == 8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("POPULATION = ", "NOBODY = ", r"expected POPULATION \(str\), got NoneType"),
        ("CLAIMS = (", "CLAIMS = [] and (", r"expected CLAIMS \(tuple\), got list"),
        ("CLAIMS = (", "CLAIMS = () and (", "expected CLAIMS to hold at least one Claim"),
        ("def study", "def stady", r"expected study \(Callable\), got NoneType"),
    ],
)
def test_a_module_that_lacks_a_part_is_named(write_study, old, new, message) -> None:
    name = write_study(PLAIN.replace(old, new), head=HEAD.replace(old, new))
    with pytest.raises(InputError, match=f"{name}: {message}"):
        load_study(SLUG, name)


def test_a_study_that_is_not_there(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="npo: the study is not implemented yet"):
        load_study(SLUG)
    with pytest.raises(InputError, match=r"npo: the study has no module 'no\.such'"):
        load_study(SLUG, "no.such")
    assert not catalogue.is_implemented(SLUG)
