import csv
import dataclasses
import io
import json
import re
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError, StorageError
from gradatim.studies import exports, tables
from gradatim.studies.numbers import MINUS
from gradatim.studies.outcomes import corrected
from gradatim.studies.summaries import Summaries
from gradatim.studies.tables import Table
from tests.studies.synthetic_results import SLUG, outcome_in


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return outcome_in(tmp_path_factory.mktemp("results"))


def test_arm_tables(outcome):
    first, by_noise, memorized = tables.arm_tables(outcome.summaries)
    assert first.columns == ("Arm", "accuracy", "memorized")
    assert [row[0] for row in first.rows] == list(outcome.summaries.arms)
    assert by_noise.columns == ("Arm", "noise 0.2", "noise 0.4", "noise 0.6")
    assert memorized.title == "memorized by noise"
    for table in (first, by_noise, memorized):
        for place in table.numeric:
            decimals = {len(row[place].split()[0].partition(".")[2]) for row in table.rows}
            assert len(decimals) == 1


def test_an_arm_that_was_not_measured_everywhere_leaves_a_gap():
    rows = [(0, "a", "loss", "", 1.0), (0, "a", "time", "", 1.0), (0, "b", "loss", "", 2.0)]
    (table,) = tables.arm_tables(Summaries.of(rows))
    assert table.rows == (("a", "1.000", "1.000"), ("b", "2.000", tables.UNKNOWN))


def test_groups_stand_by_rising_numbers():
    rows = [(0, "a", "true_class", f"noise={noise}", 1.0) for noise in (0.4, 10, 0.2)]
    (table,) = tables.arm_tables(Summaries.of(rows))
    assert table.columns == ("Arm", "noise 0.2", "noise 0.4", "noise 10")
    assert table.title == "true class by noise"


def test_verdict_table_corrects_only_when_all_were_looked_at(outcome):
    (whole,) = corrected([outcome])
    assert tables.verdict_table([outcome]).columns[4] == "p"
    assert tables.verdict_table([whole]).columns[4] == "p (Holm)"
    raw, adjusted = (tables.verdict_records([one]) for one in (outcome, whole))
    assert [record["p_holm"] for record in raw] == [None] * 5
    assert all(
        record["p_holm"] >= record["p_value"]
        for record in adjusted
        if record["p_value"] is not None
    )
    assert adjusted[4]["p_holm"] is None


def test_counts(outcome):
    assert tables.status_counts([outcome, outcome]) == {
        "shown": 6,
        "contradicted": 2,
        "equivalent": 2,
        "inconclusive": 0,
    }
    assert tables.count_text([]) == "No results yet"
    told = tables.count_text(corrected([outcome]))
    assert told.startswith("5 claims of 1 paper: ✓ 3 shown, ✗ 1 contradicted, ≈ 1 equivalent")
    assert told.endswith("3 of 3 decided by a test stand")


def test_a_claim_that_does_not_survive_the_correction_is_not_counted(outcome):
    weak = dataclasses.replace(outcome, adjusted=(0.2, 0.01, 0.5, 0.01, float("nan")))
    assert "2 of 3 decided by a test stand" in tables.count_text([weak])


def test_records_are_json_and_csv(outcome):
    records = tables.verdict_records([outcome])
    assert json.loads(exports.to_json(records)) == records
    read = list(csv.DictReader(io.StringIO(exports.to_csv(records))))
    for record, row in zip(records, read, strict=True):
        assert float(row["estimate"]) == record["estimate"]
        assert row["claim"] == record["claim"]
        assert row["smallest_effect"] == (
            "" if record["smallest_effect"] is None else str(record["smallest_effect"])
        )


def test_arm_records_hold_the_curves(outcome):
    records = tables.arm_records([outcome])
    assert {record["group"] for record in records} >= {"", "noise=0.6", "epoch=60"}
    one = next(r for r in records if (r["arm"], r["metric"], r["group"]) == ("elr", "accuracy", ""))
    values = [
        value
        for _, arm, metric, group, value in outcome.ledger.rows
        if (arm, metric, group) == ("elr", "accuracy", "")
    ]
    assert one["mean"] == pytest.approx(sum(values) / 10) and one["seeds"] == 10


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_markdown_rows_keep_their_columns(cells):
    table = Table("", tuple("c" * len(cells)), (tuple(cells),))
    lines = exports.to_markdown(table).split("\n")
    assert len(lines) == 3
    counts = {len(re.split(r"(?<!\\)(?:\\\\)*\|", line.replace("\\\\", ""))) for line in lines}
    assert len(counts) == 1
    assert "<" not in lines[2]


def test_latex_escapes_what_latex_reads():
    table = Table("", ("a", "b"), (("50% & $x_1$ {#} \\ ~^", f"{MINUS}0.1 ± 0.2"),), frozenset({1}))
    row = exports.to_latex(table).splitlines()[4]
    assert row == (
        r"50\% \& \$x\_1\$ \{\#\} \textbackslash{} \textasciitilde{}\textasciicircum{} & "
        r"$-$0.1 $\pm$ 0.2 \\"
    )


def test_empty_csv():
    assert exports.to_csv([]) == ""


def test_verdict_markdown(outcome):
    text = exports.verdict_markdown([outcome])
    assert text.count(SLUG) == 1 and text.count("5,000 drawn digits") == 1
    assert text.count("\n| ") == 6


def test_paper_markdown(outcome):
    text = exports.paper_markdown([outcome])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3 and rows[2].startswith(
        f"| {SLUG} | {outcome.verdicts[0].claim.statement}"
    )
    marks = dict(re.findall(r"([✓✗≈?]) (\d+)", rows[2].rsplit("|", 2)[1]))
    assert sum(map(int, marks.values())) == len(outcome.verdicts) > 1


def test_markers_keep_the_rest_and_the_permissions(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- verdicts --><!-- /verdicts -->z")
    exports.replace_between_markers(path, "one\ntwo")
    assert path.read_text() == "a\n<!-- verdicts -->\none\ntwo\n<!-- /verdicts -->z"
    exports.replace_between_markers(path, "three")
    assert path.read_text() == "a\n<!-- verdicts -->\nthree\n<!-- /verdicts -->z"
    assert stat.S_ISREG(path.stat().st_mode)
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]


def test_markers_through_a_link_change_the_file_not_the_link(tmp_path):
    path, link = tmp_path / "README.md", tmp_path / "link.md"
    path.write_text("<!-- verdicts -->\n<!-- /verdicts -->\n")
    link.symlink_to(path)
    exports.replace_between_markers(link, "new")
    assert link.is_symlink() and "new" in path.read_text()


def test_markers_in_what_is_no_file(tmp_path):
    with pytest.raises(StorageError, match="reading"):
        exports.replace_between_markers(tmp_path, "text")
    with pytest.raises(InputError, match="markers"):
        (tmp_path / "a.md").write_text("")
        exports.replace_between_markers(tmp_path / "a.md", "text")
