"""The number of samples in a training batch of any kind, or None where it cannot be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any, TypeAlias

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

#: Attributes that say how many samples an object holds: batched graphs (PyG, DGL), TensorDict.
_COUNTS = ("num_graphs", "batch_size")
_MOST_FIELDS = 16  # looked at; a batch of lists would otherwise be searched through
_CHANNELS, _SMALLEST_IMAGE = (1, 3, 4), 8

#: The sizes that a part of a batch allows, the likeliest first; empty if it says nothing.
_Sizes: TypeAlias = tuple[int, ...]


def batch_size_of(batch: Any) -> int | None:
    """Number of samples in a batch, or None if it cannot be told.

    Tensors and arrays are stacked along their first dimension; a list of dictionaries, numbers or strings has one
    sample per element. Lists of tensors can be either, so the other parts of the batch decide.

    Args:
        batch: tensor, array, packed or nested sequence, batched graph, or any nesting of lists, tuples, mappings and
            objects that hold them.
    """
    if isinstance(batch, list | tuple | dict) and (size := _stacked_size(batch)) is not None:
        return size
    if _is_list(batch) and len(batch) > 1 and _are_images(batch):  # single images, or a few stacked fields
        return None
    return next(iter(_sizes(batch)), None)


def _stacked_size(batch: list[Any] | tuple[Any, ...] | dict[Any, Any]) -> int | None:
    """Size of a batch of stacked tensors, the usual case, in a microsecond; None of any other.

    After a tensor, fields may be dictionaries of stacked tensors, such as labels by attribute.
    """
    size: int | None = None
    for field in batch.values() if isinstance(batch, dict) else batch:
        if isinstance(field, Tensor) and not field.is_nested:
            shape = field.shape
            of_field = shape[0] if len(shape) not in (0, 3) else None
        else:
            of_field = _stacked_size(field) if isinstance(field, dict) and size is not None else None
        if of_field is None or size not in (None, of_field):
            return None
        size = of_field
    return size


def _sizes(part: Any) -> _Sizes:
    counted = _counted(part)
    if counted is not None:
        return counted
    return _sizes_of_list(part) if _is_list(part) else _common_sizes(_fields(part))


def _counted(part: Any) -> _Sizes | None:
    """Sizes of a part that says itself how many samples it holds, else None."""
    if isinstance(part, PackedSequence):
        return (int(part.batch_sizes[0]),)  # always on the host
    shape = _shape(part)
    if shape is not None:
        return shape[:1]
    return next(((size,) for name in _COUNTS if (size := _whole(getattr(part, name, None))) is not None), None)


def _shape(part: Any) -> tuple[int, ...] | None:
    """Shape of a tensor or array, of a nested tensor only the first dimension; None of anything else."""
    if isinstance(part, Tensor) and part.is_nested:
        return (int(part.size(0)),)
    shape = getattr(part, "shape", None)
    return tuple(shape) if isinstance(shape, Sequence) else None


def _whole(count: Any) -> int | None:
    if isinstance(count, Sequence) and not isinstance(count, str) and count:
        count = count[0]
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def _sizes_of_list(parts: Sequence[Any]) -> _Sizes:
    """Sizes that a list or tuple allows: that of its fields, or one sample per element."""
    shown = list(islice(parts, _MOST_FIELDS))
    if not shown:
        return ()
    if _are_samples(shown):
        return (len(parts),)
    of_fields = _common_sizes(shown)
    if len({_kind(part) for part in shown}) > 1:
        return of_fields
    either = (len(parts), *of_fields) if _are_images(shown) else (*of_fields, len(parts))
    return tuple(dict.fromkeys(either))


def _are_samples(parts: Sequence[Any]) -> bool:
    """Whether each part is one sample: a number or text, a dictionary, or e.g. a picture with its class."""
    if all(isinstance(part, Mapping) for part in parts):
        return len(parts) > 1 or not _sizes(parts[0])
    if not any(map(_sizes, parts)):
        return not any(part is None or (isinstance(part, Mapping | Sequence) and not part) for part in parts)
    return all(map(_is_list, parts)) and _is_row(parts[0]) and len({_kinds(part) for part in parts}) == 1


def _is_row(part: Sequence[Any]) -> bool:
    """Whether a tuple holds the fields of one sample: they are unlike and have no size in common."""
    sizes = [set(_sizes(field)) for field in part[:_MOST_FIELDS]]
    return len(set(_kinds(part))) > 1 and not set.intersection(*sizes)


def _kinds(part: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(map(_kind, part[:_MOST_FIELDS]))


def _kind(part: Any) -> tuple[type, int]:
    return type(part), len(_shape(part) or ())


def _common_sizes(parts: Sequence[Any]) -> _Sizes:
    """Sizes that all fields allow; if there are none, that of a batch of images, or of most fields."""
    informative = [(sizes, field) for field in parts if (sizes := _sizes(field))]
    if not informative:
        return ()
    common = tuple(size for size in informative[0][0] if all(size in sizes for sizes, _ in informative))
    images = next((sizes for sizes, field in informative if len(_shape(field) or ()) >= 4), ())
    return common or images or _most_frequent(sizes for sizes, _ in informative)


def _most_frequent(all_sizes: Iterable[_Sizes]) -> _Sizes:
    ranked = Counter(size for sizes in all_sizes for size in sizes).most_common(2)
    return (ranked[0][0],) if ranked[0][1] > 1 and ranked[0][1] > ranked[-1][1] else ()


def _is_list(part: Any) -> bool:
    return isinstance(part, Sequence) and not isinstance(part, str | bytes) and not hasattr(part, "_fields")


def _fields(part: Any) -> list[Any]:
    """Fields of a mapping, a named tuple, a dataclass or another object with attributes; none of anything else."""
    values: Iterator[Any]
    if isinstance(part, Mapping):
        values = iter(part.values())
    elif hasattr(part, "_fields"):
        values = iter(part)
    elif is_dataclass(part):
        values = (getattr(part, field.name) for field in fields(part))
    else:
        values = iter(getattr(part, "__dict__", {}).values())
    return list(islice(values, _MOST_FIELDS))


def _are_images(parts: Sequence[Any]) -> bool:
    """Whether each part has the shape of one image, (channels, height, width)."""
    shapes = [_shape(part) or () for part in islice(parts, _MOST_FIELDS)]
    return all(len(s) == 3 and s[0] in _CHANNELS and min(s[1:]) >= _SMALLEST_IMAGE for s in shapes)
