"""What was published, and what is assumed about it where it does not say.

tests/facts/published_perf.tsv has a row per run, tests/facts/mbv2_bayes_layers.csv one per layer of one of them. Kinds of run:

  static   what the vendor's tool predicts for a compiled network: the time of the program alone
  board    measured on a board, one frame after the other from one thread: the program and what starting a run takes. The frames
           per second that several threads reach hide that start; cores / fps is then the time of a program."""
import csv
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
FACTS = os.path.join(HERE, "../facts")
MARCHES = ("bernoulli2", "bayes", "bayes_e")
CORES = {"bernoulli2": 2, "bayes": 2, "bayes_e": 1}
# bayes_e is no march of the product: it is Bayes with other figures.
BASE = {"bernoulli2": "bernoulli2", "bayes": "bayes", "bayes_e": "bayes"}
NOT_PUBLIC = {"bev_gkt_mixvargenet": "the network is not public; its 10.8 TOPS while computing bound the array's rate from below"}
# Why it has no part in the fit and in the errors.
NOT_THE_SAME = {"yolov8s_varg": "not reproduced. The note does not say all of it: what follows from it has 21097676800 operations, "
                                "8.5 % fewer than the published 23051673600, so that neither its time nor its traffic is compared"}
ASSUMED = {
    "mobilenet_v1": "width 1.0, ReLU; input NV12 from the pyramid",
    "googlenet": "torchvision's, with batch norm and without local response normalization, which Bernoulli2 leaves to the CPU",
    "resnet18": "torchvision's",
    "repvgg_a0": "deploy form: one 3x3 convolution a block",
    "repvgg_a1": "deploy form: one 3x3 convolution a block",
    "mobileone_4.8M": "S1, which has 4.8 M parameters, deploy form",
    "yolov5x_v2": "release 2.0, LeakyReLU(0.1), outputs before decoding; the operator table has neither LeakyReLU nor a "
                  "concatenation of 2560 channels on the BPU, so `bpuhub compile` refuses it: it is compiled without the check",
    "yolov8s_varg": "as the note says, all else as in YOLOv8s; outputs before decoding",
    "mobilenet_v2_cifar": "10 classes, which make the operations exact; ReLU6 as ReLU; `O1 ddr` is level O1: with bands (O2 and up) "
                          "our compiler moves a fiftieth of the published bytes",
    "yolov8n": "SiLU, outputs before decoding; `O3 fast` is level fast",
    "yolov8n-cls": "SiLU; `O3 fast` is level fast",
    "efficientnet_b2": "SiLU, squeeze and excitation on the BPU, 260x260 from DDR (a pyramid needs a width of multiples of 16)",
    "convnext_atto": "GELU, LayerNorm as one operator each",
}
DEPTHWISE = {"mobilenet_v1", "mobileone_4.8M", "mobilenet_v2_cifar", "efficientnet_b2", "convnext_atto"}
LEVEL = {"O3 fast": "fast", "O1 ddr": "1"}


class Run:
    """A row of the table; us is the time of a program as far as the row tells it."""

    def __init__(self, row):
        self.march, self.kind, self.model, self.note = row["march"], row["kind"], row["model"], row["note"]
        self.options = row["options"]
        self.depthwise = self.model in DEPTHWISE
        def number(key):
            return None if row[key] == "-" else float(row[key])
        self.latency_us, self.fps, self.ddr, self.ops = (number(k) for k in ("latency_us", "fps", "ddr_bytes_per_frame", "ops_per_frame"))
        said = re.search(r"([0-9.]+) FPS", self.note) if self.kind == "board" else None
        self.threads_us = CORES[self.march] * 1e6 / float(said[1]) if said else None
        # Half of the last digit that the frames per second are written with, as time.
        self.threads_off = self.threads_us / float(said[1]) * 0.5 * 10 ** -len(said[1].partition(".")[2]) if said else None
        self.batch = 256 if self.model == "mobilenet_v2_cifar" else 1
        self.level = next((v for k, v in LEVEL.items() if k in self.options), "3")
        self.source = "ddr" if self.model in ("efficientnet_b2", "mobilenet_v2_cifar") else "pyramid"

    @property
    def public(self):
        return self.model not in NOT_PUBLIC

    @property
    def fitted(self):
        return self.public and self.model not in NOT_THE_SAME

    @property
    def start_us(self):
        """What one thread waits for beyond the program, as far as two figures of one network tell: 3.9 frames per second do not
        tell 0.1 ms from 6."""
        if not self.threads_us or self.threads_off > abs(self.latency_us - self.threads_us):
            return None
        return self.latency_us - self.threads_us


def table(name):
    with open(os.path.join(FACTS, name), encoding="utf-8") as f:
        lines = [l for l in f if not l.startswith("#")]
    return csv.DictReader(lines, delimiter="\t" if name.endswith(".tsv") else ",")


def runs():
    return [Run(r) for r in table("published_perf.tsv")]


def layers():
    """Rows of the layer table; the published tool names a projection with its sum `…+add`, our programs name the convolution."""
    rows = list(table("mbv2_bayes_layers.csv"))
    for r in rows:
        r["name"] = r["layer"].replace("+add", "")
        for k in ("compute_us", "loadstore_us"):
            r[k] = float(r[k])
        for k in ("hout", "groups", "ops_reported", "batch", "cin", "cout", "hin", "k", "stride"):
            r[k] = int(r[k])
    return rows
