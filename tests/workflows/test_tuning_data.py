"""Data sets in every usual form as tokens, against the same by hand."""

import json

import datasets
import pandas as pd
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.log_probabilities import sequence_log_probabilities
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.training.fit import fit
from gradatim.training.token_batches import TokenBatches
from gradatim.workflows.tuning_data import tuning_data
from tests.workflows.score_data import tiny, write_jsonl

USER, BOT = ({"role": role} for role in ("user", "assistant"))


def said(*texts):
    return [{**(USER, BOT)[n % 2], "content": text} for n, text in enumerate(texts)]


def learned(model, examples, row):
    """The text that is learned of an example."""
    batch = examples[[row]]
    return model.tokenizer.decode(batch["ids"][batch["response"]])


def whole(model, examples, row):
    batch = examples[[row]]
    return model.tokenizer.decode(batch["ids"][batch["mask"]])


def test_conversations_learn_every_turn_of_the_assistant():
    model = tiny(chat=True)
    turns = said("2+3", "5", "7+1", "8")
    found = tuning_data(pd.DataFrame({"messages": [turns]}), model)
    text = model.tokenizer.apply_chat_template(turns, tokenize=False)
    assert whole(model, found.examples, 0) == text
    waiting = [
        model.tokenizer.apply_chat_template(turns[:n], tokenize=False, add_generation_prompt=True)
        for n in (1, 3)
    ]
    behind = [model.tokenizer.apply_chat_template(turns[:n], tokenize=False) for n in (2, 4)]
    wanted = "".join(b[len(w) :].rstrip() for w, b in zip(waiting, behind, strict=True))
    assert learned(model, found.examples, 0) == wanted
    assert found.lengths.tolist() == [len(model.tokenizer(text)["input_ids"])]
    assert not found.preferences


@pytest.mark.parametrize(
    ("data", "prompt", "completion"),
    [
        ({"prompt": "2+3=", "completion": "5"}, "2+3=", "5<end>"),
        ({"question": "2+3?", "answer": "5"}, "2+3?\n", "5<end>"),
        ({"text": "2+3=5"}, "", "2+3=5<end>"),
    ],
)
def test_text_is_read_as_it_is_and_closed(data, prompt, completion):
    model = tiny()
    found = tuning_data(pd.DataFrame([data]), model)
    assert whole(model, found.examples, 0) == prompt + completion
    assert learned(model, found.examples, 0) == completion


@pytest.mark.parametrize("explicit", [True, False])
def test_preferences_share_their_prompt(explicit, tmp_path):
    model = tiny(chat=True)
    prompt, sides = said("2+3"), [said("2+3", text)[1:] for text in ("5", "66")]
    row = {"chosen": sides[0], "rejected": sides[1]}
    row = {"prompt": prompt, **row} if explicit else {k: prompt + v for k, v in row.items()}
    found = tuning_data(write_jsonl(tmp_path / "pairs.jsonl", [row, row]), model)
    batch = found.examples[[1]]
    waiting = model.tokenizer.apply_chat_template(
        prompt, tokenize=False, add_generation_prompt=True
    )
    for side, turns in zip(("chosen", "rejected"), sides, strict=True):
        text = model.tokenizer.apply_chat_template(prompt + turns, tokenize=False).rstrip()
        ids, response = batch[f"{side}_ids"][0], batch[f"{side}_response"][0]
        assert model.tokenizer.decode(ids[batch[f"{side}_mask"][0]]) == text
        assert model.tokenizer.decode(ids[response]) == text[len(waiting) :]
    assert found.preferences and found.rows == [0, 1]
    values = sequence_log_probabilities(
        model.model, batch["chosen_ids"], batch["chosen_mask"], batch["chosen_response"]
    )
    assert bool(values < 0)


def test_text_pairs_without_a_prompt_are_cut_where_they_part():
    model = tiny()
    pair = {"chosen": "2+3 is 5", "rejected": "2+3 is 66"}
    found = tuning_data(datasets.Dataset.from_list([pair]), model)
    batch = found.examples[[0]]
    assert model.tokenizer.decode(batch["chosen_ids"][batch["chosen_response"]]) == "5<end>"
    assert model.tokenizer.decode(batch["rejected_ids"][batch["rejected_response"]]) == "66<end>"


def test_too_long_rows_are_told_skipped_or_cut():
    model = tiny()
    data = pd.DataFrame({"prompt": ["1+1=", "1" * 30], "completion": ["2", "3"]})
    with pytest.raises(InputError, match=r"row 1: has 32 tokens, more than the 10"):
        tuning_data(data, model, longest=10)
    skipped = tuning_data(data, model, longest=10, overflow="skip")
    assert (skipped.rows, skipped.skipped, len(skipped.examples)) == ([0], [1], 1)
    cut = tuning_data(data, model, longest=10, overflow="cut")
    assert cut.cut == [1] and whole(model, cut.examples, 1) == "1" * 8 + "3<end>"
    with pytest.raises(InputError, match="every row has more than the 3"):
        tuning_data(data, model, longest=3, overflow="skip")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"a": 1}, "expected messages, prompt and completion"),
        ({"messages": said("2+3")}, r"row 0, column 'messages'.*a turn of the assistant"),
        ({"prompt": "a", "completion": " "}, "row 0, column 'completion'"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "row 0, columns 'chosen' and 'rejected'"),
        (
            {"chosen": said("a", "b"), "rejected": said("c", "b")},
            "row 0: expected chosen and rejected to answer the same prompt",
        ),
    ],
)
def test_bad_rows_are_told(data, told):
    with pytest.raises(InputError, match=told):
        tuning_data(pd.DataFrame([data]), tiny(chat=True))


def test_preferences_cannot_be_cut():
    data = pd.DataFrame([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    with pytest.raises(InputError, match="overflow"):
        tuning_data(data, tiny(), overflow="cut")


def test_a_model_learns_from_it_in_batches_by_tokens(tmp_path):
    model = tiny(chat=True)
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps({"messages": said("a", t)}) + "\n" for t in ("b", "cc")))
    found = tuning_data(path, model)
    plan = TokenBatches(found.lengths, 64)
    adam = torch.optim.Adam(model.model.parameters(), 0.01)
    result = fit(model.model, found.examples, SupervisedTuning().step, optimizer=adam,
                 batches=plan, epochs=20, progress_bar=False)  # fmt: skip
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]
