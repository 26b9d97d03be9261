#!/usr/bin/python3
"""The same network as ONNX, as TorchScript and as graph JSON must give the same verdict and the same findings on both marches.

usage: tests/zoo/agree.py [NAME...]     environment: ZOO=folder (default build/zoo), BPUHUB=binary

NAME.onnx must be there (tests/zoo/run.sh makes it); NAME.pt is traced here when it is missing, and NAME.layers.pt for
networks that PyTorch traces in another form without gradients; the JSON is what `bpuhub convert` writes. Compared: verdict, and of each
finding rule, severity, operator and actual value, as a multiset."""
import collections
import json
import os
import subprocess
import sys
import tempfile

import export

BPUHUB = os.environ.get("BPUHUB", "build/bpuhub")
ZOO = os.environ.get("ZOO", "build/zoo")
# Traced without gradients, their layers of attention are one operator each, which ONNX does not have: a third form.
WHOLE_LAYERS = {"vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32"}


def trace(name, path, gradients=True):
    """In a child process, so that its memory goes back when it is done."""
    script = ("import sys; sys.path.insert(0, 'tests/zoo'); import torch, warnings, export, torchvision.models as M; "
              "warnings.filterwarnings('ignore'); torch.set_num_threads(1); name, path, side, gradients = sys.argv[1:]; "
              "torch.set_grad_enabled(gradients == 'True'); "
              "net = export.builder(M, name).eval(); x = torch.randn(1, 3, int(side), int(side)); "
              "torch.jit.save(torch.jit.trace(net, x, check_trace=False, strict=False), path)")
    subprocess.run(["/usr/bin/python3", "-c", script, name, path + ".tmp", str(export.SIDE.get(name, 224)),
                    str(gradients)], check=True)
    os.rename(path + ".tmp", path)


def check(path, march, *options):
    run = subprocess.run([BPUHUB, "check", path, "--march", march, "--json", "-", *options], capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(f"{path}: {run.stderr}")
    report = json.loads(run.stdout)
    return report["verdict"], collections.Counter(
        (f["rule"], f["severity"], f["op"], json.dumps(f["actual"])) for f in report["findings"])


def main():
    names = sys.argv[1:] or [n for n in export.FAMILIES if os.path.exists(f"{ZOO}/{n}.onnx")]
    passed = failed = 0
    for name in names:
        onnx, traces = f"{ZOO}/{name}.onnx", {"TorchScript": f"{ZOO}/{name}.pt"}
        if name in WHOLE_LAYERS:
            traces["TorchScript of whole layers"] = f"{ZOO}/{name}.layers.pt"
        for form, pt in traces.items():
            if not os.path.exists(pt):
                trace(name, pt, form == "TorchScript")
        side = export.SIDE.get(name, 224)
        with tempfile.NamedTemporaryFile(suffix=".json") as converted:
            subprocess.run([BPUHUB, "convert", onnx, "-o", converted.name], check=True)
            for march in ("bayes", "bernoulli2"):
                want = check(onnx, march)
                forms = {form: check(pt, march, "--option", f"input.0=1x3x{side}x{side}") for form, pt in traces.items()}
                forms["graph JSON"] = check(converted.name, march)
                for form, got in forms.items():
                    if got == want:
                        passed += 1
                        continue
                    failed += 1
                    print(f"{name} on {march}: {form} says {got[0]}, ONNX {want[0]}; "
                          f"only there {list((got[1] - want[1]).items())[:4]}, only ONNX {list((want[1] - got[1]).items())[:4]}")
    print(f"agree: {passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


main()
