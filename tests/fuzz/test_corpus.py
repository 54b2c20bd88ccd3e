"""The corpus of the fuzzer, its seeds, and mutations of both: nothing in them may reach a fault again."""

import random

import pytest

from tests.fuzz import CORPUS
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS, as_chain, records_of

FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


def test_the_corpus_is_there_and_small():
    assert {path.parent.name for path in FILES} == set(TARGETS)
    assert sum(path.stat().st_size for path in FILES) < 300_000


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_what_the_fuzzer_kept_is_met_with_refusal_at_most(name):
    for path in (CORPUS / name).iterdir():
        TARGETS[name](path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_small_changes_of_them_are_met_with_refusal_at_most(name):
    random_ = random.Random(0)
    for seed in SEEDS[name]():
        TARGETS[name](seed)
        for _ in range(5):
            TARGETS[name](_changed(seed, random_))


def _changed(data: bytes, random_: random.Random) -> bytes:
    """`data` with a byte changed, a piece cut out, or a piece said twice."""
    at, size = random_.randrange(1, len(data)), random_.randrange(1, 20)
    return {
        0: data[:at] + bytes([random_.randrange(256)]) + data[at + 1 :],
        1: data[:at] + data[at + size :],
        2: data[:at] + data[at : at + size] * 2 + data[at + size :],
    }[random_.randrange(3)]


def test_chains_of_records_come_back():
    payloads = [b"", b"a", b"bc" * 400]
    assert list(records_of(as_chain(payloads))) == payloads
