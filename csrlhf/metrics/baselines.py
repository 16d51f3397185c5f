"""What a model that understands nothing reaches: a linear classifier on words and word pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


def bag_of_words(train_texts: Sequence[str], train_unsafe: Sequence[bool], texts: Sequence[str]) -> NDArray[np.float64]:
    """P(unsafe) of ``texts`` by logistic regression on TF-IDF weights of words and word pairs.

    Args:
        train_texts: prompt and response of each training row, as one text.
        train_unsafe: their labels.
        texts: what to judge.

    Returns:
        One probability per text; the training share everywhere where training knows one class only, or no word
        occurs twice.
    """
    if len(set(train_unsafe)) < 2:
        return np.full(len(texts), float(np.mean(train_unsafe)))
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        LogisticRegression(C=10.0, max_iter=2000),
    )
    try:
        model.fit(train_texts, np.asarray(train_unsafe))
    except ValueError:  # scikit-learn's answer to an empty vocabulary
        return np.full(len(texts), float(np.mean(train_unsafe)))
    return model.predict_proba(texts)[:, 1]
