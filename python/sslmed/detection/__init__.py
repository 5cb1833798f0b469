"""Detection: networks learn the objects of pictures in the C++ loop, and are scored on people they have not seen.

``labels`` reads files of objects, ``networks`` trains, ``scoring`` and ``tables`` score, ``baselines`` are what every
network stands beside, ``run`` has :func:`detect`, ``result`` what it gives.
"""

from sslmed.detection.labels import read_objects
from sslmed.detection.options import Detection
from sslmed.detection.result import DetectionResult
from sslmed.detection.run import detect

__all__ = ["Detection", "DetectionResult", "detect", "read_objects"]
