"""The design of the pairs: balanced, split without overlap, every word learnable."""

from collections import Counter
from itertools import combinations

from csrlhf.data.source import SPLITS
from csrlhf.data.toy.oracle import STEP_WORDS
from csrlhf.data.toy.world import (
    ACTIONS,
    CATEGORIES,
    NAMES,
    OBJECT_WORDS,
    OBJECTS,
    PAIRS,
    PLACES,
    TOOLS,
    VERB_OF,
    VERBS,
    category_of,
    pairs_of,
)

AMBIGUOUS_FAMILIES = ("entry", "assault", "theft")


def test_word_classes_are_disjoint_and_words_are_not_shared_within_one():
    classes = [TOOLS, ACTIONS, OBJECT_WORDS, PLACES, STEP_WORDS, frozenset(NAMES)]
    assert [len(c) for c in classes[:4]] == [len(VERBS), len(VERBS), len(OBJECTS), len(OBJECTS)]
    for first, second in combinations(classes, 2):
        assert not first & second


def test_harm_is_the_combination_and_no_word_alone():
    kill, copy, guard = VERB_OF["kill"], VERB_OF["copy"], VERB_OF["guard"]
    dog, server, deed = (next(o for o in OBJECTS if o.word == w) for w in ("dog", "server", "deed"))
    assert category_of(kill, dog) == "harmful"
    assert category_of(kill, server) == "keyword_alike"
    assert category_of(copy, dog) == "keyword_alike"
    assert category_of(copy, deed) == "harmful"
    assert category_of(guard, dog) == category_of(guard, deed) == "benign"
    assert category_of(kill, deed) is None


def test_each_ambiguous_verb_and_object_is_as_often_harmful_as_not_in_training_pairs():
    harmful, alike = Counter(), Counter()
    for pair in PAIRS:
        if pair.split == "train" and pair.verb.family in AMBIGUOUS_FAMILIES:
            counter = harmful if pair.category == "harmful" else alike
            counter.update([pair.verb.phrase, pair.object.word])
    assert len(harmful) == 24 + 76
    for word in harmful:
        share = harmful[word] / (harmful[word] + alike[word])
        assert 1 / 3 <= share <= 2 / 3, word


def test_splits_share_no_pair_and_hold_their_share_of_every_category():
    assert len({(pair.verb.phrase, pair.object.word) for pair in PAIRS}) == len(PAIRS)
    for category in CATEGORIES:
        total = sum(len(pairs_of(split, category)) for split in SPLITS)
        for split in ("validation", "test"):
            assert 0.15 <= len(pairs_of(split, category)) / total <= 0.20


def test_every_held_out_word_is_in_training_pairs_of_the_same_category():
    for category in CATEGORIES:
        train = pairs_of("train", category)
        verbs, objects = {p.verb.phrase for p in train}, {p.object.word for p in train}
        for pair in (*pairs_of("validation", category), *pairs_of("test", category)):
            assert pair.verb.phrase in verbs
            assert pair.object.word in objects
