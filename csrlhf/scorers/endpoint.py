"""An HTTP endpoint as a scorer: a model that is served elsewhere, or a service.

One POST for each batch, with the JSON object ``{"prompts": [turns, ...], "responses": [...], "ended": [...]}`` and,
where one is named, ``"model"``. The answer is ``{"scores": [...]}`` or the list alone: a number for each response, or a
row of numbers, one for each constraint.
"""

from __future__ import annotations

import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any

from csrlhf.errors import UserError
from csrlhf.scorers.base import DEFAULT_CONSTRAINT
from csrlhf.scorers.kept import KeptScorer
from csrlhf.scorers.rendering import Turns
from csrlhf.scorers.specs import endpoint_name

AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may pass: the endpoint is busy, or restarts."""

LONGEST_WAIT = 60.0
"""Seconds between two tries, at the most."""


class EndpointScorer(KeptScorer):
    """Scores by HTTP."""

    def __init__(
        self,
        url: str,
        model: str | None = None,
        outputs: Sequence[str] | None = None,
        batch_size: int = 32,
        timeout: float = 60.0,
        retries: int = 5,
        backoff: float = 1.0,
        token: str | None = None,
        *,
        role: str = "cost",
        key: str = "inputs.cost",
    ) -> None:
        """Describe it; nothing is sent.

        Args:
            url: where batches are posted to.
            model: a name that the endpoint knows, sent with each batch.
            outputs: the names of its columns; None for those that are asked for.
            batch_size: responses in one request.
            timeout: seconds to wait for an answer.
            retries: how often a request that failed is sent again.
            backoff: seconds before the first retry, doubled before each of the next.
            token: name of the environment variable that holds a bearer token; the token itself is written nowhere.
            role: ``reward`` or ``cost``.
            key: where it is named, for messages.

        Raises:
            UserError: a value is out of range, or the variable is not set.
        """
        names = outputs or ((role,) if role == "reward" else (DEFAULT_CONSTRAINT,))
        super().__init__(
            names, endpoint_name(url, model), {"url": url, "model": model, "outputs": list(names)}, batch_size, key
        )
        if not str(url).startswith(("http://", "https://")):
            raise UserError(f"{key}.url={url}: must begin with http:// or https://")
        for word, value, least in (("timeout", timeout, 0), ("backoff", backoff, 0), ("retries", retries, -1)):
            number = isinstance(value, int if word == "retries" else int | float) and not isinstance(value, bool)
            if not number or not least < value < math.inf:
                raise UserError(f"{key}.{word}={value}: must be {'0 or more' if word == 'retries' else 'above 0'}")
        if token is not None and not os.environ.get(token):
            raise UserError(f"{key}.token={token}: the environment has no variable of this name; export {token}=...")
        self.url, self.model, self.token = url, model, token
        self.timeout, self.retries, self.backoff = timeout, retries, backoff

    def ask(self, prompts: Sequence[Turns], responses: Sequence[str], ended: Sequence[bool]) -> Any:
        """The endpoint's answer to one batch.

        Raises:
            UserError: it gives none, after all retries, or something else than scores.
        """
        body = {"prompts": list(prompts), "responses": list(responses), "ended": list(ended)}
        content = self._sent(json.dumps(body | ({"model": self.model} if self.model else {})).encode())
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise UserError(f"{self.name}: answered {content[:80]!r}, which is no JSON") from error
        if isinstance(answer, dict) and "scores" not in answer:
            raise UserError(f'{self.name}: answered with the keys {", ".join(answer)}; it must be {{"scores": [...]}}')
        return answer["scores"] if isinstance(answer, dict) else answer

    def _sent(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {os.environ[self.token]}"
        for attempt in range(self.retries + 1):
            wait = self.backoff * 2**attempt
            try:
                request = urllib.request.Request(self.url, body, headers, method="POST")  # http(s), above
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                problem = f"HTTP {error.code} {error.reason}: {error.read(200).decode(errors='replace')!r}"
                if error.code not in AGAIN:
                    raise UserError(f"{self.name}: refuses the request ({problem})") from error
                wait = max(wait, _seconds(error.headers.get("Retry-After")))
            except (OSError, HTTPException) as error:  # no connection, cut off, too late
                problem = str(getattr(error, "reason", error)) or type(error).__name__
            if attempt < self.retries:
                time.sleep(min(wait, LONGEST_WAIT))
        raise UserError(
            f"{self.name}: gives no answer ({problem}; tried {self.retries + 1} times, {self.timeout:g} s each); "
            f"start it, or give it more time with timeout: and retries:{self.kept_note}"
        )


def _seconds(header: str | None) -> float:
    """Of ``Retry-After``, where it is a number."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0
