"""Fuzzing: targets, seeds, and the corpus that found what was mended."""

from pathlib import Path

#: What past runs have found: by target, files of bytes. They are replayed by the ordinary tests.
CORPUS = Path(__file__).parent / "corpus"
