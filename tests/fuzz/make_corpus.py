"""Small sound and odd files for the fuzzers to start from: ``make_corpus.py FOLDER`` writes one folder a target."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save

sys.path.insert(0, str(Path(__file__).parents[1] / "python" / "support"))
from edf_files import Edf, Signal
from PIL import Image
from slide_files import Level, scene, write_slide

root = Path(sys.argv[1])
edf = {
    "plain": Edf(),
    "rates": Edf([Signal("a"), Signal("b", per_record=3)], duration="2"),
    "continuous": Edf(kind="EDF+C", notes={1: b"+1.75\x150.5\x14spike\x14\x00"}),
    "gaps": Edf([Signal(), Signal("b", per_record=3)], kind="EDF+D", onsets=[0, 1, 5, 6]),
    "subsecond": Edf(kind="EDF+C", onsets=[0.25, 1.25, 2.25, 3.25]),
    "bdf": Edf(version=b"\xffBIOSEMI"),
    "bdf_gaps": Edf(version=b"\xffBIOSEMI", kind="BDF+D", onsets=[0, 1, 5, 6]),
    "unknown_count": Edf(declared_records="-1"),
    "cut": Edf(cut=5),
    "tail": Edf(tail=b"x" * 7),
    "comma": Edf([Signal(pmin="-100,5", pmax="100,5")]),
    "text": Edf([Signal("C\xf6", b"\xb5V"), Signal("Cö".encode(), "µV".encode())]),
    "no_scale": Edf([Signal("ok"), Signal("bad", dmin="5", dmax="5")]),
    "half_record": Edf(duration="0.5"),
    "no_duration": Edf(duration="0"),
}
(root / "edf").mkdir(parents=True, exist_ok=True)
for name, file in edf.items():
    (root / "edf" / name).write_bytes(file.bytes())
tensors = {
    "one": {"weight": torch.arange(6.0).reshape(2, 3)},
    "types": {str(t): torch.zeros(2, dtype=t) for t in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)},
    "empty": {"none": torch.zeros(0, 3), "scalar": torch.tensor(1.0)},
}
(root / "safetensors").mkdir(parents=True, exist_ok=True)
for name, content in tensors.items():
    (root / "safetensors" / name).write_bytes(save(content, {"format": "pt", "note": "é\\"}))

slides = {
    "plain": ([Level(scene(100, 60), tile=(48, 32))], {}),
    "whole_tables": ([Level(scene(60, 40), tile=(32, 32), tables=False, subsampling=0)], {}),
    "rgb": ([Level(scene(40, 40), tile=(32, 32), rgb=True)], {}),
    "big": ([Level(scene(60, 40), tile=(32, 32)), Level(scene(30, 20), tile=(32, 32))], {"big": True}),
    "big_endian": ([Level(scene(60, 40), tile=(32, 32), description="Aperio", resolution=(40000, 1, 3), missing=(1,))], {"big_endian": True}),
    "progressive": ([Level(scene(40, 30), tile=(48, 32), progressive=True)], {}),
}
(root / "tiff").mkdir(parents=True, exist_ok=True)
for name, (levels, options) in slides.items():
    write_slide(root / "tiff" / name, levels, **options)
(root / "image").mkdir(parents=True, exist_ok=True)
picture = Image.fromarray(scene(24, 18))
for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
    (picture.convert("I").convert("I;16") if mode == "I;16" else picture.convert(mode)).save(root / "image" / f"{mode.replace(';', '')}.png")
picture.convert("P").save(root / "image" / "transparent.png", transparency=bytes(range(256)))
jpegs = {"plain": {}, "progressive": {"progressive": True}, "full": {"subsampling": 0}, "rgb": {"keep_rgb": True}, "restart": {"restart_marker_rows": 1}}
for name, kept in jpegs.items():
    picture.save(root / "image" / f"{name}.jpg", **kept)
picture.convert("L").save(root / "image" / "grey.jpg")
picture.convert("CMYK").save(root / "image" / "cmyk.jpg")
