"""The compiler and the clock of programs, with figures of the machine that the caller chooses: a pipe to tests/fit/retime."""
import os
import subprocess


class Clock:
    def __init__(self, binary, networks, folder):
        self.networks, self.folder = networks, folder
        os.makedirs(folder, exist_ok=True)
        self.log = open(os.path.join(folder, "retime.log"), "w", encoding="utf-8")
        self.pipe = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1)
        self.made, self.known = {}, {}

    def ask(self, *words):
        line = " ".join(map(str, words))
        self.pipe.stdin.write(line + "\n")
        self.pipe.stdin.flush()
        said = self.pipe.stdout.readline().split()
        if not said or said[0] != "ok":
            raise SystemExit(f"{line}: {' '.join(said[1:]) or 'no answer'}")
        return said[1:]

    def program(self, run, base, figures):
        """Compiles once per network, level and figures; gives the file."""
        key = (run.model, run.level, base, *words(figures))
        if key not in self.made:
            path = os.path.join(self.folder, f"{len(self.made)}.bpu")
            model = os.path.join(self.networks, f"{run.model}.onnx")
            self.ask("compile", model, path, base, run.level, run.source, *words(figures))
            self.made[key] = path
        return self.made[key]

    def run(self, run, base, figures):
        """us of a run, bytes loaded and stored: compiled for these figures and timed with them, as the product does. The file is not
        kept: there are hundreds."""
        if not run.depthwise:
            figures = {k: v for k, v in figures.items() if not k.startswith("depthwise_")}
        key = (run.model, run.level, base, *words(figures))
        if key not in self.known:
            path = os.path.join(self.folder, "scratch.bpu")
            model = os.path.join(self.networks, f"{run.model}.onnx")
            self.ask("compile", model, path, base, run.level, run.source, *words(figures))
            self.known[key] = self.time(path, base, figures)
        return self.known[key]

    def time(self, path, base, figures):
        said = self.ask("time", path, base, *words(figures))
        return float(said[0]), int(said[1]), int(said[2])

    def machine(self, march):
        """The product's figures of a march, and their mark."""
        mark, count = self.ask("machine", march)
        rows = [self.pipe.stdout.readline().split() for _ in range(int(count))]
        return mark, {k: float(v) for k, v in rows}

    def layers(self, path, base, figures):
        """{name: (computing us, loading us, storing us, operations)}"""
        count = int(self.ask("layers", path, base, *words(figures))[0])
        rows = [self.pipe.stdout.readline().split() for _ in range(count)]
        return {r[0]: tuple(map(float, r[1:])) for r in rows}


def words(figures):
    return [f"{k}={v:.9g}" for k, v in sorted(figures.items())]
