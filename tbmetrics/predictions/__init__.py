"""What if the predictions are there already? Files or arrays of them become a run that the tab shows."""

from tbmetrics.predictions.evaluation import evaluate

__all__ = ["evaluate"]
