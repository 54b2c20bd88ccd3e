"""Average precision of detections as LVIS counts it, by pycocotools, shown by frequent, common and rare classes.

A class is judged only in images where it is known whether it is there (federated annotation), with up to 300 boxes an
image. Here boxes are drawn at random; in a project they are the detector's, and the annotations those of LVIS.

    python examples/lvis_ap.py runs/detector && tensorboard --logdir runs
"""

import contextlib
import io
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tbmetrics import ClassGroups, TBMetrics

IMAGES_WITH_CLASS = {"person": 900, "car": 300, "cup": 80, "violin": 30, "harp": 6, "sled": 2}  # in training
NAMES, SIZE = list(IMAGES_WITH_CLASS), 400.0


def annotations(images: int, rng: np.random.Generator) -> dict:
    """Boxes of some classes in each image as a COCO dictionary; half of the other classes are known to be absent."""
    dataset = {"categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)], "images": [], "annotations": []}
    for image in range(images):
        present = rng.random(len(NAMES)) < np.linspace(0.8, 0.2, len(NAMES))
        verified = np.flatnonzero(present | (rng.random(len(NAMES)) < 0.5))
        dataset["images"].append({"id": image, "width": SIZE, "height": SIZE, "verified": verified.tolist()})
        for category in np.flatnonzero(present).tolist():
            box = [*rng.uniform(0, SIZE / 2, 2), *rng.uniform(40, SIZE / 2, 2)]
            entry = {"id": len(dataset["annotations"]) + 1, "image_id": image, "category_id": category, "iscrowd": 0}
            dataset["annotations"].append({**entry, "bbox": box, "area": box[2] * box[3]})
    return dataset


def detections(dataset: dict, skill: float, rng: np.random.Generator) -> list[dict]:
    """Boxes near the true ones, better for frequent classes, and some of wrong classes."""
    boxes = []
    for truth in dataset["annotations"]:
        blur = rng.normal(0, 25 * (1 - skill) * (1 + truth["category_id"] / 3), 4)
        near = {"image_id": truth["image_id"], "category_id": truth["category_id"]}
        boxes.append({**near, "bbox": np.maximum(np.array(truth["bbox"]) + blur, 1).tolist(), "score": rng.random()})
        wrong = {**near, "category_id": int(rng.integers(len(NAMES)))}
        boxes.append({**wrong, "bbox": truth["bbox"], "score": 0.7 * rng.random()})
    return boxes


def average_precisions(dataset: dict, boxes: list[dict]) -> dict[str, np.ndarray]:
    """AP over IoU 0.50 to 0.95, and at 0.50, of each class; NaN without a box to find."""
    verified = {image["id"]: image["verified"] for image in dataset["images"]}
    boxes = [box for box in boxes if box["category_id"] in verified[box["image_id"]]]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(boxes), "bbox")
        evaluation.params.maxDets = [1, 10, 300]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (IoU thresholds, recalls, classes)
    precision = np.where(precision < 0, np.nan, precision)
    return {"ap": precision.mean(axis=(0, 1)), "ap50": precision[0].mean(axis=0)}


def main(log_dir: str, epochs: int = 3, images: int = 40) -> None:
    """Evaluate a detector that gets better, after each epoch."""
    rng = np.random.default_rng(0)
    dataset = annotations(images, rng)
    support = np.bincount([box["category_id"] for box in dataset["annotations"]], minlength=len(NAMES))
    groups = ClassGroups.from_counts({"category": IMAGES_WITH_CLASS}, rule="lvis")
    with TBMetrics(log_dir, classes=groups) as tb:
        for epoch in tb.epochs(range(epochs)):
            boxes = detections(dataset, skill=0.3 + 0.6 * epoch / epochs, rng=rng)
            tb.log_class_metrics("category", average_precisions(dataset, boxes), support=support)


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["runs/detector"])
