"""Trainers collect garbage each time they begin; here they need not look at what is imported."""

import gc

import pytest


@pytest.fixture(autouse=True)
def frozen_garbage():
    gc.freeze()
    yield
    gc.unfreeze()
