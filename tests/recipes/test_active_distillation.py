import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from gradatim.core.errors import InputError
from gradatim.difficulty.prediction_uncertainty import top_two_margin
from gradatim.networks.reference import MLP
from gradatim.recipes.active_distillation import ActiveDistiller
from gradatim.recipes.soft_label_students import (
    EstimatorStudent,
    NetworkStudent,
    as_student,
    teacher_probabilities,
)
from gradatim.selection.query_selectors import (
    KCenterSelector,
    RobustSelector,
    TopKSelector,
    UniformSelector,
    wrong_labels,
)

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
TEACHER = LogisticRegression(max_iter=200).fit(X[600:900], Y[600:900])


def student():
    return LogisticRegression(C=10.0, max_iter=200)


def distil(selector, make=student, seed=0, x=X, teacher=TEACHER, **options):
    settings = {"rounds": 3, "budget": 20, "seed": seed, **options}
    return ActiveDistiller(make, teacher, selector, **settings).fit(
        x[100:500], x[:40], Y[:40], held_out=(x[500:600], Y[500:600]), classes=10
    )


@pytest.mark.parametrize(
    "selector",
    [UniformSelector(), TopKSelector(), KCenterSelector(), RobustSelector()],
    ids=lambda one: type(one).__name__,
)
def test_rounds_ask_for_different_points_and_learn_from_them(selector):
    found = distil(selector)
    asked = np.concatenate(found.queries)
    assert len(found.queries) == 3 and len(set(asked.tolist())) == 60
    for rows, said in zip(found.queries, found.soft_labels, strict=True):
        np.testing.assert_allclose(said, TEACHER.predict_proba(X[100:500][rows]))
    wrong = (TEACHER.predict(X[100:500][asked]) != Y[100:500][asked]).mean()
    assert found.wrong_share(Y[100:500]) == pytest.approx(wrong)
    accuracy = (TEACHER.predict(X[500:600]) == Y[500:600]).mean()
    assert found.num_wrong == [wrong_labels(accuracy, 400 - 20 * done) for done in range(3)]
    again = distil(selector)
    assert [rows.tolist() for rows in again.queries] == [rows.tolist() for rows in found.queries]


def test_the_first_queries_are_those_of_the_initial_student():
    first = EstimatorStudent(student(), 10)
    first.learn(X[:40], np.eye(10)[Y[:40]], seed=0)
    gains = top_two_margin(torch.from_numpy(first.probabilities(X[100:500]))).numpy()
    found = distil(TopKSelector())
    assert set(found.queries[0]) == set(np.argsort(-gains)[:20])
    assert np.sort(found.gains[0]) == pytest.approx(np.sort(gains)[-20:])
    entropy = distil(TopKSelector(), gain="entropy")
    assert set(entropy.queries[0]) != set(found.queries[0])
    own = distil(TopKSelector(), gain=lambda p: p[:, 3])
    assert found.queries[0].tolist() != own.queries[0].tolist()


def test_students_get_better_by_a_better_teacher():
    found = ActiveDistiller(student, TEACHER, UniformSelector(), rounds=4, budget=40).fit(
        X[100:500],
        X[:30],
        Y[:30],
        evaluate=lambda s: {"accuracy": (s.probabilities(X[900:]).argmax(1) == Y[900:]).mean()},
    )
    accuracies = [one["accuracy"] for one in found.figures]
    assert len(accuracies) == 5 and accuracies[-1] > accuracies[0] + 0.05
    assert found.num_wrong == [None] * 4


def test_modules_tensors_and_images():
    images = torch.from_numpy(X).reshape(-1, 1, 8, 8)
    network = MLP((64, 32, 10))
    found = distil(
        KCenterSelector(),
        lambda: MLP((64, 16, 10)),
        x=images,
        teacher=network,
        rounds=2,
        train={"epochs": 2},
    )
    assert network.training  # as it was
    rows = torch.from_numpy(found.queries[1])
    with torch.no_grad():
        want = network.eval()(images[100:500][rows]).double().softmax(1)
    assert found.soft_labels[1] == pytest.approx(want.numpy(), abs=1e-6)
    assert isinstance(found.student, NetworkStudent) and found.student.epochs == 2


def test_a_network_learns_soft_labels():
    targets = np.array([[0.7, 0.3], [0.2, 0.8]])
    one = NetworkStudent(torch.nn.Linear(2, 2), lambda p: torch.optim.Adam(p, 0.1), epochs=200)
    one.learn(np.eye(2, dtype=np.float64), targets, seed=0)
    assert one.probabilities(np.eye(2)) == pytest.approx(targets, abs=0.02)


def test_an_estimator_learns_soft_labels_as_weights():
    targets = np.array([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0]])
    one = EstimatorStudent(LogisticRegression(C=1e6), 3)
    one.learn(np.eye(2), targets, seed=0)
    assert one.probabilities(np.eye(2)) == pytest.approx(targets, abs=0.01)
    near = EstimatorStudent(KNeighborsClassifier(1), 3)  # takes no weights
    near.learn(np.eye(2), targets, seed=0)
    assert near.probabilities(np.eye(2)).argmax(1).tolist() == [0, 1]


def test_anything_that_learns_is_a_student():
    class Constant:
        def learn(self, inputs, targets, seed):
            self.mean = targets.mean(0)

        def probabilities(self, inputs):
            return np.tile(self.mean, (len(inputs), 1))

    found = distil(UniformSelector(), Constant)
    assert isinstance(found.student, Constant) and found.student.mean.sum() == pytest.approx(1)
    assert teacher_probabilities(found.student, X[:2]).shape == (2, 10)
    with pytest.raises(InputError, match="student: expected a module, a classifier"):
        as_student(object(), 2, {})


@pytest.mark.parametrize(
    ("options", "fit", "told"),
    [
        ({"rounds": 9, "budget": 50}, {}, "pool: expected at least 450 examples for 9 rounds of 5"),
        ({"rounds": 0}, {}, "rounds"),
        ({"gain": "loss"}, {}, "gain: expected margin, entropy or a function, got 'loss'"),
        ({}, {"labels": [0] * 39}, "labelled has 40, labels has 39"),
        ({}, {"labels": [0] * 39 + [10]}, "labels: expected classes from 0 to 9, got 0 to 10"),
        ({}, {"teacher_accuracy": 0.5, "held_out": (X[:2], Y[:2])}, "expected one of them"),
        ({}, {"teacher_accuracy": 1.5}, "teacher_accuracy"),
        ({}, {}, "num_wrong: expected how many"),
        ({"teacher": lambda x: np.ones((len(x), 10))}, {}, "teacher: expected prob.* sum of 10 at"),
        ({"teacher": lambda x: np.ones(len(x))}, {}, r"teacher: .* shape \[n, C\], got shape"),
    ],
)
def test_bad_input(options, fit, told):
    teacher = options.pop("teacher", TEACHER)
    labels = fit.pop("labels", Y[:40])
    with pytest.raises(InputError, match=told):
        ActiveDistiller(student, teacher, RobustSelector(), **options).fit(
            X[100:500], X[:40], labels, **fit
        )
