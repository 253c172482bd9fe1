import pickle

import pytest

from gradatim.core.errors import InputError
from gradatim.studies.claims import BUDGETS, Budget, Claim, Measurement, SeedTable


def table() -> SeedTable:
    return SeedTable(
        [
            Measurement("elr", "accuracy", 0.9),
            Measurement("elr", "top-5", 0.99),
            Measurement("elr", "accuracy", 0.7, "noise=0.4"),
            *(Measurement("elr", "accuracy", e / 10, f"noise=0.4, epoch={e}") for e in (10, 2, 1)),
            Measurement("cross-entropy", "loss", 1.5, "easy"),
        ]
    )


def test_budget_picks_its_own_value_and_demo_falls_back_to_full() -> None:
    assert [Budget(name).pick(smoke=1, demo=2, full=3) for name in BUDGETS] == [1, 2, 3]
    assert Budget("demo").pick(smoke=1, full=3) == 3
    assert Budget("demo").pick(smoke=1, full=3, demo=0) == 0
    assert pickle.loads(pickle.dumps(Budget("full"))) == "full"
    with pytest.raises(InputError, match="expected one of smoke, demo, full, got 'fast'"):
        Budget("fast")


def test_table_gives_the_value_of_arm_metric_and_group() -> None:
    t = table()
    assert t.arms == ("elr", "cross-entropy")
    assert t["elr"].accuracy == 0.9
    assert t["elr"]["top-5"] == 0.99
    assert t["elr"].at("noise=0.4").accuracy == 0.7
    assert t["elr"].at("epoch=2, noise=0.4").accuracy == 0.2
    assert t["elr"].at("noise=0.4").at("epoch=2").accuracy == 0.2
    assert t["cross-entropy"].at("easy").loss == 1.5


def test_curve_rises_in_x_and_keeps_to_its_group() -> None:
    curve = table()["elr"].at("noise=0.4").curve("accuracy", over="epoch")
    assert curve == [(1.0, 0.1), (2.0, 0.2), (10.0, 1.0)]
    assert table()["elr"].curve("accuracy", over="noise") == [(0.4, 0.7)]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda t: t["erl"], "no arm 'erl' was measured, but elr, cross-entropy. Did you mean elr"),
        (lambda t: t["elr"].acuracy, "'acuracy', but accuracy, top-5. Did you mean accuracy"),
        (lambda t: t["elr"].at("noise=0.2").accuracy, "in group 'noise=0.2'; .* 'noise=0.4'"),
        (lambda t: t["elr"].curve("accuracy", "epoch"), "in group '' over 'epoch'; .* measured in"),
        (lambda t: t["cross-entropy"].loss, "no 'loss' in group ''; .* 'group=easy'"),
    ],
)
def test_what_is_missing_is_told_with_what_there_is(ask, message) -> None:
    with pytest.raises(InputError, match=message):
        ask(table())


def test_arm_tables_do_not_answer_to_private_names() -> None:
    assert not hasattr(table()["elr"], "_repr_html_")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimand": ()}, "estimand that can be called"),
        ({"estimand": 3.0}, "estimand that can be called"),
        ({"threshold": float("nan")}, "finite threshold, got nan"),
        ({"smallest_effect": 0.0}, "positive smallest_effect, got 0.0"),
        ({"direction": "more"}, "direction greater or less, got 'more'"),
        ({"kind": "speed"}, "kind statistical or cost, got 'speed'"),
    ],
)
def test_malformed_claims_are_refused_by_name(changes, message) -> None:
    with pytest.raises(InputError, match=f"claim 'Words.': expected (an )?(a )?{message}"):
        Claim(**{"statement": "Words.", "estimand": len} | changes)
