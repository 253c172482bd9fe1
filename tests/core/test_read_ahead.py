"""Parsing in threads ahead of the reader, who may give up at any point."""

import threading

import pytest

from gradatim.core.errors import InputError
from gradatim.core.io.text_blocks import read_ahead


def test_blocks_come_in_order_with_their_results():
    pairs = [(block, future.result()) for block, future in read_ahead(str, iter(range(40)))]
    assert pairs == [(number, str(number)) for number in range(40)]


def test_an_error_of_the_blocks_comes_in_its_turn():
    def blocks():
        yield 1
        raise InputError("broken")

    parts = read_ahead(str, blocks())
    assert next(parts)[1].result() == "1"
    with pytest.raises(InputError, match="broken"):
        next(parts)


@pytest.mark.timeout(20)
def test_giving_up_waits_for_no_thread():
    stuck = threading.Event()
    parts = read_ahead(lambda block: stuck.wait(), iter(range(100)))
    next(parts)
    parts.close()
    assert not stuck.is_set()
    stuck.set()
