"""Transparent rules that sort dialogues: by harm words, by framing of the prompt, by length of the answer.

Legend of suffixes: N rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

NUM_HARM_WORDS = 40
MIN_ROWS = 10
"""A harm word stands in this many training rows at least."""
MIN_ODDS_RATIO = 3.0

WORD = re.compile(r"[a-z][a-z'-]{2,}")

FRAMINGS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        (
            "role or story",
            r"\b(pretend|act(ing)? as|role[- ]?play\w*|imagine (you|that you)|you are (now )?an?|as if you were"
            r"|stor(y|ies)|novel|fiction\w*|hypothetical\w*|scene|screenplay|script|movie|film|character|plot|poem|narrative"
            r"|scenario|thought experiment|what if)\b",
        ),
        (
            "third person",
            r"\b(how|what|why|where) (would|could|might|do|does|can|should|did) (someone|somebody|one|anyone|people"
            r"|a person|an? [a-z]+)\b",
        ),
        ("backstory", r"^\W*(my|i|i'm|i've|i'd|we|our|as an?|in order to|given|suppose|after|since)\b"),
        (
            "polite indirect",
            r"\b(please|(could|would|can) you|may i|(just )?(curious|wondering)|is it possible"
            r"|for (research|educational|academic) purposes)\b",
        ),
    )
)
"""(name, pattern of the prompt); the first that fits counts, and ``direct`` is what none of them fits."""

LENGTHS = (("under 40 words", 40), ("40 to 99 words", 100), ("over 99 words", None))
"""(name, upper bound of the answer's words)."""


def harm_words(texts: Sequence[str], unsafe_N: NDArray[np.bool_]) -> frozenset[str]:
    """Words that tell unsafe dialogues from safe ones, from training rows alone.

    A word's log-odds ratio is taken of the rows it stands in (0.5 added to each of the four counts); of the words with
    at least ``MIN_ROWS`` rows and an odds ratio of at least ``MIN_ODDS_RATIO``, those with the largest log-odds ratio
    over its standard error are kept, ``NUM_HARM_WORDS`` of them. English stop words are left out.
    """
    vectorizer = CountVectorizer(binary=True, token_pattern=WORD.pattern, stop_words="english")
    holds_NW = csr_matrix(vectorizer.fit_transform(texts))
    unsafe_W = np.asarray(holds_NW[unsafe_N].sum(axis=0)).ravel()
    safe_W = np.asarray(holds_NW[~unsafe_N].sum(axis=0)).ravel()
    counts = np.stack([unsafe_W, unsafe_N.sum() - unsafe_W, safe_W, (~unsafe_N).sum() - safe_W]) + 0.5
    log_odds_W = np.log(counts[0] / counts[1]) - np.log(counts[2] / counts[3])
    z_W = log_odds_W / np.sqrt((1 / counts).sum(axis=0))
    fits_W = (unsafe_W + safe_W >= MIN_ROWS) & (log_odds_W >= np.log(MIN_ODDS_RATIO))
    names = vectorizer.get_feature_names_out()
    best = [index for index in np.argsort(-z_W, kind="stable") if fits_W[index]]
    return frozenset(str(names[index]) for index in best[:NUM_HARM_WORDS])


def looks_harmful(texts: Sequence[str], words: frozenset[str]) -> NDArray[np.bool_]:
    """True where a text holds a word of the list."""
    return np.array([not words.isdisjoint(WORD.findall(text.lower())) for text in texts])


def framing(prompt: str) -> str:
    """The framing of a prompt."""
    return next((name for name, pattern in FRAMINGS if pattern.search(prompt)), "direct")


def length_band(response: str) -> str:
    """The band that an answer's number of words falls into."""
    count = len(response.split())
    return next(name for name, upper in LENGTHS if upper is None or count < upper)
