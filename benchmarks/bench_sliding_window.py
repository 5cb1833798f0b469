"""Claim: sliding-window inference of a 256³ volume takes less time than MONAI's with the same network, and half the memory.

"same function": both libraries call one PyTorch module (MONAI's DynUNet), so that only what is around the network differs. "same weights": ours calls its
own U-Net with these weights in C++. Memory is the peak of the process above what it had before the call.
"""

import argparse
import json
import subprocess
import sys

import torch
from common import in_turns, peak_above, ratio_of, summary, write

import sslmed as sm
from sslmed import nn

FILTERS = [8, 16, 32]


def networks(classes: int):
    """Our U-Net and MONAI's with the same weights."""
    from monai.networks.nets import DynUNet

    torch.manual_seed(0)
    theirs = DynUNet(3, 1, classes, [3] * 3, [1, 2, 2], [2, 2], filters=FILTERS, norm_name=("INSTANCE", {"affine": True})).eval()
    ours = nn.Segmenter(nn.create("unet", rank=3, in_chans=1, filters=FILTERS), classes).eval()
    halves = {name: "decoder" if name.startswith(("upsamples", "output_block")) else "encoder" for name in theirs.state_dict()}
    ours.load_state_dict({f"{halves[name]}.{name}": value for name, value in theirs.state_dict().items() if not name.startswith("skip_layers")})
    return ours, theirs


def contestants(size: int, roi: int, classes: int):
    from monai.inferers import sliding_window_inference

    ours, theirs = networks(classes)
    image = torch.randn(1, size, size, size)

    def monai() -> torch.Tensor:
        with torch.inference_mode():
            return sliding_window_inference(image[None], (roi,) * 3, 1, theirs, 0.25, "gaussian")[0].argmax(0)

    def same_function() -> torch.Tensor:
        return sm.inference.sliding_window(image, theirs, roi, argmax=True)

    def same_weights() -> torch.Tensor:
        return sm.inference.sliding_window(image, ours, roi, argmax=True)

    return {"MONAI": monai, "sslmed, same function": same_function, "sslmed, same weights": same_weights}


def memory(name: str, size: int, roi: int, classes: int) -> None:
    """Prints the peak of one call, in a process of its own."""
    call = contestants(size, roi, classes)[name]
    contestants(roi, roi, classes)[name]()  # what a first call loads
    print(json.dumps(peak_above(call)))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--roi", type=int, default=96)
    options.add_argument("--classes", type=int, nargs="+", default=[4, 20])
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--memory", nargs=2, metavar=("NAME", "CLASSES"), help="measure one in this process")
    given = options.parse_args()
    if given.memory:
        memory(given.memory[0], given.size, given.roi, int(given.memory[1]))
        return
    body: dict[str, dict] = {"ratios": {}}
    for classes in given.classes:
        row = f"{given.size}³, windows of {given.roi}³, {classes} classes"
        rivals = contestants(given.size, given.roi, classes)
        for call in contestants(given.roi, given.roi, classes).values():
            call()  # what a first call loads
        times = in_turns(rivals, given.rounds)
        body[f"{row}, s"] = {name: summary(values) for name, values in times.items()}
        base = [sys.executable, __file__, "--size", str(given.size), "--roi", str(given.roi)]
        peaks = {}
        for name in rivals:
            done = subprocess.run([*base, "--memory", name, str(classes)], capture_output=True, text=True, check=True)
            peaks[name] = float(done.stdout)
        body[f"{row}, MiB"] = peaks
        for name in list(rivals)[1:]:
            body["ratios"][f"{row}, time of MONAI over {name}"] = ratio_of(times, "MONAI", name)
            body["ratios"][f"{row}, memory of MONAI over {name}"] = peaks["MONAI"] / peaks[name]
        write("sliding_window", body)  # each row as soon as it is there


if __name__ == "__main__":
    main()
