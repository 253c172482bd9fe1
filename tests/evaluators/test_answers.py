import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError, MissingPackageError
from gradatim.evaluators import answers as module
from gradatim.evaluators.answer_text import normalize_answer, plain_number, read_answer
from gradatim.evaluators.answers import AnswerVerifier, equivalence_classes, extract_answer

math_verify = pytest.importorskip("math_verify")


@pytest.fixture(scope="module")
def verifier():
    with AnswerVerifier(timeout=20) as one:
        yield one


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"first \boxed{1}, then \boxed{\frac{a}{b}}.", r"\frac{a}{b}"),
        (r"\boxed{1} and cut off \boxed{\frac{1", "1"),
        (r"\boxed 7 it is", "7"),
        (r"\boxed{\text{(C)}}", "C"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        ("The answer is 3.5. I hope so.", "3.5"),
        ("the final answer is: $\\frac12$.", r"\frac12"),
        ("**Answer:** 42", "42"),
        ("The answer is 5. No, the answer is 6", "6"),
        ("2 + 2 = 4\n#### 1,234\n", "1,234"),
        ("The answer is \n#### 4", "4"),
        (r"The answer is 3, so \boxed{4}", "4"),
        ("it is 12", None),
        (r"\boxed{}", None),
        ("", None),
        (None, None),
    ],
)
def test_extraction(response, answer):
    assert extract_answer(response) == answer


def test_the_last_number_only_when_told():
    assert extract_answer("from 3 to -1,200.5 in all", last_number=True) == "-1,200.5"
    assert extract_answer("none here", last_number=True) is None
    assert extract_answer(r"\boxed{3} of 4", last_number=True) == "3"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (" $5$. ", "5"),
        (r"\( x \)", "x"),
        (r"\dfrac{1}{2}", r"\frac{1}{2}"),
        (r"\left( 1,\, 2 \right)", "( 1, 2 )"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"\text{a}+\text{b}", r"\text{a}+\text{b}"),
        (r"\begin{pmatrix}1\\ 2\end{pmatrix}", r"\begin{pmatrix}1\\ 2\end{pmatrix}"),
        ("(B)", "B"),
        ("$1$ and $2$", "$1$ and $2$"),
        ("50\\%", "50%"),
        ("\u22123", "-3"),
    ],
)
def test_normal_form(text, normal):
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("007", 7),
        ("1,000", 1000),
        ("10 000", 10000),
        ("-.5", Fraction(-1, 2)),
        ("3.", 3),
        ("1e-3", Fraction(1, 1000)),
        ("-1 1/2", Fraction(-3, 2)),
        (r"1\frac{1}{2}", Fraction(3, 2)),
        (r"\frac{-3}{6}", Fraction(-1, 2)),
        ("$5", 5),
    ],
)
def test_plain_numbers(text, value):
    assert plain_number(text).value == value


@pytest.mark.parametrize("text", ["1/0", "1,00", "x", ".", "1e999999", "1" * 500, "2^3", "1:2", ""])
def test_no_plain_numbers(text):
    assert plain_number(text) is None


def test_decimals_of_six_places_may_approximate(verifier):
    assert verifier.equal("1/3", "0.333333") and not verifier.equal("1/3", "0.33333")
    assert not verifier.equal("1e-7", "2e-7") and not verifier.equal("1000000.0", "1000001")


numbers = st.one_of(
    st.integers(-9999, 9999).map(str),
    st.integers(1000, 99999).map(lambda n: f"{n:,}"),
    st.tuples(st.integers(-99, 99), st.integers(1, 99)).map(lambda p: f"{p[0]}/{p[1]}"),
    st.decimals(-99, 99, places=2).map(str),
)


@given(numbers, numbers, st.booleans())
def test_plain_numbers_are_equal_where_math_verify_says_so(one, other, same):
    other = (
        f"\\frac{{{plain_number(one).value.numerator}}}{{{plain_number(one).value.denominator}}}"
        if same
        else other
    )
    parsed = [math_verify.parse(f"\\boxed{{{a}}}", parsing_timeout=None) for a in (one, other)]
    told = read_answer(one).equals(read_answer(other))
    assert told == math_verify.verify(*parsed, timeout_seconds=None)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (r"\sqrt{4}", "2", True),
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt2}", True),
        ("x^2+2x+1", "(x+1)^2", True),
        ("x+1", "x+2", False),
        (r"\sqrt2", r"\sqrt3", False),
        ("x=5", "5", True),
        ("(1,2)", "(2,1)", False),
        (r"\{1,2\}", r"\{2,1\}", True),
        ("50%", "0.5", True),
        (r"5\text{ cm}", "5", True),
        ("Paris", "pairs", False),
        ("Paris", r"\text{paris}", True),
        (r"\frac{", "1", False),
        ("{", "}", False),
    ],
)
def test_equality(verifier, one, other, equal):
    assert verifier.equal(one, other) is equal


def test_nothing_equals_nothing(verifier):
    assert not verifier.equal(None, None) and not verifier.equal("1", " ")
    assert verifier.matches(None, ["1", None]).tolist() == [False, False]


def test_classes(verifier):
    given = ["1/2", "x+1", None, "0.5", "1+x", r"\frac{1}{2}", "", "Yes", r"\sqrt{1}", "1", "yes"]
    codes = equivalence_classes(given, verifier=verifier).tolist()
    assert codes == [0, 1, -1, 0, 1, 0, -1, 2, 3, 3, 2]
    assert equivalence_classes([]).tolist() == []


def test_exact_equality_needs_no_library(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with AnswerVerifier(equality="exact") as exact:
        assert exact.codes(["x+1", "1+x", " x+1 "]).tolist() == [0, 1, 0]
    with AnswerVerifier() as verifier:
        assert verifier.codes(["1/2", "0.5", "yes"]).tolist() == [0, 0, 1]
        with pytest.raises(MissingPackageError, match=r"gradatim\[llm\]"):
            verifier.equal("x+1", "1+x")


def test_what_takes_too_long_is_unequal_and_counted():
    with AnswerVerifier(timeout=1.0) as verifier:
        found = verifier.matches("2", ["9^{9^{9^9}}", r"\sqrt{4}"])
        assert found.tolist() == [False, True] and verifier.undecided == 1


def test_threads_and_no_signal_is_touched():
    before = signal.getsignal(signal.SIGALRM)
    with AnswerVerifier(timeout=30) as verifier, ThreadPoolExecutor(4) as threads:
        told = list(threads.map(lambda n: verifier.equal(f"x+{n}", f"{n}+x"), range(12)))
    assert all(told) and signal.getsignal(signal.SIGALRM) is before
    assert threading.active_count() < 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_a_worker_of_its_own(verifier):
    assert verifier.equal("x+1", "1+x")
    child = os.fork()
    if child == 0:
        os._exit(0 if verifier.equal("y+1", "1+y") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert verifier.equal("z+1", "1+z")


def test_a_worker_that_dies_is_replaced(verifier):
    assert verifier.equal("x+1", "1+x")
    verifier._worker._process.kill()
    verifier._worker._process.wait()
    assert verifier.equal("x+2", "2+x")


def test_a_worker_that_cannot_start_is_told(monkeypatch, tmp_path):
    (tmp_path / "answer_worker.py").write_text("raise ImportError")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "answers.py"))
    with AnswerVerifier() as verifier, pytest.raises(MissingPackageError, match="did not start"):
        verifier.equal("x+1", "1+x")


def test_arguments_are_checked():
    with pytest.raises(InputError, match="equality: expected one of math, exact"):
        AnswerVerifier(equality="fuzzy")
    with pytest.raises(InputError, match="timeout"):
        AnswerVerifier(timeout=0)
