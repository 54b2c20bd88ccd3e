"""Tags of all records, and the encoding of names in them."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

PLUGIN_NAME = "longtail"
#: Plugin name of tables for figures and export only, so that they alone do not activate the tab.
DATA_PLUGIN_NAME = "tbmetrics"

#: Segment in the tags of contact sheets.
GALLERY = "gallery"
#: Kinds of contact sheets.
MISTAKES, HARDEST = GALLERY_KINDS = "confident_mistakes", "hardest_correct"
#: Kind of the one sheet, of group "all", with images of every class.
EVERY_CLASS = "every_class"

#: Optimizer steps done at the end of each epoch; maps epochs to optimizer steps.
OPTIMIZER_STEP_TAG = "tbmetrics/optimizer_step"

#: Prefix of the tags of the Long Tail tab.
TAB_PREFIX = "longtail/"

#: First segment of the tags of time, memory and throughput.
RESOURCES = "resource_usage"

#: First segment of the tags of gradients, weights, health and attention.
DYNAMICS = "training_dynamics"
#: Area of attention images, and the first segment of their tags in older logs.
ATTENTION = "attention"
#: Prefix of the tags of attention images: TensorBoard sorts by tag, and metrics come before pictures.
ATTENTION_PREFIX = f"{DYNAMICS}/{ATTENTION}/"
COLLAPSED_HEADS_TAG = f"{ATTENTION_PREFIX}collapsed_heads"

#: Areas of measurement; each is a folder of the export.
AREAS = ("class_performance", DYNAMICS, RESOURCES, ATTENTION)

PARAMETERS_TAG = f"{DYNAMICS}/parameters"
ACTIVATIONS_TAG = f"{DYNAMICS}/activations"

_SURROGATES = re.compile("[\ud800-\udfff]")
_EMPTY = "%-"  # encodes the empty name; no other name is encoded like this


def visible(text: str, escape: str = "\\u") -> str:
    """Write characters that no file can hold as escapes; `os.listdir` makes them of bytes that are no UTF-8.

    Args:
        text: any text.
        escape: what comes before the four digits, e.g. `dce9` for the byte 0xE9.
    """
    return text if text.isascii() else _SURROGATES.sub(lambda match: f"{escape}{ord(match[0]):04x}", text)


def tag_part(name: str) -> str:
    """Percent-encode `name` as one segment of a tag: '/', '%', control characters and surrounding spaces."""
    name = visible(name)
    is_plain = name.isprintable() and "/" not in name and "%" not in name
    encoded = name if is_plain else "".join(quote(c, safe="") if c in "/%" or not c.isprintable() else c for c in name)
    if encoded != encoded.strip() or encoded in {"", ".", ".."}:
        encoded = "".join(f"%{ord(c):02X}" if c in " ." else c for c in encoded) or _EMPTY
    return encoded


def untag_part(part: str) -> str:
    """Decode a name encoded by `tag_part`."""
    return "" if part == _EMPTY else unquote(part)


def scalar_tag(attribute: str, metric: str, group: str) -> str:
    """Tag of a group metric, e.g. `class_performance/digit/f1/tail`."""
    return f"class_performance/{tag_part(attribute)}/{metric}/{group}"


def pr_curve_tag(attribute: str, group: str) -> str:
    """Tag of a group's mean PR curve, e.g. `class_performance/digit/pr/tail`."""
    return f"class_performance/{tag_part(attribute)}/pr/{group}"


def class_pr_curve_tag(attribute: str, class_name: str) -> str:
    """Tag of one chosen class's PR curve, e.g. `class_performance/digit/pr/class/7`."""
    return f"class_performance/{tag_part(attribute)}/pr/class/{tag_part(class_name)}"


def class_table_tag(attribute: str) -> str:
    """Tag of the per-class table, e.g. `longtail/digit`."""
    return f"longtail/{tag_part(attribute)}"


def class_list_tag(attribute: str) -> str:
    """Tag of the class list, e.g. `longtail/digit/classes`."""
    return f"longtail/{tag_part(attribute)}/classes"


def group_table_tag(attribute: str) -> str:
    """Tag of the table of group metrics, e.g. `longtail/digit/groups`."""
    return f"longtail/{tag_part(attribute)}/groups"


def family_table_tag(attribute: str) -> str:
    """Tag of the table of means by family, e.g. `longtail/digit/families`."""
    return f"longtail/{tag_part(attribute)}/families"


def confusion_tag(attribute: str) -> str:
    """Tag of the group→group confusion, e.g. `longtail/digit/confusion`."""
    return f"longtail/{tag_part(attribute)}/confusion"


def curves_tag(attribute: str) -> str:
    """Tag of every class's precision-recall curve, e.g. `longtail/digit/curves`."""
    return f"longtail/{tag_part(attribute)}/curves"


def confusions_tag(attribute: str) -> str:
    """Tag of the pairs of classes confused, e.g. `longtail/digit/confusions`."""
    return f"longtail/{tag_part(attribute)}/confusions"


def flow_tag(attribute: str) -> str:
    """Tag of the confusion between buckets of training counts, e.g. `longtail/digit/flow`."""
    return f"longtail/{tag_part(attribute)}/flow"


def lifts_tag(attribute: str) -> str:
    """Tag of the lifts between groups, e.g. `longtail/digit/lifts`."""
    return f"longtail/{tag_part(attribute)}/lifts"


def lift_sums_tag(attribute: str) -> str:
    """Tag of the sums behind lifts by bucket of training counts, e.g. `longtail/digit/lift_sums`."""
    return f"longtail/{tag_part(attribute)}/lift_sums"


def calibration_tag(attribute: str) -> str:
    """Tag of the calibration by bucket of training counts, e.g. `longtail/digit/calibration`."""
    return f"longtail/{tag_part(attribute)}/calibration"


def uncertainty_tag(attribute: str) -> str:
    """Tag of the uncertainty of sums over buckets of training counts, e.g. `longtail/digit/uncertainty`."""
    return f"longtail/{tag_part(attribute)}/uncertainty"


def decisions_tag(attribute: str) -> str:
    """Tag of what was decided on each sample, e.g. `longtail/digit/decisions`."""
    return f"longtail/{tag_part(attribute)}/decisions"


def labels_tag(attribute: str, checksum: str) -> str:
    """Tag of the labels with a checksum, e.g. `longtail/digit/labels/0f3a…`."""
    return f"longtail/{tag_part(attribute)}/labels/{checksum}"


def diagnostics_tag(attribute: str) -> str:
    """Tag of the per-class diagnostics, e.g. `longtail/digit/diagnostics`."""
    return f"longtail/{tag_part(attribute)}/diagnostics"


def remedies_tag(attribute: str) -> str:
    """Tag of the table of remedies, e.g. `longtail/digit/remedies`."""
    return f"longtail/{tag_part(attribute)}/remedies"


def remedy_parameters_tag(attribute: str) -> str:
    """Tag of what the chosen remedies do to each class's logit, e.g. `longtail/digit/remedy_parameters`."""
    return f"longtail/{tag_part(attribute)}/remedy_parameters"


def findings_table_tag(attribute: str) -> str:
    """Tag of the verdict as a table, e.g. `longtail/digit/findings`."""
    return f"longtail/{tag_part(attribute)}/findings"


def findings_tag(attribute: str) -> str:
    """Tag of the verdict in words, e.g. `class_performance/digit/findings`."""
    return f"class_performance/{tag_part(attribute)}/findings"


def gallery_tag(attribute: str, kind: str, group: str) -> str:
    """Tag of a contact sheet, e.g. `class_performance/digit/gallery/confident_mistakes/tail`."""
    return f"class_performance/{tag_part(attribute)}/{GALLERY}/{kind}/{group}"


def class_images_tag(attribute: str) -> str:
    """Tag of the table that lists the images of the sheet of every class, e.g. `longtail/digit/class_images`."""
    return f"longtail/{tag_part(attribute)}/class_images"


def dynamics_tag(quantity: str, name: str = "") -> str:
    """Tag of a scalar, e.g. `training_dynamics/gradient_norm` (of all parameters) or `…/gradient_norm/head.weight`."""
    return f"{DYNAMICS}/{quantity}/{tag_part(name)}" if name else f"{DYNAMICS}/{quantity}"


def attention_heads_tag(module: str) -> str:
    """Tag of the table of a module's heads, e.g. `training_dynamics/attention_heads/encoder.self_attn`."""
    return dynamics_tag("attention_heads", module)


def health_tag(kind: str) -> str:
    """Tag of the text about one kind of problem, e.g. `training_dynamics/health/vanishing_gradients`."""
    return f"{DYNAMICS}/health/{kind}"


def histogram_tag(area: str, name: str) -> str:
    """Tag of a histogram of "gradients", "weights" or "activations", e.g. `gradients/head.weight`."""
    return f"{area}/{tag_part(name)}"


def plugin_of(tag: str) -> str:
    """TensorBoard plugin of a table's tag: the Long Tail tab, or one that shows nothing."""
    return PLUGIN_NAME if tag.startswith(TAB_PREFIX) else DATA_PLUGIN_NAME
