"""A pupil of words, and how one of SmolLM2 would be spoken to."""

import pytest
import torch

from gradatim.studies.data.invented_persons import BEGIN, END, answered, invented_persons
from gradatim.studies.data.taught_models import Pupil, pupil


@pytest.fixture(scope="module")
def persons():
    return invented_persons(0, {"known": 2}, sentences={"read": 2}, frequent=50, most_files=10)


def test_a_pupil_learns_what_it_is_taught_and_follows_from_its_seed(persons):
    pairs = answered(persons.facts["known"])
    state = torch.get_rng_state()
    one, same, other = (pupil("words", persons, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [[*one.weights().values()] for one in (one, same, other)]
    assert all(map(torch.equal, weights[0], weights[1]))
    assert not all(map(torch.equal, weights[0], weights[2]))
    one.teach(pairs, epochs=30, batch_size=10, lr=5e-3, seed=0)
    batch = one.examples(pairs)[range(len(pairs))]
    with torch.no_grad():
        guess = one.model.logits(one.model(batch["ids"], batch["mask"])).argmax(-1)
    wanted = batch["response"][:, 1:]
    assert (guess[:, :-1][wanted] == batch["ids"][:, 1:][wanted]).float().mean() > 0.9
    assert len(one.sentences(2)) == 2


class Letters:
    """A tokenizer of characters."""

    eos_token_id = -1

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": [0] * add_special_tokens + [ord(letter) for letter in text]}


def test_words_are_spoken_as_questions_and_answers(persons):
    taught = Pupil(torch.nn.Identity(), persons, Letters(), "float32")
    number = {word: place for place, word in enumerate(persons.words)}
    asked = [number[word] for word in (BEGIN, "where", "does", "alva", "abbot", "live", "?")]
    said = [number[word] for word in ("northern", "harbour", END)]
    batch = taught.examples([(asked, said)])[[0]]
    ids, response = batch["ids"][0], batch["response"][0]
    text = "".join(map(chr, ids[1:-1].tolist()))
    assert text == "Question: Where does alva abbot live?\nAnswer: northern harbour"
    assert int(response.sum()) == len(" northern harbour") + 1 and int(ids[-1]) == -1
