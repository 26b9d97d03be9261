#!/usr/bin/python3
"""Exports torchvision's classification and segmentation networks to ONNX for `make test-zoo`.

    apt-get install --no-install-recommends python3-torch python3-torchvision python3-onnx
    /usr/bin/python3 tests/zoo/export.py --out build/zoo            # one small network of each family
    /usr/bin/python3 tests/zoo/export.py --out build/zoo --small    # all but the huge ones
    /usr/bin/python3 tests/zoo/export.py --out build/zoo --all
    /usr/bin/python3 tests/zoo/export.py --out build/zoo resnet18 vit_b_16

Writes NAME.onnx (random weights, evaluation mode, static shapes) and NAME.json, which holds the shape that
onnx.shape_inference gives for every value: an oracle that is not ours. Opset 13, or the next one up to 17
at which PyTorch can export the network. A network that is there already is left alone; nothing is deleted.
Each network is made in a child process of its own, so that its memory goes back when it is done.
"""
import argparse
import json
import os
import sys
import time
import warnings

# More than 2 GB, which a protobuf message cannot hold: PyTorch would write the weights beside the file.
NOT_ONE_FILE = {"vit_h_14", "regnet_y_128gf"}
# Files of more than 400 MB.
HUGE = {"vit_l_16", "vit_l_32", "wide_resnet101_2", "regnet_y_32gf", "regnet_x_32gf",
        "convnext_large", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19",
        "vgg19_bn", "efficientnet_v2_l"}
FAMILIES = ["squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5",
            "resnet18", "densenet121", "googlenet", "inception_v3", "efficientnet_b0", "regnet_y_400mf",
            "regnet_x_400mf", "lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "swin_t",
            "swin_v2_t", "convnext_tiny", "vit_b_32", "maxvit_t", "efficientnet_v2_s",
            "resnext50_32x4d", "wide_resnet50_2", "fcn_resnet50", "alexnet", "resnet50"]
# Smallest input that the network takes, where that is not 224.
SIDE = {"inception_v3": 299}


def classification(models):
    return [n for n in models.list_models(module=models)]


def segmentation(models):
    return [n for n in models.list_models(module=models.segmentation)]


def builder(models, name):
    """The network with random weights, and with the plain tensor as its only output."""
    import torch
    if name in segmentation(models):
        net = getattr(models.segmentation, name)(weights=None, weights_backbone=None)

        class Logits(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.net = net

            def forward(self, x):
                return self.net(x)["out"]
        return Logits()
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return getattr(models, name)(weights=None, **extra)


def shape_of(value):
    """[1, 3, None] of a ValueInfoProto; None where the rank is open."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]


def oracle(path):
    """Shapes by onnx.shape_inference alone, without what PyTorch wrote into the file, and which node gives
    which values."""
    import onnx
    model = onnx.load(path)
    del model.graph.value_info[:]
    for t in model.graph.initializer:
        # Shapes follow from the dims of weights; only integer tensors are read by data propagation.
        if t.data_type == onnx.TensorProto.FLOAT and len(t.raw_data) > 4096:
            t.ClearField("raw_data")
    model = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    graph = model.graph
    values = {v.name: shape_of(v) for v in [*graph.input, *graph.value_info, *graph.output]}
    return {"opset": model.opset_import[0].version, "node_count": len(graph.node),
            "inputs": [v.name for v in graph.input], "outputs": [v.name for v in graph.output],
            "results": {n.name: list(n.output) for n in graph.node}, "values": values}


def export(name, out):
    import torch
    import torchvision.models as models
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    side = SIDE.get(name, 224)
    # PyTorch 1.13 cannot export zero_() on a slice (swin_v2's key bias); a copy means the same.
    torch.Tensor.zero_ = lambda self: self.copy_(torch.zeros_like(self))
    net, x = builder(models, name).eval(), torch.randn(1, 3, side, side)
    path, failure = os.path.join(out, name + ".onnx"), None
    for opset in range(13, 18):
        try:
            # Gradients stay enabled: without them attention takes a fused path that ONNX lacks.
            torch.onnx.export(net, x, path + ".part", opset_version=opset, input_names=["input"],
                              output_names=["output"])
            break
        except Exception as e:  # an operator that this opset lacks
            failure = failure or e
    else:
        print(f"{name}: cannot be exported: {str(failure).strip().splitlines()[0]}", file=sys.stderr)
        return 1
    del net
    facts = oracle(path + ".part")
    with open(os.path.join(out, name + ".json"), "w") as f:
        json.dump(facts, f, indent=0)
    os.rename(path + ".part", path)  # last: a network that is there has its facts
    open_shapes = sum(s is None or None in s for s in facts["values"].values())
    print(f"{name}: opset {facts['opset']}, {facts['node_count']} nodes, {os.path.getsize(path) >> 20} MB, "
          f"{open_shapes} of {len(facts['values'])} shapes open in the oracle")
    return 0


def in_child(name, out):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = export(name, out)
        except BaseException as e:
            print(f"{name}: {type(e).__name__}: {e}", file=sys.stderr)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default="build/zoo")
    p.add_argument("--small", action="store_true", help="all networks but those over 400 MB")
    p.add_argument("--all", action="store_true")
    p.add_argument("--list", action="store_true", help="print the names that would be made, make nothing")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    os.nice(10)
    import torchvision.models as models
    every = classification(models) + segmentation(models)
    names = a.names or (every if a.all or a.small else FAMILIES)
    unknown = [n for n in names if n not in every]
    if unknown:
        sys.exit(f"torchvision has no {', '.join(unknown)}; it has: {' '.join(every)}")
    for reason, group in (("over 2 GB", NOT_ONE_FILE), ("over 400 MB", HUGE if a.small and not a.all else ())):
        left_out = [n for n in names if n in group]
        if left_out:
            names = [n for n in names if n not in group]
            print(f"left out, {reason}: {' '.join(left_out)}", file=sys.stderr)
    if a.list:
        print("\n".join(names))
        return
    os.makedirs(a.out, exist_ok=True)
    failed = []
    for name in names:
        if os.path.exists(os.path.join(a.out, name + ".onnx")):
            print(f"{name}: there already")
            continue
        began = time.monotonic()
        if in_child(name, a.out):
            print(f"  {time.monotonic() - began:.1f} s", flush=True)
        else:
            failed.append(name)
    print(f"export: {len(names) - len(failed)} made or there, {len(failed)} failed{': ' if failed else ''}"
          + " ".join(failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
