"""Folds in which near-duplicate prompts stay together: else a model is tested on what it has seen.

Legend of suffixes: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import StratifiedGroupKFold

NUM_FOLDS = 5
SIMILARITY = 0.7
"""Cosine of TF-IDF vectors of character 3- to 5-grams from which on two prompts count as near duplicates."""


def prompt_groups(prompts: Sequence[str]) -> NDArray[np.int64]:
    """A group number per prompt: groups are the connected components of "is a near duplicate of"."""
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    vectors = csr_matrix(vectorizer.fit_transform(prompts))
    similarity = (vectors @ vectors.T).tocoo()
    alike = similarity.data >= SIMILARITY
    edges = csr_matrix((similarity.data[alike], (similarity.row[alike], similarity.col[alike])), similarity.shape)
    return connected_components(edges, directed=False)[1].astype(np.int64)


def fold_numbers(groups_N: NDArray[np.int64], unsafe_N: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """The fold (0 to 4) of each row: groups stay whole, each fold gets about the same share of unsafe rows."""
    folds_N = np.empty(len(groups_N), dtype=np.int64)
    splitter = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(groups_N, unsafe_N, groups_N)):
        folds_N[held_out] = fold
    return folds_N
