"""What the classes are: names, training counts, and the rules that sort them into head, medium and tail."""

from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.groups import ClassGroups, macro_mean
from tbmetrics.classes.rules import RULES, GroupRule

__all__ = ["RULES", "AttributeClasses", "ClassGroups", "GroupRule", "macro_mean"]
