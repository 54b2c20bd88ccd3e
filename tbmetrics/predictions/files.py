"""Named columns in files, a few rows at a time. Files are data: nothing in them is ever run."""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.errors import InputError

#: Columns of equal length by name: arrays, tensors, or lists of texts.
Rows: TypeAlias = Mapping[str, Any]
#: The name of the only array in a file that does not name its arrays.
UNNAMED = ""
#: Rows of tables are read so many at once; arrays by bytes.
TABLE_ROWS = 10_000
BYTES_AT_ONCE = 64 * 2**20


def read_rows(path: Path) -> Iterator[Rows]:
    """Yield the rows of a file in parts.

    Args:
        path: `.npy`, `.npz`, `.pt`, `.pth`, `.safetensors`, `.csv`, `.txt` (one value a line) or `.parquet`.

    Raises:
        InputError: the file cannot be read, is of another kind, or its columns differ in length.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: files must end in {', '.join(_READERS)}; convert this one")
    try:
        yield from reader(path)
    except InputError:
        raise
    except ImportError as error:
        extra = path.suffix.lower().lstrip(".")
        raise InputError(f"{path}: {error.name} is not installed; pip install 'tbmetrics[{extra}]'") from error
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except Exception as error:  # each reader has errors of its own
        raise InputError(f"{path}: cannot be read as {path.suffix} ({type(error).__name__}: {error})") from error


def split_rows(columns: Rows) -> Iterator[Rows]:
    """Yield columns that are in memory, or mapped into it, in parts.

    Raises:
        InputError: their lengths differ.
    """
    shapes = {name: tuple(getattr(column, "shape", (len(column),))) for name, column in columns.items()}
    for part in _parts(shapes):
        yield {name: column[part] for name, column in columns.items()}


def _parts(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[slice]:
    """The rows of columns with these shapes, in parts of about `BYTES_AT_ONCE`.

    Raises:
        InputError: the columns differ in length.
    """
    lengths = {name: shape[0] for name, shape in shapes.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"all arrays must have as many rows, got {lengths}")
    n, bytes_of_row = max(lengths.values(), default=0), sum(8 * math.prod(shape[1:]) for shape in shapes.values())
    size = max(1, BYTES_AT_ONCE // max(1, bytes_of_row))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def column_name(rows: Rows, names: Sequence[str]) -> str | None:
    """The column of `rows` that bears the first of `names` that any bears, in whatever case; None if none does."""
    by_lower_name = {name.lower(): name for name in rows}
    return next((by_lower_name[name] for name in names if name in by_lower_name), None)


def joined_column(parts: Sequence[Rows], name: str) -> Any:
    """A column of all parts: a list of texts, or an array."""
    values = [part[name] for part in parts]
    if isinstance(values[0], list):
        return list(chain.from_iterable(values))
    return np.concatenate([np.asarray(part) for part in values])


# ------------------------------------------------------------------------------------------------------- arrays


def _npy(path: Path) -> Iterator[Rows]:
    return split_rows({UNNAMED: np.load(path, mmap_mode="r", allow_pickle=False)})


def _npz(path: Path) -> Iterator[Rows]:
    """The arrays of an archive are unpacked as streams, side by side."""
    with zipfile.ZipFile(path) as archive, ExitStack() as opened:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        streams = {name[:-4]: _NpyStream(opened.enter_context(archive.open(name))) for name in names}
        scalars = {name: stream.read(1) for name, stream in streams.items() if stream.is_scalar}
        columns = {name: stream for name, stream in streams.items() if not stream.is_scalar}
        for part in _parts({name: stream.shape for name, stream in columns.items()}):
            n = part.stop - part.start
            rows = {name: stream.read(n) for name, stream in columns.items()}
            yield rows | {name: np.full(n, value) for name, value in scalars.items()}


class _NpyStream:
    """An array in numpy's format, read from the first row to the last."""

    def __init__(self, stream: Any) -> None:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, self._dtype = read_header(stream)
        if self._dtype.hasobject:
            raise InputError(f"{stream.name}: holds Python objects, which are never loaded; save numbers or texts")
        self._stream = stream
        self.is_scalar = not shape
        self.shape = shape or (1,)
        # An array laid out by columns has no rows to stream: it is read whole.
        self._whole = self._take(math.prod(shape)).reshape(shape[::-1]).T if is_fortran and len(shape) > 1 else None
        self._read = 0

    def read(self, rows: int) -> NDArray[Any]:
        """The next rows; fewer at the end."""
        start, self._read = self._read, min(self._read + rows, self.shape[0])
        if self._whole is not None:
            return self._whole[start : self._read]
        return self._take((self._read - start) * math.prod(self.shape[1:])).reshape(-1, *self.shape[1:])

    def _take(self, items: int) -> NDArray[Any]:
        n_bytes = items * self._dtype.itemsize
        content = self._stream.read(n_bytes)
        if len(content) < n_bytes:
            raise InputError(f"{self._stream.name}: ends after {len(content)} of {n_bytes} bytes")
        return np.frombuffer(content, dtype=self._dtype)


def _pt(path: Path) -> Iterator[Rows]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # written in the format before 1.6, which cannot be mapped
        content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, torch.Tensor):
        return split_rows({UNNAMED: content})
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: must hold a tensor or a dictionary of tensors, got {type(content).__name__}")
    return split_rows({str(name): _column(value) for name, value in content.items() if _is_column(value)})


def _is_column(value: Any) -> bool:
    return isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0


def _column(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, list | tuple) else value


def _safetensors(path: Path) -> Iterator[Rows]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stored:
        slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118  # it has no __iter__
        for part in _parts({name: tuple(column.get_shape()) for name, column in slices.items()}):
            yield {name: column[part] for name, column in slices.items()}


# ------------------------------------------------------------------------------------------------------- tables


def _csv(path: Path) -> Iterator[Rows]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header):
            raise InputError(f"{path}: the names in its first line must differ, got {header[:20]}")
        while rows := [row for row in islice(reader, TABLE_ROWS) if row]:
            widths = {len(row) for row in rows}
            if widths != {len(header)}:
                raise InputError(f"{path}: rows have {sorted(widths)} fields, the first line has {len(header)}")
            yield dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def _txt(path: Path) -> Iterator[Rows]:
    with path.open(encoding="utf-8-sig") as file:
        lines = (line.strip() for line in file)
        values = (line for line in lines if line)
        while part := list(islice(values, TABLE_ROWS)):
            yield {UNNAMED: part}


def _parquet(path: Path) -> Iterator[Rows]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=TABLE_ROWS):
            yield {name: _stacked(batch.column(name)) for name in batch.schema.names}


def _stacked(column: Any) -> Any:
    """An Arrow column as an array; lists of one length become rows."""
    if not hasattr(column.type, "value_type"):
        return column.to_numpy(zero_copy_only=False)
    return np.stack([np.asarray(row) for row in column.to_pylist()])


_READERS: Mapping[str, Callable[[Path], Iterator[Rows]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".pt": _pt,
    ".pth": _pt,
    ".safetensors": _safetensors,
    ".csv": _csv,
    ".txt": _txt,
    ".parquet": _parquet,
}
