"""Where the records of a stretch of perf.data begin, by their 16-bit sizes alone.

A chain must be walked from its start. To do that in columns, the stretch is cut into segments, in
each a record is guessed (the first word that may begin a sample), and all are walked in lockstep. A
guess counts only if the chain before it arrives exactly there; where it does not, that segment is
walked one by one. So the result is exact, whatever the guesses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from traceview.parsers.columns import Ints, Words

SAMPLE: Final = 9
SEGMENT_WORDS: Final = 1 << 10
GUESS_WORDS: Final = 32
STEPS: Final = 8  # before it is looked whether all chains have ended
MIN_SEGMENTS: Final = 32
SIZE_SHIFT: Final = 51  # of a header: its size in words, that is in bytes from bit 48


def chain(words: Words) -> Ints:
    """Where records begin in *words*, the first of which is a header.

    A record of size 0 counts as one of a word: whoever validates the headers will find it.
    """
    segments = len(words) // SEGMENT_WORDS
    if segments < MIN_SEGMENTS:
        return _one_by_one(words, 0, len(words))[0]
    guess = _guesses(words, segments)
    stop = np.append(guess[1:], len(words))
    rows = _lockstep(words, guess, stop)
    inside = rows < stop
    last = rows[inside.sum(axis=0) - 1, np.arange(segments)]
    end = last + _sizes(words, last)
    if (end == stop)[:-1].all():
        whole: Ints = rows.T[inside.T]
        return whole
    return _joined(words, rows, guess, stop, end)


def _guesses(words: Words, segments: int) -> Ints:
    """Where the segments may begin; the first does begin at 0."""
    begin = np.arange(segments) * SEGMENT_WORDS
    looked = words.view(np.uint32)[2 * (begin[:, None] + np.arange(GUESS_WORDS))] == SAMPLE
    guess: Ints = begin + looked.argmax(axis=1)
    guess[0] = 0
    return guess


def _lockstep(words: Words, guess: Ints, stop: Ints) -> Ints:
    """The chains from each of *guess*, step by step; one that reaches its *stop* stays there."""
    rows, at = [guess], guess
    while True:
        at = np.minimum(at + _sizes(words, at), stop)
        rows.append(at)
        if len(rows) % STEPS == 0 and (at == stop).all():
            return np.array(rows)


def _sizes(words: Words, at: Ints) -> Ints:
    """The words that records at *at* have, one at least."""
    heads = words.take(at, mode="clip")  # a chain may stand at the end
    return np.maximum((heads >> SIZE_SHIFT).view(np.int64), 1)


def _joined(words: Words, rows: Ints, guess: Ints, stop: Ints, end: Ints) -> Ints:
    """The chain through the segments whose guess it meets, and one by one through the others."""
    pieces, at = [], 0
    for k, begin in enumerate(guess.tolist()):
        if at < begin:
            piece, at = _one_by_one(words, at, begin)
            pieces.append(piece)
        if at == begin:
            column = rows[:, k]
            pieces.append(column[column < stop[k]])
            at = int(end[k])
    pieces.append(_one_by_one(words, at, len(words))[0])
    return np.concatenate(pieces)


def _one_by_one(words: Words, at: int, stop: int) -> tuple[Ints, int]:
    """The chain from *at* to the first record at or behind *stop*."""
    found, halves = [], words.view(np.uint16).data
    while at < stop:
        found.append(at)
        at += halves[4 * at + 3] >> 3 or 1
    return np.array(found, dtype=np.int64), at
