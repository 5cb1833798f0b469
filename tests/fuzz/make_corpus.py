"""Small sound and odd files for the fuzzers to start from: ``make_corpus.py FOLDER`` writes FOLDER/edf and FOLDER/safetensors."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
from edf_files import Edf, Signal

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
