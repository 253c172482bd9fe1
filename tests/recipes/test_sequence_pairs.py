"""Pairs of sequences: numbers, the loss written out, and what is decoded."""

from types import SimpleNamespace

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.networks.seq2seq import Seq2SeqTransformer
from gradatim.recipes.sequence_pairs import (
    BEGIN,
    END,
    TokenVocabulary,
    decoded_exactly,
    encode_pairs,
    sequence_step,
)
from gradatim.training.fit import fit

PAIRS = [(["a", "b"], ["B", "A"]), (["b"], ["B"]), (["a", "a", "b"], ["B", "A", "A"])]
WORDS, SYMBOLS = (TokenVocabulary(pair[side] for pair in PAIRS) for side in (0, 1))


def model(**options):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "layers": 1, "heads": 2, "feed_forward": 32, "dropout": 0.0}
    return Seq2SeqTransformer(len(WORDS), len(SYMBOLS), **{**sizes, **options})


def test_columns_are_padded_and_targets_end():
    columns = encode_pairs(PAIRS, WORDS, SYMBOLS)[[0, 1, 2]]
    assert columns["source"].tolist() == [[3, 4, 0], [4, 0, 0], [3, 3, 4]]
    assert columns["target"].tolist() == [[4, 3, END, 0], [4, END, 0, 0], [4, 3, 3, END]]


def test_numbers_depend_on_the_set_of_tokens_alone():
    again = TokenVocabulary([["b", "b"], ["a"]])
    assert again.tokens == WORDS.tokens == ("a", "b")


def test_the_loss_is_the_mean_over_pairs_of_summed_cross_entropies():
    network = model()
    batch = encode_pairs(PAIRS, WORDS, SYMBOLS)[[0, 1, 2]]
    wider = {name: torch.nn.functional.pad(column, (0, 2)) for name, column in batch.items()}
    expected = []
    for source, target in PAIRS:
        read = [BEGIN, *SYMBOLS.encode(target)]
        ids = torch.tensor([WORDS.encode(source)])
        steps = network(ids, ids > 0, torch.tensor([read])).log_softmax(dim=2)[0]
        right = [*SYMBOLS.encode(target), END]
        expected.append(-sum(steps[t, token] for t, token in enumerate(right)))
    for columns in (batch, wider):
        loss = sequence_step(network, columns, SimpleNamespace())
        torch.testing.assert_close(loss.sum, sum(expected))
        assert loss.count == 3


@pytest.mark.parametrize("beams", [1, 3])
def test_learned_pairs_are_decoded_and_others_are_not(beams):
    network, examples = model(), encode_pairs(PAIRS, WORDS, SYMBOLS)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    fit(network, examples, sequence_step, optimizer=optimizer, steps=60, progress_bar=False)
    assert decoded_exactly(network, examples, beams=beams, batch_size=2).tolist() == [True] * 3
    assert network.training
    wrong = encode_pairs([(["a", "b"], ["A", "B"]), *PAIRS[1:]], WORDS, SYMBOLS)
    assert decoded_exactly(network, wrong, beams=beams).tolist() == [False, True, True]


def test_wrong_arguments():
    with pytest.raises(InputError, match="got 'c'"):
        encode_pairs([(["c"], ["A"])], WORDS, SYMBOLS)
    with pytest.raises(InputError, match="sequences"):
        TokenVocabulary([[]])
    with pytest.raises(InputError, match="batch_size"):
        decoded_exactly(model(), encode_pairs(PAIRS, WORDS, SYMBOLS), batch_size=0)
