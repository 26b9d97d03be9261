// Times frames of an ONNX network in ONNX Runtime on one thread: peer.cjs MODEL FRAMES
const ort = require("onnxruntime-node");

(async () => {
  const [, , model, frames] = process.argv;
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: "sequential", graphOptimizationLevel: "all",
  });
  const x = Float32Array.from({ length: 3 * 224 * 224 }, (_, i) => ((i * 7919) % 2000 - 1000) / 400);
  const feed = { [session.inputNames[0]]: new ort.Tensor("float32", x, [1, 3, 224, 224]) };
  const times = [];
  for (let i = -3; i < Number(frames); i++) {
    const start = process.hrtime.bigint();
    await session.run(feed);
    if (i >= 0) times.push(Number(process.hrtime.bigint() - start) / 1e6);
  }
  times.sort((a, b) => a - b);
  console.log(JSON.stringify({ best_ms: times[0], median_ms: times[times.length >> 1] }));
})();
