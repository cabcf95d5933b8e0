"""A model reference and its weights -> a classifier ready to be explained. Knows neither datasets nor Ray."""

from igcam_batch.models.classes import ClassNames
from igcam_batch.models.classifier import Classifier
from igcam_batch.models.load import LoadedModel, list_layers, load_model

__all__ = ["ClassNames", "Classifier", "LoadedModel", "list_layers", "load_model"]
