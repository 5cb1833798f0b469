"""Small sound and odd files for the fuzzers to start from: ``make_corpus.py FOLDER`` writes one folder a target."""

import gzip
import io
import itertools
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

sys.path.insert(0, str(Path(__file__).parents[1] / "python" / "support"))
from brainvision_files import TYPES, BrainVision
from edf_files import Edf, Signal
from nifti_files import Nifti
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
samples = np.arange(60).reshape(3, 20)
brainvision = {f"{number}_{orientation}": BrainVision(samples, number, orientation) for number in TYPES for orientation in ("MULTIPLEXED", "VECTORIZED")}
brainvision |= {
    "latin_1": BrainVision(samples, names=["Fß", "a,b", "c"], encoding="latin-1", points="20"),
    "units": BrainVision(samples, units=["mV", "", "n/a"], resolutions=["", "0", "1e-3"]),
    "markers": BrainVision(samples, markers=[r"Comment,a\1b,1,5,0", "Stimulus,S1,x,1,0", "New Segment,,3,1,0,20200102030405678901"]),
}
(root / "brainvision").mkdir(parents=True, exist_ok=True)
for name, file in brainvision.items():
    text = file.header("a").encode(file.encoding) + b"\0" + file.marker_text("a").encode(file.encoding)
    (root / "brainvision" / name).write_bytes(text + b"\0" + file.samples())
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
for mode in ("L", "RGB", "P"):
    picture.convert(mode).save(root / "image" / f"{mode}.bmp")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        picture.convert(mode).save(root / "image" / f"{mode}_{compression}.tif", compression=compression)
picture.save(root / "image" / "jpeg.tif", compression="jpeg")

# The first byte is the way that the fuzzer takes a file: plain, compressed by it, a pair, a deflate stream.
(root / "nifti").mkdir(parents=True, exist_ok=True)
types = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "u8", "i8", "f8", "rgb", "rgba")
for number, (kind, version, order) in enumerate(itertools.product(types, (1, 2), "<>")):
    scale = (0.5, -1.0) if number % 2 and not kind.startswith("rgb") else (1.0, 0.0)
    codes = (number % 3, number % 2)
    file = Nifti((3, 2, 2), kind, version=version, order=order, scale=scale, sform_code=codes[0], qform_code=codes[1], extensions=[(6, b"note")] * (number % 2))
    (root / "nifti" / f"{kind}-{version}-{'little' if order == '<' else 'big'}").write_bytes(bytes([number % 2]) + file.bytes())
    if number % 6 == 0:
        (root / "nifti" / f"{kind}-{version}-pair").write_bytes(b"\x02" + file.bytes())
        (root / "nifti" / f"{kind}-{version}-gz").write_bytes(b"\x00" + gzip.compress(file.bytes(), number % 10, mtime=0))
        for level in (0, 1, 9):
            packer = zlib.compressobj(level, wbits=-15, strategy=zlib.Z_FIXED if number % 12 else zlib.Z_DEFAULT_STRATEGY)
            (root / "nifti" / f"{kind}-{version}-deflate{level}").write_bytes(b"\x03" + packer.compress(file.bytes()) + packer.flush())
(root / "nifti" / "freesurfer").write_bytes(b"\x00" + Nifti((5, 1, 1), "f4", fields={"dim": [3, -1, 1, 1, 1, 1, 1, 1], "glmin": 5}).bytes())
(root / "store").mkdir(parents=True, exist_ok=True)
for side, width in itertools.product((4, 33), (1, 2)):
    channel = f'{{"name":"T1w","bytes":{width},"scale":0.5,"offset":1,"outside":0}}'
    affine = ",".join(str(float(i % 5 == 0)) for i in range(16))
    shape = f'"shape":[{side},4,4],"chunk":32,"spacing":[1,1,1],"affine":[{affine}]'
    header = f'{{{shape},"channels":[{channel}],"settings":"{{}}","facts":"{{}}"}}'.encode()
    header += b" " * (-len(header) % 8)
    chunks = -(-side // 32)
    start = 16 + len(header) + 16 * chunks + 8
    table = b"".join((start if i == 0 else 0).to_bytes(8, "little") + bytes(8) for i in range(chunks))
    body = b"SSLMEDV1" + len(header).to_bytes(8, "little") + header + table + bytes(8) + bytes(range(256)) * (4 * width)
    (root / "store" / f"{side}-{width}").write_bytes(body)
# Method, bits (128 and more: the payload is repeated to its size), rows, n, parameter, seed, payload.
(root / "federated").mkdir(parents=True, exist_ok=True)
for method, bits, rows, n, parameter in (
    (1, 164, 0, 700, 512),
    (1, 3, 0, 64, 0),
    (2, 161, 0, 300, 64),
    (3, 164, 0, 300, 128),
    (4, 152, 0, 1000, 9),
    (5, 32, 0, 9, 2**31),
    (6, 152, 5, 60, 2),
):
    head = bytes([method, bits, rows]) + n.to_bytes(2, "little") + parameter.to_bytes(4, "little") + b"\x07"
    (root / "federated" / f"{method}-{bits}").write_bytes(head + np.full(3, 0.5, np.float32).tobytes() + bytes(range(20)))
arrays = {
    "types": {kind.replace(">", "big").replace("<", "little"): np.arange(3).astype(kind) for kind in ("?", "i1", ">i2", "<u4", ">f8", "f2", ">c8", "c16")},
    "axes": {"scalar": np.array(7), "none": np.zeros((0, 3)), "many": np.ones((1, 2, 1, 2)), "fortran": np.asfortranarray(np.arange(6).reshape(2, 3))},
    "images": {f"{part}_{what}": np.full((2, 4, 4) if what == "images" else (2, 1), 3, np.uint8) for part in ("train", "val") for what in ("images", "labels")},
    "refused": {"text": np.array(["a"]), "time": np.array(["2020"], "M8[D]"), "é": np.zeros(2, [("x", "<f4")])},
    "empty": {},
}
(root / "npz").mkdir(parents=True, exist_ok=True)
for name, content in arrays.items():
    for save_as in (np.savez, np.savez_compressed):
        with (root / "npz" / f"{name}_{save_as.__name__}").open("wb") as file:
            save_as(file, **content)
# Sizes of 64 bits, and descriptors behind bytes that were written to a stream.
zipfile.ZIP64_LIMIT = 50
with zipfile.ZipFile(root / "npz" / "large", "w", zipfile.ZIP_DEFLATED) as archive:
    for name in ("a.npy", "b.npy"):
        with archive.open(name, "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.arange(40), version=(2, 0))


class Stream(io.RawIOBase):
    """Cannot be rewound."""

    def __init__(self):
        self.bytes = b""

    def writable(self):
        return True

    def write(self, data):
        self.bytes += bytes(data)
        return len(data)


stream = Stream()
with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w", force_zip64=True) as member:
    np.lib.format.write_array(member, np.arange(5.0), version=(3, 0))
(root / "npz" / "stream").write_bytes(stream.bytes)
