"""What a cost model has seen: kept to the digit, absent in old folders, broken files named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from csrlhf.errors import UserError
from csrlhf.stats.drift import FILE, Reference, spread, words_of


def test_a_folder_keeps_it(tmp_path: Path) -> None:
    words = np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])
    logits, features = np.array([[0.5, -0.5]]), np.array([[1, 2, 3]], dtype=np.float32)
    # Views that are not contiguous are written as they read.
    Reference(("harm", "privacy"), *words, np.stack([logits[:, 0], logits[:, 1]]).T, features).save(tmp_path)
    found = Reference.read(tmp_path)
    assert found is not None
    assert found.outputs == ("harm", "privacy")
    np.testing.assert_array_equal(found.prompt_words_N, words[0])
    np.testing.assert_array_equal(found.response_words_N, words[1])
    np.testing.assert_array_equal(found.logits_MK, logits)
    np.testing.assert_array_equal(found.features_MH, features)


def test_an_old_folder_has_none_and_a_broken_file_is_named(tmp_path: Path) -> None:
    assert Reference.read(tmp_path) is None
    (tmp_path / FILE).write_bytes(b"cut")
    with pytest.raises(UserError, match=r"reference\.safetensors: broken or cut short .* stage=cost"):
        Reference.read(tmp_path)


def test_words_and_spread() -> None:
    prompt, response = words_of(["how ?", ({"role": "user", "content": "a b c"},)], ["", "so  it\nis"])
    assert prompt.tolist() == [2.0, 3.0]
    assert response.tolist() == [0.0, 3.0]
    assert spread(3, 5).tolist() == [0, 1, 2]
    assert spread(101, 3).tolist() == [0, 50, 100]
