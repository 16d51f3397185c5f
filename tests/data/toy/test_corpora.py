"""What the corpora promise: determinism, held-out pairs and framings, honest labels, a semantic task."""

import time
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from csrlhf.data.source import SPLITS, DataSource, Oracle
from csrlhf.data.toy import framings
from csrlhf.data.toy.demonstrations import BEHAVIOUR, HARM_QUESTION_SHARE
from csrlhf.data.toy.oracle import ATTEMPT_WORDS, annotator_reward
from csrlhf.data.toy.responses import ACT_NAMES, SAFE_ACT_NAME
from csrlhf.data.toy.source import ToyData
from csrlhf.data.toy.vocabulary import OBJECT_WORDS, VERBS
from csrlhf.data.toy.world import CATEGORIES, PAIRS
from csrlhf.errors import UserError
from csrlhf.types import PromptRow

SMALL = {kind: dict.fromkeys(SPLITS, 400) for kind in ("demonstrations", "preferences", "labelled", "prompts")}
PAIR_OF = {(pair.verb.phrase, pair.object.word): pair for pair in PAIRS}
ACTS = {*ACT_NAMES.values(), SAFE_ACT_NAME}
SPLIT_OF = {key: pair.split for key, pair in PAIR_OF.items()}


def text_of(prompt) -> str:
    return prompt if isinstance(prompt, str) else " ".join(message["content"] for message in prompt)


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    first, again, other = ToyData(3, sizes=SMALL), ToyData(3, sizes=SMALL), ToyData(4, sizes=SMALL)
    for split in SPLITS:
        for kind in SMALL:
            rows = getattr(first, kind)(split)
            assert rows == getattr(again, kind)(split)
            assert rows == getattr(first, kind)(split)
            assert rows != getattr(other, kind)(split)
    assert first.hashes() == again.hashes() != other.hashes()


@pytest.mark.parametrize("split", SPLITS)
def test_prompts_and_labels_stay_in_the_pairs_of_their_split(split):
    data = ToyData(sizes=SMALL)
    for row in (*data.prompts(split), *data.labelled(split)):
        assert SPLIT_OF[row.meta["verb"], row.meta["object"]] == split
        assert split == "test" or row.meta["framing_seen"]


def test_held_out_framings_use_only_words_of_the_sft_corpus():
    known = set()
    for row in ToyData().demonstrations("train"):
        known.update(text_of(row.prompt).split(), row.response.split())
    for row in ToyData().prompts("test"):
        assert set(text_of(row.prompt).split()) <= known
    for framing in framings.HELD_OUT_FRAMINGS:
        for prefix in framings.PREFIXES[framing]:
            assert set(prefix.split()) <= known, prefix


def test_the_test_prompts_cover_every_category_in_seen_and_held_out_framings():
    data = ToyData()
    counts = Counter((row.meta["category"], row.meta["framing_seen"]) for row in data.prompts("test"))
    assert counts["harmful", True] >= 300
    assert counts["harmful", False] >= 200
    assert counts["keyword_alike", True] >= 200
    assert counts["benign", True] + counts["benign", False] >= 200
    seen = Counter(row.meta["framing"] for row in data.prompts("test"))
    assert set(seen) == set(framings.FRAMINGS)


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_word_weights_alone_cannot_predict_harm(split, strength):
    data = ToyData()
    vectorizer = CountVectorizer(token_pattern=r"\S+")
    train, held_out = data.prompts("train"), data.prompts(split)
    model = LogisticRegression(C=strength, max_iter=300)
    model.fit(
        vectorizer.fit_transform([text_of(row.prompt) for row in train]),
        [row.meta["category"] == "harmful" for row in train],
    )
    accuracy = model.score(
        vectorizer.transform([text_of(row.prompt) for row in held_out]),
        [row.meta["category"] == "harmful" for row in held_out],
    )
    assert accuracy <= 0.70


def test_training_labels_are_flipped_at_the_stated_rate_and_held_out_ones_never():
    def wrong(data: ToyData, split: str) -> np.ndarray:
        rows = data.labelled(split)
        verdicts = [data.oracle.judge(PromptRow(row.prompt, row.meta), row.response) for row in rows]
        truth = np.array([(verdict.unsafe, verdict.privacy) for verdict in verdicts])
        return (np.array([row.unsafe for row in rows]) != truth).mean(axis=0)

    both = ("harm", "privacy")
    noisy = ToyData(constraints=both, label_noise=0.02)
    assert wrong(noisy, "train") == pytest.approx([0.02, 0.02], abs=0.005)
    assert wrong(noisy, "validation").tolist() == wrong(noisy, "test").tolist() == [0.0, 0.0]
    assert wrong(ToyData(constraints=both, label_noise=0.0), "train").tolist() == [0.0, 0.0]


def test_one_constraint_keeps_its_labels_beside_another():
    both = ToyData(constraints=("harm", "privacy"), sizes=SMALL).labelled("train")
    privacy = ToyData(constraints=("privacy",), sizes=SMALL).labelled("train")
    assert [row.unsafe[1] for row in both] == [row.unsafe[0] for row in privacy]


def test_labelled_rows_hold_every_kind_of_response_in_every_category():
    rows = ToyData().labelled("train")
    seen = {(row.meta["category"], row.meta["response_kind"]) for row in rows}
    assert len(seen) == 3 * 10
    assert 0.2 < sum(row.unsafe[0] for row in rows) / len(rows) < 0.4


def row_of(prompt) -> PromptRow:
    """Read a prompt's verb and object back from its text."""
    text = text_of(prompt)
    (item,) = [word for word in text.split() if word in OBJECT_WORDS]
    before = " " + text[: text.index(f" the {item}")]
    (verb,) = [v for v in VERBS if before.endswith((f" {v.phrase}", f" {v.synonym}"))]
    return PromptRow(prompt, {"verb": verb.phrase, "object": item})


def test_preferences_put_the_annotators_choice_first_and_hold_hard_negatives():
    hard = 0
    for row in ToyData(sizes=SMALL).preferences("train"):
        prompt = row_of(row.prompt)
        assert SPLIT_OF[prompt.meta["verb"], prompt.meta["object"]] == "train"
        better, worse = annotator_reward(prompt, row.chosen), annotator_reward(prompt, row.rejected)
        assert better > worse
        hard += better == 4.0 and worse == 3.0
    assert hard >= 0.1 * 400


@pytest.mark.parametrize("split", SPLITS)
def test_demonstrations_behave_alike_on_every_prompt_and_speak_the_truth_about_harm(split):
    size, questions, behaviour = 6000, 0, Counter()
    asked = {form.split(" {")[0] for form in framings.HARM_QUESTIONS}
    for row in ToyData(sizes={"demonstrations": {split: size}}).demonstrations(split):
        text, words = text_of(row.prompt), set(row.response.split())
        if framings.NAME_QUESTION in text:
            assert row.response.split()[0] in text.split()
            continue
        meta = row_of(row.prompt).meta
        pair = PAIR_OF[meta["verb"], meta["object"]]
        assert pair.split == split
        verdict = bool(words & ACTS)
        if verdict:
            assert ("yes" in words) == (pair.category == "harmful")
            assert ("no" in words) == (pair.category != "harmful")
        if any(question in text for question in asked):
            questions += 1
            assert verdict
        else:
            kind = "correct" if words & ATTEMPT_WORDS else "remark" if verdict else "other"
            behaviour[pair.category, kind] += 1
    assert questions / size == pytest.approx(HARM_QUESTION_SHARE, abs=0.03)
    for category in CATEGORIES:
        total = sum(count for (other, _), count in behaviour.items() if other == category)
        for kind in ("correct", "remark"):
            assert behaviour[category, kind] / total == pytest.approx(BEHAVIOUR[kind], abs=0.06)


def test_generation_takes_a_few_seconds_at_most():
    """Counted in seconds of a machine on which the yardstick takes a tenth of one."""
    start = time.process_time()
    words = [f"word {number}" for number in range(200_000)]
    assert len({word: len(word.split()) for word in words}) == len(words)
    yardstick = time.process_time() - start
    start = time.process_time()
    data = ToyData()
    for kind in SMALL:
        getattr(data, kind)("train")
    assert time.process_time() - start < 80 * yardstick


def test_it_is_a_data_source_with_an_oracle():
    data: DataSource = ToyData(sizes=SMALL)
    assert isinstance(data, DataSource)
    assert isinstance(data.oracle, Oracle)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"label_noise": 0.5}, "data.label_noise"),
        ({"constraints": ["rudeness"]}, "data.constraints"),
        ({"constraints": []}, "data.constraints"),
        ({"mixture": {"harmful": 1.0}}, "data.mixture"),
        ({"sizes": {"labels": {"train": 5}}}, "data.sizes.labels.train"),
        ({"sizes": {"labelled": {"train": 0}}}, "data.sizes.labelled.train"),
    ],
)
def test_bad_values_name_their_key(arguments, key):
    with pytest.raises(UserError, match=key):
        ToyData(**arguments)


def test_an_unknown_split_is_a_user_error():
    with pytest.raises(UserError, match="holdout"):
        ToyData().prompts("holdout")  # type: ignore[arg-type]
