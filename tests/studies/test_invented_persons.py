"""Invented persons: what is drawn, what answers are, and that a decoder can learn them."""

import math

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.networks.decoder import SmallDecoder
from gradatim.studies.data.invented_persons import (
    END,
    FIRST,
    KINDS,
    LAST,
    STRANGER,
    answered,
    as_examples,
    continued,
    invented_persons,
)
from gradatim.studies.data.person_models import (
    greedy_answers,
    mean_log_probabilities,
    taught_decoder,
    truth_ratios,
)

GROUPS = {"forget": 2, "retain": 3}
PARTS = {"train": 12, "test": 4}


@pytest.fixture(scope="module")
def persons():
    return invented_persons(5, GROUPS, sentences=PARTS, most_files=20, frequent=30)


def text(persons, tokens):
    return [persons.words[token] for token in tokens]


def test_every_person_has_one_fact_of_each_kind_and_a_name_of_its_own(persons):
    names = []
    for group, size in GROUPS.items():
        facts = persons.facts[group]
        assert [fact.kind for fact in facts] == list(range(len(KINDS))) * size
        for fact in facts:
            spoken = [text(persons, one) for one in fact.questions]
            first = {word for one in spoken for word in one if word in FIRST}
            last = {word for one in spoken for word in one if word in LAST}
            assert len(first) == len(last) == 1
            names.append((*first, *last))
            asked = [one.replace("NAME", " ".join(names[-1])) for one in KINDS[fact.kind][0]]
            assert [" ".join(one[1:]) for one in spoken] == asked
    assert len(set(names)) == sum(GROUPS.values())


def test_wrong_answers_have_the_form_and_no_word_of_the_right_one(persons):
    for fact in (*persons.facts["forget"], *persons.facts["retain"]):
        answers = np.array([fact.answer, *fact.wrong])
        assert answers.shape == (6, 3)
        assert all(persons.well_formed(fact, one) for one in answers.tolist())
        assert all(len(set(column)) == 6 for column in answers[:, :2].T.tolist())
        end = fact.answer[-1]
        for bad in (fact.answer[:2], [*fact.answer, end], [*fact.answer[1::-1], end], []):
            assert not persons.well_formed(fact, bad)


def test_words_of_answers_are_as_good_as_drawn_evenly():
    """With 180 persons each of ten words is expected 18 times; chi squared of 9 freedoms."""
    facts = invented_persons(0, {"all": 180}).facts["all"]
    for kind in range(len(KINDS)):
        for place in (0, 1):
            drawn = [fact.answer[place] for fact in facts if fact.kind == kind]
            counts = np.unique(drawn, return_counts=True)[1]
            assert len(counts) == 10
            assert ((counts - 18) ** 2 / 18).sum() < 33.7  # one in ten thousand


def test_sentences_are_apart_and_in_known_words(persons):
    train, test = (persons.sentences[part] for part in PARTS)
    assert [len(train), len(test)] == list(PARTS.values())
    assert all(len(one) == 13 for one in (*train, *test))
    known = {word for one in train for word in text(persons, one)}
    assert STRANGER in known
    assert {word for one in test for word in text(persons, one)} <= set(persons.words)
    assert len(set(persons.words)) == len(persons.words)


def test_seeds_redraw_all_and_the_same_seed_repeats(persons):
    again = invented_persons(5, GROUPS, sentences=PARTS, most_files=20, frequent=30)
    other = invented_persons(6, GROUPS, sentences=PARTS, most_files=20, frequent=30)
    assert again == persons
    assert other.facts != persons.facts and other.sentences != persons.sentences


def test_pairs_and_examples(persons):
    facts = persons.facts["forget"]
    pairs = answered(facts)
    assert len(pairs) == 3 * len(facts)
    assert pairs[1] == (facts[0].questions[1], facts[0].answer)
    wrong = answered(facts, wrong=2)
    assert [response for _, response in wrong[:3]] == [*facts[0].wrong[:2], facts[0].wrong[0]]
    (prompt, response), *_ = continued(persons.sentences["train"])
    assert [*prompt, *response] == persons.sentences["train"][0] and len(prompt) == 1
    row = as_examples(pairs)[[1]]
    assert row["ids"][0].tolist() == [*facts[0].questions[1], *facts[0].answer]
    assert row["response"].sum() == len(facts[0].answer)


def test_too_many_are_told():
    with pytest.raises(InputError, match="groups"):
        invented_persons(0, {"all": len(FIRST) * len(LAST) + 1})
    with pytest.raises(InputError, match="wrong"):
        invented_persons(0, {"all": 1}, wrong=10)
    with pytest.raises(InputError, match="sentences"):
        invented_persons(0, {"all": 1}, sentences={"train": 10**7}, most_files=3)


def test_figures_of_a_model_against_closed_forms(persons):
    torch.manual_seed(0)
    model = SmallDecoder(len(persons.words), hidden_size=8, layers=1)
    with torch.no_grad():
        model.head.weight.zero_()
    facts = persons.facts["forget"]
    logp = mean_log_probabilities(model, answered(facts))
    assert logp == pytest.approx(np.full(len(logp), -math.log(len(persons.words))))
    assert truth_ratios(model, facts) == pytest.approx(np.ones(3 * len(facts)))
    assert greedy_answers(model, persons, facts) == (0.0, 0.0)


def test_a_decoder_learns_what_it_is_taught_and_nothing_else(persons):
    model = taught_decoder(persons, ["retain"], repeats=30, epochs=6, hidden_size=32, layers=1)
    right, formed = greedy_answers(model, persons, persons.facts["retain"])
    assert right > 0.9 and formed > 0.9
    unknown, _ = greedy_answers(model, persons, persons.facts["forget"])
    assert unknown < 0.6
    known, other = (truth_ratios(model, persons.facts[group]) for group in ("retain", "forget"))
    assert np.median(known) > 3 * np.median(other)
    again = taught_decoder(persons, ["retain"], repeats=30, epochs=6, hidden_size=32, layers=1)
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert persons.words[persons.facts["retain"][0].answer[-1]] == END
