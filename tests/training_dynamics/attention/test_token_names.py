"""Names of queries and keys: by pattern, by call, or those of the classes where it can be told whose they are."""

import logging

import pytest
import torch
from torch import nn

from tbmetrics import AttentionVisualizer, ClassGroups
from tbmetrics.training_dynamics.attention.token_names import TokenNames

CLASSES = ClassGroups.from_counts(
    {
        "crop": {"maize": 900, "rice": 60, "teff": 4},
        "part": {"leaf": 900, "stem": 5},
        "symptomTags": {f"t{i}": 10**i for i in range(5)},
    }
)


def _names(sizes, key_labels=(), key_groups=()):
    names = TokenNames({}, dict(key_labels), dict(key_groups), CLASSES)
    return names, names.learn(sizes)


def test_each_call_has_the_names_of_its_attribute():
    names, messages = _names({"vsi#0": (8, 3), "vsi#1": (8, 2), "vsi#2": (8, 5)})
    assert [names.keys(f"vsi#{i}") for i in range(3)] == [CLASSES[a].names for a in ("crop", "part", "symptomTags")]
    assert names.groups("vsi#0") == ("head", "medium", "tail")
    assert not names.queries("vsi#0")
    assert messages == []


def test_attributes_of_one_size_are_told_apart_by_the_place_of_the_call():
    same = ClassGroups.from_counts({"a": {"x": 1, "y": 2}, "b": {"u": 1, "v": 2}})
    names = TokenNames({}, {}, {}, same)
    names.learn({"vsi#0": (8, 2), "vsi#1": (8, 2), "alone": (8, 2)})
    assert [names.keys(module) for module in ("vsi#0", "vsi#1", "alone")] == [("x", "y"), ("u", "v"), ()]


@pytest.mark.parametrize(
    ("module", "size", "keys", "queries"),
    [
        ("cross", (9, 5), "symptomTags", None),  # the only attribute with five
        ("cross", (5, 9), None, "symptomTags"),
        ("self", (5, 5), None, None),  # as many tokens as classes, by chance
        ("symptom_tags.attn", (5, 5), "symptomTags", None),
        ("cross", (9, 4), None, None),
        ("head.part", (9, 3), "crop", None),  # its name is of an attribute with another number
    ],
)
def test_by_number_and_name(module, size, keys, queries):
    names, _ = _names({module: size})
    assert names.keys(module) == (CLASSES[keys].names if keys else ())
    assert names.queries(module) == (CLASSES[queries].names if queries else ())


def test_given_names_go_first_and_those_of_a_call_before_those_of_all():
    labels = {"vsi": list("abc"), "vsi#1": list("xyz")}
    names, messages = _names({"vsi#0": (8, 3), "vsi#1": (8, 3)}, key_labels=labels)
    assert names.keys("vsi#0") == list("abc")
    assert names.keys("vsi#1") == list("xyz")
    assert messages == []


def test_lists_that_do_not_fit_are_said_once_and_not_used():
    options = {"key_labels": {"vsi": list("abc")}, "key_groups": {"vsj": ["head"]}}
    names, messages = _names({"vsi#0": (8, 3), "vsi#1": (8, 4)}, **options)
    assert (names.keys("vsi#0"), names.keys("vsi#1")) == (list("abc"), ())
    assert messages == [
        "key_labels['vsi'] has 3 names, but vsi#1 has 4 keys; if they are of another call, name it, 'vsi#1'",
        "key_groups['vsj'] is for none of the modules: 'vsi#0', 'vsi#1'",
    ]
    assert names.learn({"vsi#0": (8, 3), "vsi#1": (8, 4)}) == []


class _Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.vsi, self.linear = _Attention(), nn.Linear(4, 4)

    def forward(self, x):
        return [self.vsi(self.linear(x), self.linear(torch.randn(len(x), n, 4))) for n in (3, 5)]


class _Attention(nn.Module):
    def forward(self, queries, keys):
        return torch.softmax(queries @ keys.transpose(-2, -1), -1) @ keys


def _masses(caplog, **options):
    with caplog.at_level(logging.WARNING, "tbmetrics"):
        visualizer = AttentionVisualizer(_Twice(), probe=torch.randn(2, 1, 4), **options)
        visualizer.update(epoch=0)
    tags = [tag for tag in visualizer.history.scalars if "/attention_mass/" in tag]
    return {tag.split("/")[2] for tag in tags}, [r.message for r in caplog.records], visualizer


def test_a_pattern_of_one_call_is_for_that_call(caplog):
    masses, messages, _ = _masses(caplog, key_groups={"vsi#0": ["head", "medium", "tail"]})
    assert (masses, messages) == ({"vsi#0"}, [])
    masses, messages, _ = _masses(caplog, key_groups={"vsi": ["head", "medium", "tail"]})
    assert masses == {"vsi#0"}
    assert ["but vsi#1 has 5 keys" in message for message in messages] == [True]


def test_one_call_of_a_module_can_be_chosen(caplog):
    _, _, visualizer = _masses(caplog, modules=["vsi#1"])
    assert [m["module"] for m in visualizer.attention_maps] == ["vsi#1"]


def test_masses_of_the_groups_of_classes_are_those_of_the_maps(caplog):
    masses, _, visualizer = _masses(caplog, classes=CLASSES)
    assert masses == {"vsi#0", "vsi#1"}
    weights = next(m["attention"] for m in visualizer.attention_maps if m["module"] == "vsi#0")
    expected = weights.double().mean((0, 1, 2))  # one key in each group
    for index, group in enumerate(("head", "medium", "tail")):
        mass = visualizer.history.scalars[f"training_dynamics/attention_mass/vsi#0/{group}"].values[-1]
        assert mass == pytest.approx(float(expected[index]), abs=1e-6)
