"""The atlas in a browser: it searches, filters, keeps its state in the address, opens pages."""

import dataclasses
import re
import shutil
import subprocess
from urllib.parse import quote

import pytest

from gradatim.studies.catalogue import find_paper, search_papers, studies
from gradatim.studies.plots import Figure
from gradatim.studies.site import write_site
from tests.studies.synthetic_results import SLUG, outcome_in
from tests.studies.test_report import Checked

BROWSER = shutil.which("chromium")

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no `chromium` on the PATH: the atlas was not looked at in a browser"
)

ACTIONS = """<script>
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const told = [];
const tell = () => told.push(`${document.querySelectorAll("#papers > li:not([hidden])").length}`
  + ` ${decodeURIComponent(location.hash)}`);
const chip = (value) => document.querySelector(`.chip[data-value="${value}"]`).click();
const search = document.getElementById("search");
press("/");
told.push(document.activeElement.id);
search.value = "Noisy LABELS";
search.dispatchEvent(new Event("input"));
tell();
chip("recipes");
tell();
chip("objectives");
tell();
press("Escape");
tell();
chip("recipes");
chip("shown");
tell();
document.getElementById("clear").click();
tell();
location.hash = "#content";
tell();
search.value = "\\u00e9 zzz";
search.dispatchEvent(new Event("input"));
told.push(document.getElementById("nothing").hidden ? "hidden" : "nothing");
document.body.insertAdjacentHTML("beforeend", `<pre id="told">${told.join("|")}</pre>`);
</script>
</body>"""


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlas")
    outcome = outcome_in(folder / "results")
    study = dataclasses.replace(outcome.study, figures=(Figure("accuracy"),))
    return write_site([dataclasses.replace(outcome, study=study)], folder / "site")


@pytest.fixture
def dom(tmp_path):
    """Open an address in the browser and give the document that scripts leave."""

    def dump(address: str) -> str:
        command = [
            str(BROWSER),
            *("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000"),
            f"--user-data-dir={tmp_path / 'browser'}",
            *("--dump-dom", address),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    return dump


def listed(page: str) -> list[str]:
    cards = re.findall(r"<li class=\"card[^>]*>(?:(?!</li>).)*</li>", page, re.S)
    shown = [card for card in cards if not re.search(r'^<li[^>]* hidden=""', card)]
    return [re.findall(r'href="papers/([^"]+)\.html"', card)[0] for card in shown]


@pytest.mark.parametrize(
    ("words", "kind"),
    [("npo", "objectives"), ("noisy labels", None), ("BRÉBISSON 2016", None), ("", "mining")],
)
def test_the_address_searches_as_the_command_line_does(index, dom, words, kind):
    fields = [f"q={quote(words)}"] * bool(words) + [f"kind={kind}"] * bool(kind)
    page = dom(f"{index.as_uri()}#{'&'.join(fields)}")
    expected = [paper.slug for paper in search_papers(words, kind)]
    assert expected and listed(page) == expected
    assert f"{len(expected)} of {len(studies())} studies" in " ".join(Checked(page).words)
    pressed = re.findall(r'aria-pressed="true"[^>]*data-value="([^"]+)"', page)
    assert pressed == [kind] * bool(kind)
    assert not re.search(r'<div id="tools"[^>]* hidden', page)


def test_verdicts_and_studies_are_filtered_by(index, dom):
    assert listed(dom(f"{index.as_uri()}#verdict=contradicted,inconclusive")) == [SLUG]
    rest = [slug for slug in studies() if slug != SLUG]
    assert listed(dom(f"{index.as_uri()}#verdict=none")) == rest
    assert SLUG in listed(dom(f"{index.as_uri()}#implemented=yes&unknown=x&kind=nonsense"))


def test_a_found_paper_can_be_opened(index, dom):
    (slug,) = listed(dom(f"{index.as_uri()}#q=npo&kind=objectives"))
    page = dom((index.parent / f"papers/{slug}.html").as_uri())
    assert find_paper(slug).title in " ".join(Checked(page).words)


def test_typing_and_clicking(index, dom):
    text = index.read_text(encoding="utf-8")
    policy = re.search(r"<meta http-equiv=[^>]*>", text)
    page = index.with_name("acted.html")
    page.write_text(text.replace(policy[0], "").replace("</body>", ACTIONS), encoding="utf-8")
    told = re.search(r'<pre id="told">([^$].*)</pre>', dom(page.as_uri()))[1].split("|")
    either = [paper for paper in studies().values() if {"recipes", "objectives"} & {*paper.kinds}]
    assert told == [
        "search",
        "1 #q=Noisy LABELS",
        f"{len(search_papers('noisy labels', 'recipes'))} #q=Noisy LABELS&amp;kind=recipes",
        "1 #q=Noisy LABELS&amp;kind=recipes,objectives",
        f"{len(either)} #kind=recipes,objectives",
        "1 #kind=objectives&amp;verdict=shown",
        "69 ",
        "69 #content",
        "nothing",
    ]
