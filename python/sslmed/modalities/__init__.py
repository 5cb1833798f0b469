"""Modalities: one object and one folder each, in one registry. Everything above asks the registry and names none of them."""

from sslmed.modalities import eeg, images, slides, volumes
from sslmed.modalities.base import Baseline, Modality, Preprocessing
from sslmed.modalities.joined import JoinedPreprocessing
from sslmed.modalities.pictures import Augmentation, View
from sslmed.modalities.registry import default_preprocessing, described, get, names, preprocessing_from, reader, recognize, register

__all__ = [
    "Augmentation",
    "Baseline",
    "JoinedPreprocessing",
    "Modality",
    "Preprocessing",
    "View",
    "default_preprocessing",
    "described",
    "eeg",
    "get",
    "images",
    "names",
    "preprocessing_from",
    "reader",
    "recognize",
    "register",
    "slides",
    "volumes",
]

# Asked from the last to the first, so modalities of users come before these.
for _modality in (eeg.EEG, images.IMAGES, slides.SLIDES, volumes.VOLUMES):
    register(_modality)
