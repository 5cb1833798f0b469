"""Files: EDF, BDF and BrainVision recordings, slides and what was drawn on them, images and DICOM radiographs, volumes, safetensors, .npz."""

from sslmed.annotations import Annotation, read_annotations, write_annotations
from sslmed.io.brainvision import BrainVisionFile, open_brainvision
from sslmed.io.build import capabilities
from sslmed.io.dicom_seg import write_dicom_seg
from sslmed.io.edf import EdfFile, open_edf, validate, write_edf
from sslmed.io.nifti import NiftiHeader, Volume, read_nifti, read_nifti_header, write_nifti
from sslmed.io.npz import read_medmnist, read_npz
from sslmed.io.ome_tiff import OmeTiffWriter, write_ome_tiff
from sslmed.io.picture_store import convert_pictures, set_picture_store
from sslmed.io.png import write_label_png
from sslmed.io.qupath import ObjectWriter, SlideObject, write_objects
from sslmed.io.recording_store import convert_recordings, set_recording_store
from sslmed.io.slide import Slide, open_slide, openslide_version, read_image, set_slide_cache
from sslmed.io.slide_writer import write_slide
from sslmed.io.tensors import load_metadata, load_safetensors, save_safetensors
from sslmed.io.volumes import read_volume

__all__ = [
    "Annotation",
    "BrainVisionFile",
    "EdfFile",
    "NiftiHeader",
    "ObjectWriter",
    "OmeTiffWriter",
    "Slide",
    "SlideObject",
    "Volume",
    "capabilities",
    "convert_pictures",
    "convert_recordings",
    "load_metadata",
    "load_safetensors",
    "open_brainvision",
    "open_edf",
    "open_slide",
    "openslide_version",
    "read_annotations",
    "read_image",
    "read_medmnist",
    "read_nifti",
    "read_nifti_header",
    "read_npz",
    "read_volume",
    "save_safetensors",
    "set_picture_store",
    "set_recording_store",
    "set_slide_cache",
    "validate",
    "write_annotations",
    "write_dicom_seg",
    "write_edf",
    "write_label_png",
    "write_nifti",
    "write_objects",
    "write_ome_tiff",
    "write_slide",
]
