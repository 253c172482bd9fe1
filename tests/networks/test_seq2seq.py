"""The encoder-decoder transformer against an attention written out, and its decoding."""

import itertools
import math

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.sampling import right_padded
from gradatim.networks.seq2seq import Seq2SeqTransformer, sinusoids

ROWS = [[1, 2, 3, 4, 5, 6, 7], [8, 9], [3, 3, 3, 10]]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def network(seed=0, **options):
    torch.manual_seed(seed)
    options = {"hidden_size": 8, "layers": 2, "heads": 2, "feed_forward": 12, **options}
    model = Seq2SeqTransformer(11, 6, max_distance=options.pop("max_distance", 2), **options)
    for name, weights in model.named_parameters():
        if "norm" not in name and weights.ndim == 2:
            torch.nn.init.normal_(weights, std=0.4)
    return model.eval()


def attend(layer, queries, memory, allowed, distances):
    """Attention of one row by loops over heads, queries and keys."""
    width = queries.shape[1] // layer.heads
    q, (k, v) = layer.query(queries), layer.key_value(memory).chunk(2, dim=1)
    rows = []
    for i in range(len(queries)):
        parts = []
        for head in range(layer.heads):
            cut = slice(head * width, (head + 1) * width)
            seen = [j for j in range(len(memory)) if allowed(i, j)]
            places = [
                layer.relative.weight[max(-2, min(2, j - i)) + 2] if distances else 0.0
                for j in seen
            ]
            scores = torch.stack([
                (q[i, cut] * (k[j, cut] + a)).sum() / math.sqrt(width)
                for j, a in zip(seen, places, strict=True)
            ])  # fmt: skip
            weights = scores.softmax(dim=0)
            parts.append(
                sum(w * (v[j, cut] + a) for w, j, a in zip(weights, seen, places, strict=True))
            )
        rows.append(torch.cat(parts))
    return layer.out(torch.stack(rows))


def by_hand(model, source, target):
    """Logits of one row without padding."""

    def inputs(embedding, tokens):
        places = torch.zeros(len(tokens), 8)
        for t, i in itertools.product(range(len(tokens)), range(4)):
            angle = t / 10_000 ** (2 * i / 8)
            places[t, 2 * i], places[t, 2 * i + 1] = math.sin(angle), math.cos(angle)
        return embedding(torch.tensor(tokens)) * math.sqrt(8) + places

    def feed(block, x):
        return x + block.down(block.up(block.before_feed(x)).relu())

    x = inputs(model.source_embedding, source)
    for block in model.encoder:
        normed = block.before_own(x)
        x = feed(block, x + attend(block.own, normed, normed, lambda i, j: True, True))
    memory = model.encoder_norm(x)
    y = inputs(model.target_embedding, target)
    for block in model.decoder:
        normed = block.before_own(y)
        y = y + attend(block.own, normed, normed, lambda i, j: j <= i, True)
        crossed = attend(block.cross, block.before_cross(y), memory, lambda i, j: True, False)
        y = feed(block, y + crossed)
    return model.head(model.decoder_norm(y))


def test_logits_equal_those_written_out_whatever_the_padding():
    model = network()
    targets = [[1, 2, 3, 4, 5], [1], [1, 5, 5]]
    source, mask = right_padded(ROWS)
    source = torch.nn.functional.pad(source.masked_fill(~mask, 5), (0, 3), value=7)
    mask = torch.nn.functional.pad(mask, (0, 3), value=False)
    target, there = right_padded(targets)
    logits = model(source, mask, target.masked_fill(~there, 2))
    for row, (words, symbols) in enumerate(zip(ROWS, targets, strict=True)):
        expected = by_hand(model, words, symbols)
        torch.testing.assert_close(logits[row, : len(symbols)], expected, **CLOSE)


def test_without_relative_positions_only_sinusoids_tell_the_order():
    model = network(max_distance=0)
    assert not any("relative" in name for name, _ in model.named_parameters())
    source, mask = right_padded([[1, 2, 3], [3, 2, 1]])
    outputs = model(source, mask, torch.tensor([[1], [1]]))
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


def test_no_target_sees_a_later_one():
    model = network()
    source, mask = right_padded(ROWS[:1])
    before = model(source, mask, torch.tensor([[1, 2, 3, 4]]))
    after = model(source, mask, torch.tensor([[1, 2, 5, 4]]))
    torch.testing.assert_close(before[:, :2], after[:, :2], rtol=0, atol=0)
    assert (before[:, 2:] - after[:, 2:]).abs().amax(dim=2).min() > 1e-3


def greedy(model, words, longest):
    """Greedy decoding of one row that reads everything anew at each step."""
    source, mask = right_padded([words])
    target = [1]
    while len(target) <= longest and target[-1] != 0:
        target.append(int(model(source, mask, torch.tensor([target]))[0, -1].argmax()))
    return target[1:]


@pytest.mark.parametrize("seed", range(4))
def test_greedy_decoding_equals_reading_everything_anew(seed):
    model = network(seed)
    found = model.generate(*right_padded(ROWS), begin=1, end=0, longest=9)
    alone = [greedy(model, words, 9) for words in ROWS]
    width = max(map(len, alone))
    assert found.tolist() == [row + [0] * (width - len(row)) for row in alone]


def log_probability(model, words, target):
    source, mask = right_padded([words])
    read = torch.tensor([[1, *target[:-1]]])
    steps = model(source, mask, read).log_softmax(dim=2)[0]
    return float(steps[torch.arange(len(target)), torch.tensor(target)].detach().sum())


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_likeliest_of_all_targets(seed):
    model = network(seed)  # of 6 tokens: after one of them a beam of 6 has dropped nothing
    every = [
        target
        for target in itertools.product(range(6), repeat=2)
        if target[0] != 0 or target == (0, 0)
    ]
    for words in ROWS:
        found = model.generate(*right_padded([words]), begin=1, end=0, longest=2, beams=6)[0]
        ended = [list(t) if t[0] else [0] for t in every]
        best = max(ended, key=lambda target: log_probability(model, words, target))
        assert found.tolist()[: len(best)] == best


def test_it_learns_to_turn_sequences_round():
    torch.manual_seed(0)
    model = Seq2SeqTransformer(8, 8, hidden_size=32, layers=1, heads=2, feed_forward=64, dropout=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    words = torch.randint(2, 8, (512, 4))
    turned = words.flip(1)
    begin = torch.ones(512, 1, dtype=torch.long)
    for step in range(100):
        rows = torch.arange(64) + 64 * (step % 7)
        read = torch.cat([begin, turned], dim=1)[rows, :-1]
        logits = model(words[rows], words[rows] > 0, read)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), turned[rows].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fresh = model.eval().generate(words[448:], words[448:] > 0, begin=1, end=0, longest=4)
    assert (fresh == turned[448:]).all(dim=1).float().mean() > 0.9


def test_sinusoids_at_long_range_are_finite_and_differ():
    places = sinusoids(2000, 16)
    assert places.shape == (2000, 16) and places.abs().max() <= 1
    assert torch.pdist(places).min() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [({"hidden_size": 9}, "hidden_size"), ({"hidden_size": 6, "heads": 4}, "hidden_size"),
     ({"layers": 0}, "layers"), ({"dropout": 1.0}, "dropout"), ({"max_distance": -1}, "max_dist")],
)  # fmt: skip
def test_wrong_sizes(options, message):
    with pytest.raises(InputError, match=message):
        Seq2SeqTransformer(5, 5, **options)


def test_wrong_inputs():
    model = network()
    source, mask = right_padded(ROWS)
    with pytest.raises(InputError, match="source_mask: expected the shape of source"):
        model(source, mask[:2], torch.ones(3, 1, dtype=torch.long))
    with pytest.raises(InputError, match=r"target: expected shape \[3, T\]"):
        model(source, mask, torch.ones(2, 1, dtype=torch.long))
    with pytest.raises(InputError, match="longest"):
        model.generate(source, mask, begin=1, end=0, longest=0)
    with pytest.raises(InputError, match="beams"):
        model.generate(source, mask, begin=1, end=0, longest=2, beams=7)
    with pytest.raises(InputError, match="end"):
        model.generate(source, mask, begin=1, end=6, longest=2)
    with pytest.raises(InputError, match="width: expected an even number"):
        sinusoids(3, 5)
