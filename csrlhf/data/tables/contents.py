"""What a file holds: its bytes, decompressed, and its text, whatever the encoding says of itself."""

from __future__ import annotations

import codecs
import gzip
import importlib
import zlib
from pathlib import Path
from types import ModuleType

from csrlhf.errors import UserError

COMPRESSED = (".gz", ".zst")
"""Extensions behind that of the format."""

UTF_16_SIGN = 0.2
"""Share of zero bytes from which on a text without a byte order mark is taken for UTF-16; text has none."""


def extensions(path: Path) -> tuple[str, str]:
    """The format's extension and the compression's (empty without one): ``x.jsonl.gz`` -> ``(".jsonl", ".gz")``."""
    last = path.suffix.lower()
    return (Path(path.stem).suffix.lower(), last) if last in COMPRESSED else (last, "")


def contents(path: Path) -> bytes:
    """The file's bytes, decompressed where its name ends in ``.gz`` or ``.zst``.

    Raises:
        UserError: it is damaged, or the library for ``.zst`` is missing.
    """
    _, compression = extensions(path)
    if not compression:
        return path.read_bytes()
    if compression == ".gz":
        try:
            return gzip.decompress(path.read_bytes())
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path}: is not a gzip file, or is damaged ({error})") from error
    pyarrow = library(f"reading {path}")
    try:
        with pyarrow.input_stream(pyarrow.BufferReader(path.read_bytes()), compression="zstd") as stream:
            return stream.read()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: is not a zstd file, or is damaged ({one_line(error)})") from error


def text_of(path: Path) -> str:
    """The file's text: UTF-8, or what its byte order mark says (Excel saves its "Unicode text" as UTF-16).

    Raises:
        UserError: it is neither.
    """
    data = contents(path)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, name = ("utf-32", "UTF-32") if data.startswith(codecs.BOM_UTF32_LE) else ("utf-16", "UTF-16")
    elif data[:1000].count(0) > UTF_16_SIGN * len(data[:1000]):
        raise UserError(f"{path}: looks like UTF-16 without a byte order mark: save the file as UTF-8")
    else:
        encoding, name = "utf-8-sig", "UTF-8"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not {name}: save the file as UTF-8") from error


def library(purpose: str, name: str = "pyarrow") -> ModuleType:
    """A library of the extra ``data``, imported where it is needed.

    Raises:
        UserError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{purpose} needs the library {name}: pip install 'csrlhf[data]'") from error


def one_line(error: BaseException) -> str:
    """The first line of what an error says; its class where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
