"""What a config says of a scorer: a folder, a description, or several of these. Imports no torch.

A text is a model's folder or its name on the Hub; ``http://...`` stands for an endpoint, ``FILE.py:name`` for a
function. A description is a mapping with the key ``scorer``, which names the kind (``build.KINDS``) or a class of
somebody else's. Any other mapping goes from constraints to scorers, and a list holds scorers that share the constraints
out.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.runs import artifacts

SCORER = "scorer"
"""The key that makes a mapping a description."""

PARTS = "scorers"
"""The key of a mix that holds its scorers."""

SOURCES = ("model", "url", "function")
"""Keys that say where a scorer comes from; an endpoint's ``model`` is a name that it alone knows."""

DELIVERY = ("timeout", "retries", "backoff")
"""Keys that change no score, so that a run which failed by them goes on with others."""

FUNCTION = re.compile(r"(.+\.py):([A-Za-z_]\w*)")
"""A function of a file."""


def as_spec(given: Any) -> Any:
    """What was given as plain containers, with texts that stand for an endpoint or a function as descriptions."""
    if isinstance(given, Mapping):
        if SCORER not in given:
            return {str(name): as_spec(one) for name, one in given.items()}
        found = plain(given)
        return found | ({PARTS: as_spec(found[PARTS])} if isinstance(found.get(PARTS), list) else {})
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [as_spec(one) for one in given]
    if given is None:
        return None
    text = str(given)
    if text.startswith(("http://", "https://")):
        return {SCORER: "endpoint", "url": text}
    if FUNCTION.fullmatch(text):
        return {SCORER: "function", "function": text}
    return text


def plain(value: Any) -> Any:
    """Mappings and lists of any kind as Python's own, paths as texts: what JSON and checkpoints hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def is_description(spec: Any) -> bool:
    """Whether it describes one scorer, by a mapping."""
    return isinstance(spec, Mapping) and SCORER in spec


def is_single(spec: Any) -> bool:
    """Whether it is one scorer, not a mapping from constraints or a list."""
    return isinstance(spec, str | Path) or is_description(spec)


def named(spec: Any, name: str = "cost") -> dict[str, Any]:
    """Every scorer under a name: its constraint's, its number in a list, or ``name`` where it is the only one."""
    spec = as_spec(spec)
    if is_single(spec):
        return {name: spec}
    return {str(key): one for key, one in (spec.items() if isinstance(spec, Mapping) else enumerate(spec))}


def label(spec: Any) -> str:
    """What a scorer is called in messages and tables: where it comes from."""
    spec = as_spec(spec)
    if not is_description(spec):
        return str(spec)
    if isinstance(spec.get(PARTS), list):
        return f"{spec[SCORER]} of {', '.join(label(one) for one in spec[PARTS])}"
    found = next((str(spec[key]) for key in SOURCES if key in _own_sources(spec)), str(spec[SCORER]))
    return endpoint_name(found, spec.get("model")) if "url" in spec else found


def endpoint_name(url: str, model: Any) -> str:
    """What an endpoint is known by: its URL, and the model that it is asked for where one is named."""
    return f"{url} ({model})" if model else url


def sources(spec: Any, key: str) -> Iterator[tuple[str, str]]:
    """All that a spec rests on, with dotted keys: ``cost``, ``cost.harm.model``, ``cost.scorers.0``, ``cost.url``."""
    if isinstance(spec, str | Path):
        yield key, str(spec)
    elif is_description(spec):
        yield from ((f"{key}.{word}", str(spec[word])) for word in _own_sources(spec) if spec[word] is not None)
        yield from sources(spec.get(PARTS) or [], f"{key}.{PARTS}")
    elif isinstance(spec, Mapping):
        for name, one in spec.items():
            yield from sources(one, f"{key}.{name}")
    elif isinstance(spec, Sequence):
        for number, one in enumerate(spec):
            yield from sources(one, f"{key}.{number}")


def _own_sources(spec: Mapping[str, Any]) -> list[str]:
    return [word for word in SOURCES if word in spec and not (word == "model" and "url" in spec)]


def source_fingerprint(key: str, source: str) -> str:
    """Of a folder's record or files, of a function's source file; else the name or URL itself.

    Args:
        key: as from :func:`sources`.
        source: that stands there.
    """
    if key.rpartition(".")[2] == "function" and (file := code_file(source)) is not None:
        return f"{artifacts.file_hash(file)}:{source.replace(':', '.').rpartition('.')[2]}"
    return artifacts.fingerprint_of(source)


def code_file(function: str) -> Path | None:
    """The file that a function stands in, named ``FILE.py:name`` or ``package.module.name``; None where there is none.

    Its module is not imported, the parents of it are.
    """
    if found := FUNCTION.fullmatch(function):
        path = Path(found[1]).expanduser()
        return path if path.is_file() else None
    try:
        spec = importlib.util.find_spec(function.rpartition(".")[0])
    except (ModuleNotFoundError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None


def decisive(value: Any) -> Any:
    """Containers whose descriptions hold what decides scores: none of ``DELIVERY``, a template's text for its file."""
    if isinstance(value, Mapping):
        described = SCORER in value
        return {
            name: _template(item) if described and name == "template" else decisive(item)
            for name, item in value.items()
            if not (described and name in DELIVERY)
        }
    return [decisive(item) for item in value] if isinstance(value, list) else value


def _template(given: Any) -> Any:
    if not isinstance(given, str) or "{response}" in given or not (path := Path(given).expanduser()).is_file():
        return given
    return path.read_text(encoding="utf-8")


def fingerprint(spec: Any) -> Any:
    """Of one scorer: a folder's fingerprint, or a hash of a description and of what it rests on. Several: of each."""
    spec = as_spec(spec)
    if isinstance(spec, str):
        return artifacts.fingerprint_of(spec)
    if is_description(spec):
        return description_hash(spec, source_fingerprint)
    if isinstance(spec, Mapping):
        return {name: fingerprint(one) for name, one in spec.items()}
    return [fingerprint(one) for one in spec]


def description_hash(spec: Mapping[str, Any], of_source: Any) -> str:
    """sha256 of a description in which every source is replaced by ``of_source(key, source)``."""
    marked = json.loads(json.dumps(decisive(dict(spec)), default=str))
    for key, source in sources(spec, ""):
        put_at(marked, key.lstrip("."), of_source(key, source))
    return hashlib.sha256(json.dumps(marked, sort_keys=True).encode()).hexdigest()


def put_at(container: Any, key: str, value: Any) -> None:
    """Writes where a dotted key of :func:`sources` points, in mappings and lists of any kind."""
    *path, last = key.split(".")
    for word in path:
        container = container[int(word)] if _is_list(container) else container[word]
    container[int(last) if _is_list(container) else last] = value


def _is_list(container: Any) -> bool:
    return isinstance(container, Sequence) and not isinstance(container, str)


def check_source(key: str, source: str) -> None:
    """Raises a UserError where a function's file or module is not here; other sources are looked at as folders are."""
    if key.rpartition(".")[2] == "function" and code_file(source) is None:
        raise UserError(
            f"{key}={source}: there is no such file or module; write FILE.py:name, or package.module.name for a "
            "function that Python finds from the current folder"
        )
