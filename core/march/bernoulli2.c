/* Bernoulli2: the march of RDK X3 and Journey 3, as data.
 *
 * The numbers are those of the two public operator tables, row by row in their order; the wording
 * of messages is made from the data.  tests/unit/test_tables.py holds every row against them.
 * What the rows do not say: tensors have four axes. */
#include "core/march/limit.h"

#define DIVIDES READING("dilation is read as divisible by stride wherever there is dilation")
#define LOOKUP(name)                                                                               \
    {.op = name, YES, .inputs = Q8, .outputs = Q8, .refers = "torch.exp", .limits = lookup_table}

static const struct limit add_limits[] = {
    MAX(IN_CHANNELS, 2048),
    IN_SET(CONST_OPERAND, WORDS("false"),
           READING("read as any operand that no node or model input makes")),
    {.quantity = Q_NONE},
};

static const struct limit max_limits[] = {
    IN_SET(OUTPUT_ONLY, WORDS("true"), ON(RESULT)), STATES(OUTPUT_FORMAT),
    {.quantity = Q_NONE},
};

static const struct limit lookup_table[] = {
    ADVICE(ACCURACY_RISK, "pieced together from lookup tables"),
    {.quantity = Q_NONE},
};

static const struct limit interpolate_limits[] = {
    IS(MODE, "nearest", "bilinear"), RANGE_ABOVE(SCALE_FACTOR, 1.0 / 256, 256),
    {.quantity = Q_NONE},
};

static const struct limit avgpool2d_limits[] = {
    RANGE(KERNEL_H, 1, 7), RANGE(KERNEL_W, 1, 7), RANGE(STRIDE_H, 1, 185), RANGE(STRIDE_W, 1, 185),
    {.quantity = Q_NONE},
};

static const struct limit batchnorm2d_limits[] = {
    ADVICE(ABSORBED_IN_QAT, NULL), IN_SET(COMPOSED_OF, WORDS("BpuConvolution"), WHEN(STANDALONE)),
    {.quantity = Q_NONE},
};

static const struct limit onnx_batchnormalization_limits[] = {
    IS(FUSED_INTO, "Conv"),
    {.quantity = Q_NONE},
};

static const struct limit onnx_folded_limits[] = {
    IS(CONSTANT_FOLDING, "true"),
    {.quantity = Q_NONE},
};

static const struct limit onnx_cos_limits[] = {
    IS(N, "1"), MAX(CHW, 8192),
    {.quantity = Q_NONE},
};

static const struct limit onnx_depthtospace_limits[] = {
    IS(MODE, "DCR", "CRD"), STATES(BLOCK_AXES), IS(BLOCKSIZE, "2"),
    {.quantity = Q_NONE},
};

static const struct limit onnx_squeeze_limits[] = {
    IN_SET(CONSTANT_FOLDING, WORDS("true"), WHEN(CONSTANT_SUBGRAPH)),
    {.quantity = Q_NONE},
};

static const struct cell torch_cells[] = {
    NO("torch.abs"), NO("torch.acos"), NO("torch.acosh"),
    {.op = "torch.add", YES, .inputs = Q8 | Q16, .outputs = Q8 | Q16, .limits = add_limits,
     .note = "a constant operand is read as any operand that no node or model input makes"},
    {.op = "torch.argmax", YES, .inputs = Q8, .outputs = SAME, .refers = "torch.max",
     .limits = max_limits},
    {.op = "torch.argmin", YES, .inputs = Q8, .outputs = SAME, .refers = "torch.max",
     .limits = max_limits,
     .note = "refers to torch.max, which is supported, while torch.min is not; read as supported"},
    NO("torch.asin"), NO("torch.asinh"), NO("torch.atan"), NO("torch.atanh"),
    {.op = "torch.cat", YES, .inputs = Q8 | Q16, .outputs = Q8 | Q16},
    NO("torch.ceil"), NO("torch.clamp"), NO("torch.clip"), NO("torch.cos"), NO("torch.cosh"),
    NO("torch.div"), NO("torch.eq"), NO("torch.erf"),
    {.op = "torch.exp", YES, .inputs = Q8, .outputs = Q8, .limits = lookup_table},
    NO("torch.floor"), NO("torch.gather"), NO("torch.ge"), NO("torch.greater"),
    NO("torch.greater_equal"), NO("torch.gt"), NO("torch.le"), NO("torch.less"),
    NO("torch.less_equal"), NO("torch.log"), NO("torch.lt"),
    {.op = "torch.matmul", YES, .inputs = Q8, .outputs = Q8 | Q32},
    {.op = "torch.max", YES, .inputs = Q8, .outputs = SAME, .limits = max_limits},
    NO("torch.maximum"),
    {.op = "torch.mean", YES, .inputs = Q8 | Q16, .outputs = Q8 | Q16,
     LIMITS(IS(REDUCE_AXIS, "C"), ADVICE(NOT_STANDALONE, "training learns its parameters"))},
    NO("torch.min"), NO("torch.minimum"),
    {.op = "torch.mul", YES, .inputs = Q8 | Q16, .outputs = Q8 | Q16, .refers = "torch.add",
     .limits = add_limits,
     .note = "a constant operand is read as any operand that no node or model input makes"},
    NO("torch.pow"), NO("torch.reciprocal"), NO("torch.selu"), NO("torch.sin"), NO("torch.sinh"),
    {.op = "torch.split", YES, .inputs = Q8 | Q16, .outputs = SAME},
    NO("torch.sqrt"),
    {.op = "torch.sub", YES, .inputs = Q8 | Q16, .outputs = Q8 | Q16,
     LIMITS(MAX(IN_CHANNELS, 2048))},
    {.op = "torch.sum", YES, .inputs = Q8, .outputs = Q8 | Q32, LIMITS(IS(REDUCE_AXIS, "N", "C"))},
    NO("torch.tan"), NO("torch.topk"), NO("torch.nn.functional.grid_sample"),
    {.op = "torch.nn.functional.interpolate", YES, .inputs = Q8, .outputs = Q8,
     .limits = interpolate_limits},
    NO("torch.nn.functional.pad"),
    {.op = "torch.nn.functional.relu", YES, .inputs = Q8, .outputs = Q8},
    {.op = "torch.nn.functional.relu6(fused)", BLANK, .inputs = Q8, .outputs = SAME,
     .note = "the cell is empty; read as torch.nn.ReLU6"},
    NO("torch.nn.AdaptiveAvgPool2d"),
    {.op = "torch.nn.AvgPool2d", YES, .inputs = Q8, .outputs = SAME, .limits = avgpool2d_limits},
    {.op = "torch.nn.BatchNorm2d", BLANK, .inputs = Q8, .outputs = Q8, .limits = batchnorm2d_limits,
     .note = "the dtype cells are empty; read as qint8"},
    {.op = "torch.nn.BatchNorm3d", BLANK, .inputs = Q8, .outputs = Q8, .limits = batchnorm2d_limits,
     .note = "the dtype cells are empty, read as qint8; 5-D input is legal only when absorbed"},
    {.op = "torch.nn.ChannelShuffle", YES, .inputs = Q8, .outputs = SAME},
    {.op = "torch.nn.ConstantPad2d", YES, .inputs = Q8, .outputs = SAME,
     .refers = "torch.nn.ZeroPad2d"},
    {.op = "torch.nn.Conv2d", YES, .inputs = Q8, .outputs = Q8 | Q32},
    NO("torch.nn.Conv3d"),
    {.op = "torch.nn.ConvTranspose2d", YES, .inputs = Q8, .outputs = Q8,
     LIMITS(RANGE(KERNEL_H, 2, 14), RANGE(KERNEL_W, 2, 14),
            MAX(IN_CHANNELS, 2048, READING("the channel bound is read for input and output")),
            MAX(OUT_CHANNELS, 2048, READING("the channel bound is read for input and output")),
            MIN(PADDING_H, 0, RELATION(PAD_HALF_KERNEL_1_H)),
            MIN(PADDING_W, 0, RELATION(PAD_HALF_KERNEL_1_W)), RANGE(STRIDE_H, 2, 4),
            RANGE(STRIDE_W, 2, 4), IS(DILATION_H, "1"), IS(DILATION_W, "1")),
     .note = "stride 3 lies in the range although the ONNX table excludes it; the channel bound "
             "is read for input and output"},
    {.op = "torch.nn.Dropout", YES, .inputs = Q8 | Q16 | Q32, .outputs = SAME},
    {.op = "torch.nn.Dropout2d", YES, .inputs = Q8 | Q16 | Q32, .outputs = SAME},
    NO("torch.nn.ELU"), LOOKUP("torch.nn.GELU"), NO("torch.nn.GLU"), NO("torch.nn.HardSigmoid"),
    {.op = "torch.nn.Identity", YES, .inputs = Q8 | Q16 | Q32, .outputs = SAME},
    NO("torch.nn.Layernorm"), NO("torch.nn.LeakyReLU"), NO("torch.nn.Linear"),
    NO("torch.nn.LSTMCell"),
    {.op = "torch.nn.MaxPool2d", YES, .inputs = Q8, .outputs = SAME,
     LIMITS(RANGE(KERNEL_H, 1, 64), RANGE(KERNEL_W, 1, 64), RANGE(STRIDE_H, 1, 256),
            RANGE(STRIDE_W, 1, 256), MIN(PADDING_H, 0), MIN(PADDING_W, 0))},
    NO("torch.nn.MultiheadAttention"),
    {.op = "torch.nn.PixelShuffle", YES, .inputs = Q8 | Q16, .outputs = SAME},
    {.op = "torch.nn.PixelUnshuffle", YES, .inputs = Q8 | Q16, .outputs = SAME},
    NO("torch.nn.PReLU"),
    {.op = "torch.nn.ReLU", YES, .inputs = Q8, .outputs = SAME},
    {.op = "torch.nn.ReLU6", YES, .inputs = Q8, .outputs = SAME},
    {.op = "torch.nn.ReplicationPad2d", YES, .inputs = Q8, .outputs = SAME,
     .refers = "torch.nn.ZeroPad2d"},
    LOOKUP("torch.nn.Sigmoid"), LOOKUP("torch.nn.SiLU"), NO("torch.nn.Softmax"),
    NO("torch.nn.Softplus"),
    {.op = "torch.nn.SyncBatchNorm", YES, .inputs = Q8, .outputs = Q8,
     LIMITS(IS(COMPOSED_OF, "torch.nn.Conv2d"),
            IN_SET(LIMITS_OF, WORDS("torch.nn.Conv2d"), .inferred = true,
                   READING("the limits of the convolution are inferred, not stated"))),
     .note = "the limits of the convolution are inferred, not stated"},
    LOOKUP("torch.nn.Tanh"),
    {.op = "torch.nn.Upsample", YES, .inputs = Q8, .outputs = Q8,
     .refers = "torch.nn.functional.interpolate",
     .limits = interpolate_limits},
    {.op = "torch.nn.UpsamplingBilinear2d", YES, .inputs = Q8, .outputs = Q8,
     .refers = "torch.nn.functional.interpolate",
     .limits = interpolate_limits},
    {.op = "torch.nn.UpsamplingNearest2d", YES, .inputs = Q8, .outputs = Q8,
     .refers = "torch.nn.functional.interpolate",
     .limits = interpolate_limits},
    {.op = "torch.nn.ZeroPad2d", YES, .inputs = Q8, .outputs = SAME},
    {.op = "torch.quantization.DeQuantStub", YES, .inputs = Q8 | Q16 | Q32, .outputs = F32},
    {.op = "torch.quantization.QuantStub", YES, .inputs = F32, .outputs = Q8 | Q16},
    {.op = "torch.Tensor.__getitem__", YES, .inputs = Q8 | Q16 | Q32, .outputs = SAME},
    NO("torch.Tensor.transpose"),
    {.op = "torch.Tensor.argmax", YES, .inputs = Q8, .outputs = SAME, .refers = "torch.max",
     .limits = max_limits},
    {.op = "torch.Tensor.argmin", YES, .inputs = Q8, .outputs = SAME, .refers = "torch.max",
     .limits = max_limits,
     .note = "refers to torch.max, which is supported, while torch.min is not; read as supported"},
    NO("torch.Tensor.clamp"), NO("torch.Tensor.clip"), NO("torch.Tensor.eq"),
    NO("torch.Tensor.expand"), NO("torch.Tensor.ge"), NO("torch.Tensor.greater"),
    NO("torch.Tensor.greater_equal"), NO("torch.Tensor.gt"), NO("torch.Tensor.le"),
    NO("torch.Tensor.less"), NO("torch.Tensor.less_equal"), NO("torch.Tensor.max"),
    NO("torch.Tensor.min"), NO("torch.Tensor.repeat"), NO("torch.Tensor.reshape"),
    NO("torch.Tensor.tile"), NO("torch.Tensor.abs"),
    {.op = "torchvision.models.detection.rpn.AnchorGenerator", YES, .inputs = Q8 | Q16 | Q32 | F32,
     .outputs = F32,
     LIMITS(IS(STATIC_SHAPE, "true"))},
    {.op = "torchvision.ops.MultiScaleRoIAlign", YES, .inputs = Q8, .outputs = Q8,
     .refers = "torchvision.ops.RoIAlign"},
    {.op = "torchvision.ops.RoIAlign", YES, .inputs = Q8, .outputs = Q8},
};

static const struct onnx_cell onnx_cells[] = {
    ON_CPU("Abs"), ON_CPU("Acos"), ON_CPU("Acosh"),
    {.op = "Add",
     LIMITS(MAX(IN_CHANNELS, 2048), IS(SHAPE_PAIR, "NCHW vs NCHW", "NCHW vs NC11"),
            IS(CONST_OPERAND, "false"), ADVICE(FUSES_INTO_CONV, NULL, WHEN(RESNET_SHORTCUT))),
     .note = "both inputs must come from other nodes; read for every shape"},
    ON_CPU("And"),
    {.op = "ArgMax", LIMITS(IS(RANK, "4"), IS(AXIS, "1"), MAX(C, 64))},
    ON_CPU("ArgMin"), ON_CPU("Asin"), ON_CPU("Asinh"), ON_CPU("Atan"), ON_CPU("Atanh"),
    {.op = "AveragePool", .limits = avgpool2d_limits,
     .note = "the set of strides is read as the range 1 to 185"},
    {.op = "BatchNormalization",
     .limits = onnx_batchnormalization_limits},
    CPU_ABSENT("BitShift"), ON_CPU("Cast"), ON_CPU("Ceil"), ON_BPU("Clip"), CPU_ABSENT("Compress"),
    {.op = "Concat",
     LIMITS(MAX(IN_CHANNELS, 2048), MAX(OUT_CHANNELS, 2048))},
    CPU_ABSENT("ConcatFromSequence"),
    {.op = "Constant", .limits = onnx_folded_limits},
    {.op = "ConstantOfShape", .limits = onnx_folded_limits},
    {.op = "Conv",
     LIMITS(RANGE(KERNEL_H, 1, 7), RANGE(KERNEL_W, 1, 7), MAX(IN_CHANNELS_PER_GROUP, 2048),
            MAX(OUT_CHANNELS_PER_GROUP, 2048),
            MAX(IN_CHANNELS_PER_GROUP, 4096, WHEN(PLAIN_CONV), RELAXES(IN_CHANNELS_PER_GROUP)),
            MAX(OUT_CHANNELS_PER_GROUP, 4096, WHEN(PLAIN_CONV), RELAXES(OUT_CHANNELS_PER_GROUP)),
            IN_SET(STRIDE_H, WORDS("1", "2"), WHEN(FUSED_ADD)),
            IN_SET(STRIDE_W, WORDS("1", "2"), WHEN(FUSED_ADD)), POWER_OF_TWO(DILATION_H),
            POWER_OF_TWO(DILATION_W), HOLDS_WHEN(DILATION_H, DILATION_BY_STRIDE_H, DIVIDES),
            HOLDS_WHEN(DILATION_W, DILATION_BY_STRIDE_W, DIVIDES), HOLDS(DILATION, DILATION_H_LE_W),
            MAX(WEIGHT_ELEMS, 32768)),
     .note = "dilation divisible by stride is taken literally"},
    CPU_ABSENT("ConvInteger"),
    {.op = "ConvTranspose",
     LIMITS(RANGE(KERNEL_H, 2, 14), RANGE(KERNEL_W, 2, 14), MAX(IN_CHANNELS, 2048),
            MAX(OUT_CHANNELS, 2048), MIN(PADDING_H, 0, RELATION(PAD_HALF_KERNEL_1_H)),
            MIN(PADDING_W, 0, RELATION(PAD_HALF_KERNEL_1_W)), IS(STRIDE_H, "2", "4"),
            IS(STRIDE_W, "2", "4"), HOLDS(STRIDE, STRIDE_H_LE_W), IS(DILATION_H, "1"),
            IS(DILATION_W, "1"))},
    {.op = "Cos", .limits = onnx_cos_limits},
    ON_CPU("Cosh"), ON_CPU("CumSum"),
    {.op = "DepthToSpace", .limits = onnx_depthtospace_limits},
    ON_CPU("DequantizeLinear"), CPU_ABSENT("Det"),
    {.op = "Div", .refers = "Mul",
     LIMITS(IS(CONST_OPERAND, "false"), IS(LIMITS_OF, "Mul"))},
    {.op = "Dropout", LIMITS(IS(REMOVED, "true"))},
    CPU_ABSENT("Einsum"), ON_CPU("Elu"), ON_CPU("Equal"), ON_CPU("Erf"),
    {.op = "Exp"},
    ON_CPU("Expand"), ON_CPU("EyeLike"), ON_CPU("Flatten"), ON_CPU("Floor"), ON_CPU("GRU"),
    ON_CPU("Gather"), ON_CPU("GatherElements"), ON_CPU("GatherND"),
    {.op = "Gemm", .refers = "Conv",
     LIMITS(IN_SET(LIMITS_OF, WORDS("Conv"), WHEN(HW_UP_TO_7)), MAX(C, 16384, WHEN(HW_IS_1)),
            MAX(C, 2048, WHEN(HW_NOT_1)), MAX(GEMM_BLOCKS, 1024, WHEN(OUT_INT8)),
            BELOW(GEMM_BLOCKS, 2048, WHEN(OUT_INT32))),
     .note = "W/8 and C/4 are read as rounded up"},
    {.op = "GlobalAveragePool", LIMITS(MAX(HW, 8192))},
    ON_CPU("GlobalLpPool"),
    {.op = "GlobalMaxPool",
     LIMITS(RANGE(H, 1, 1024), RANGE(W, 1, 1024))},
    ON_CPU("Greater"), ON_CPU("HardSigmoid"), CPU_ABSENT("Hardmax"), ON_CPU("Identity"),
    CPU_ABSENT("If"), ON_CPU("InstanceNormalization"), CPU_ABSENT("IsInf"), CPU_ABSENT("IsNaN"),
    ON_CPU("LRN"),
    {.op = "LSTM", LIMITS(IN_SET(BATCH, WORDS("1"), ON(FIRST)))},
    ON_BPU("LeakyRelu"), ON_CPU("Less"),
    {.op = "LessOrEqual", .placement = PLACEMENT_CPU},
    ON_CPU("Log"), ON_CPU("LogSoftmax"), CPU_ABSENT("Loop"), ON_CPU("LpNormalization"),
    ON_CPU("LpPool"), CPU_ABSENT("MatMulInteger"),
    {.op = "MatMul",
     LIMITS(IN_SET(SHAPE_PAIR, WORDS("K vs KxN", "K vs 1xKxN", "K vs 1x1xKxN", "MxK vs K",
         "MxK vs KxN", "MxK vs 1x1xKxN", "1xMxK vs K", "1xMxK vs 1xKxN", "1x1xMxK vs K",
         "1x1xMxK vs 1xKxN", "1x1xMxK vs 1x1xKxN", "BxMxK vs KxN (B>=1)", "1xBxMxK vs KxN (B>=1)",
         "AxBxMxK vs KxN (A>1, B>1)"), WHEN(FEATURE_BY_CONST)),
            IN_SET(SHAPE_PAIR, WORDS("1xBxMxK vs 1x1xKxN (B>1)"), WHEN(CONST_BY_FEATURE)),
            IN_SET(SHAPE_PAIR, WORDS("1xBxMxK vs 1x1xKxN (B>=1)"), WHEN(FEATURE_BY_FEATURE)))},
    ON_CPU("Max"),
    {.op = "MaxPool",
     LIMITS(RANGE(KERNEL_H, 1, 64), RANGE(KERNEL_W, 1, 64), RANGE(STRIDE_H, 1, 185),
            RANGE(STRIDE_W, 1, 185), MIN(PADDING_H, 0), MIN(PADDING_W, 0), IS(DILATION_H, "1"),
            IS(DILATION_W, "1"))},
    ON_CPU("MaxRoiPool"), CPU_ABSENT("Mean"), ON_CPU("Min"), CPU_ABSENT("Mod"),
    {.op = "Mul", LIMITS(IS(RANK, "4"), MAX(C, 2048),
            IS(SHAPE_PAIR, "1xCxHxW vs 1xCxHxW", "1xCxHxW vs 1xCx1x1", "1xCxHxW vs 1x1x1x1"),
            NOT_IN(INPUT_VALUE, WORDS("0"), OF_VALUES)),
     .note = "the clause on zero values cannot be judged from a graph"},
    CPU_ABSENT("Multinomial"), ON_CPU("Neg"), ON_CPU("NonZero"), ON_CPU("Not"), ON_CPU("OneHot"),
    ON_CPU("Or"),
    {.op = "PRelu"},
    {.op = "Pad", LIMITS(IS(MODE, "constant"), IS(PAD_AXES, "H", "W"))},
    {.op = "Pow", LIMITS(IS(EXPONENT_ELEMS, "1"))},
    CPU_ABSENT("QLinearConv"), CPU_ABSENT("QLinearMatMul"), ON_CPU("QuantizeLinear"), ON_CPU("RNN"),
    CPU_ABSENT("RandomNormal"), CPU_ABSENT("RandomNormalLike"), ON_CPU("RandomUniform"),
    ON_CPU("RandomUniformLike"), ON_CPU("Range"), ON_BPU("Reciprocal"), ON_CPU("ReduceL1"),
    ON_CPU("ReduceL2"), ON_CPU("ReduceLogSum"), ON_CPU("ReduceLogSumExp"), ON_CPU("ReduceMax"),
    {.op = "ReduceMean", LIMITS(IS(RANK, "4"), IS(AXES, "[2,3]"))},
    ON_CPU("ReduceMin"), ON_CPU("ReduceProd"), ON_CPU("ReduceSum"), ON_CPU("ReduceSumSquare"),
    {.op = "Relu", .limits = onnx_batchnormalization_limits},
    ON_CPU("Reshape"),
    {.op = "Resize",
     LIMITS(IS(RANK, "4"), IS(RESIZE_AXES, "H", "W"), IS(MODE, "nearest", "linear"),
            POWER_OF_TWO_WHEN(SCALE_H, NEAREST_UP), POWER_OF_TWO_WHEN(SCALE_W, NEAREST_UP),
            HOLDS_WHEN(SCALE, SCALE_H_LE_W, WHEN(NEAREST)),
            IN_SET(COORDINATES, WORDS("half_pixel", "pytorch_half_pixel", "asymmetric",
                "align_corners", "tf_crop_and_resize"), WHEN(OPSET_11)),
            {.quantity = Q_ROI, WHEN(TF_CROP)}, {.quantity = Q_ROI_BOUNDARY, WHEN(TF_CROP)})},
    ON_CPU("ReverseSequence"), ON_CPU("RoiAlign"), ON_CPU("Round"), CPU_ABSENT("Scan"),
    CPU_ABSENT("Scatter"), ON_CPU("ScatterElements"), ON_CPU("ScatterND"), ON_CPU("Selu"),
    CPU_ABSENT("SequenceAt"), CPU_ABSENT("SequenceConstruct"), CPU_ABSENT("SequenceEmpty"),
    CPU_ABSENT("SequenceErase"), CPU_ABSENT("SequenceInsert"), CPU_ABSENT("SequenceLength"),
    {.op = "Shape", .limits = onnx_folded_limits},
    CPU_ABSENT("Shrink"),
    {.op = "Sigmoid", LIMITS(IS(N, "1"), MAX(ALIGNED_CHW, 8192))},
    ON_CPU("Sign"),
    {.op = "Sin", .limits = onnx_cos_limits},
    ON_CPU("Sinh"),
    {.op = "Size", .limits = onnx_folded_limits},
    ON_BPU("Slice"),
    {.op = "Softmax",
     LIMITS(IS(RUN_ON_BPU, "true"), IS(RANK, "4"), IS(AXIS, "1"), IN_SET(OUTPUT_ONLY, WORDS("true"), ON(RESULT)))},
    {.op = "Softplus", .limits = onnx_cos_limits},
    ON_CPU("Softsign"),
    {.op = "SpaceToDepth", .limits = onnx_depthtospace_limits},
    {.op = "Split",
     LIMITS(IS(RANK, "4"), HOLDS(SPLIT, PARTS_DIVIDE), IS(AXIS, "1", "2", "3"),
            HOLDS(NUM_SPLITS, COUNT_DIVIDES))},
    CPU_ABSENT("SplitToSequence"),
    {.op = "Sqrt", .limits = onnx_cos_limits},
    {.op = "Squeeze", .placement = PLACEMENT_CPU, .limits = onnx_squeeze_limits},
    CPU_ABSENT("StringNormalizer"), ON_CPU("Sub"),
    {.op = "Sum", .refers = "Add", LIMITS(IS(LIMITS_OF, "Add"))},
    ON_CPU("Tan"),
    {.op = "Tanh", .limits = onnx_cos_limits},
    CPU_ABSENT("TfIdfVectorizer"), ON_CPU("ThresholdedRelu"), ON_CPU("Tile"), ON_CPU("TopK"),
    ON_CPU("Transpose"), CPU_ABSENT("Unique"),
    {.op = "Unsqueeze", .placement = PLACEMENT_CPU, .limits = onnx_squeeze_limits},
    ON_BPU("Upsample"), ON_CPU("Where"), CPU_ABSENT("Xor"), CPU_ABSENT("Function"),
    CPU_ABSENT("Celu"), CPU_ABSENT("DynamicQuantizeLinear"), ON_CPU("GreaterOrEqual"),
    CPU_ABSENT("MeanVarianceNormalization"),
    {.op = "GridSample", .placement = PLACEMENT_CPU_ABSENT},
};
static const struct general_rule rules[] = {
    {.id = "torch.rank", .limits = LIMIT_LIST(IN_SET(RANK, WORDS("4"), ON(BOTH_WAYS)))},
    {.id = "x3.batch", .onnx = true, .limits = LIMIT_LIST(MAX(BATCH, 128))},
};

/* The machine's numbers that the figures repeat. */
#define MHZ 1000.0
#define ARRAY_W 8
#define ARRAY_IN 4
#define ARRAY_OUT 8
#define ELTWISE_BYTES 32
#define DDR_BYTES 2.2

/* Published runs that evidence names: yolov8s_varg, 640x640, one core, 51.87 ms, 28.4 MB loaded and
 * 24.1 MB stored; mobilenet_v1, 3.43 ms on one core, 647.83 frames/s on two. */
static const struct machine machine = {
    .cores = {2, "published: RDK X3 has two BPU cores"},
    .clock_mhz = {MHZ, "published: RDK X3, 1 GHz"},
    .sram_bytes =
        {1 << 20,
         "fitted: five networks on a board, of which only yolov5x pins it down (docs/accuracy.md); "
         "yolov8s_varg stores 24.1 MB a frame, about what its maps of 80x80 and more hold, which "
         "would bound it by 0.82 and 1.64 MB"},
    .sram_align = {32, "assumed: one native block, which holds 32 bytes"},
    .array_h = {1, "fitted: blocks 8W4C and 32C have one row"},
    .array_w = {ARRAY_W, "fitted: block 8W4C; 8 x 4 x 8 = 256 products a cycle"},
    .array_in = {ARRAY_IN,
                 "published: tool output, channels in a group \"recommend multiples of 4 & 8\""},
    .array_out = {ARRAY_OUT,
                  "published: tool output, channels in a group \"recommend multiples of 4 & 8\""},
    .array_cells =
        {1, "fitted: 256 products a cycle explain 0.41 to 0.44 TOPS of published dense "
            "networks at 0.84 to 0.96 utilization; the advertised 5 TOPS are ten times that"},
    .wide_passes = {2, "assumed: two passes of 8 bits"},
    .depthwise_h = {1, "fitted: as depthwise_c"},
    .depthwise_w = {8, "fitted: as depthwise_c"},
    .depthwise_c =
        {16, "fitted: four 8W4C blocks and one tap a cycle, half of the array's products; with "
             "8 the five networks are met as well, with 4 not (docs/accuracy.md)"},
    .eltwise_bytes = {ELTWISE_BYTES,
                      "assumed: one 8W4C block a cycle; no published run isolates it"},
    .lut_bytes = {16, "assumed: half of eltwise_bytes; published only that it is slower than relu"},
    .pool_bytes = {32, "assumed: one 8W4C block and tap a cycle"},
    .resize_bytes = {8, "assumed: four neighbours for each result, one block a cycle"},
    .reduce_bytes = {32, "assumed: one 8W4C block a cycle"},
    .transform_bytes = {32, "assumed: one 8W4C block a cycle"},
    .other_bytes = {4, "assumed: real arithmetic, an eighth of eltwise_bytes"},
    .issue_cycles = {100, "assumed: 0.1 us, as fitted on Bayes"},
    .ddr_load_bytes = {DDR_BYTES,
                       "fitted: five networks on a board, whose last layers wait for weights; less "
                       "is nearly as good (docs/accuracy.md)"},
    .ddr_store_bytes = {DDR_BYTES, "fitted: as loads, with the same value"},
    .ddr_total_bytes = {3.2,
                        "fitted: at least 2.8, mobilenet_v1's 4.2 MB of weights and 0.15 MB of "
                        "input 647.83 times a second; no published run is bound by it"},
    .ddr_latency_cycles = {200, "assumed: 0.2 us"},
    .ddr_burst_bytes = {64, "assumed: 16 beats of a 32-bit LPDDR4"},
    .host_bytes = {0.1, "assumed: 100 million results a second on one Cortex-A53"},
    .host_call_cycles = {100000, "assumed: 0.1 ms, interrupt and wake-up"},
    .blocks = {{1, 8, 4, "8W4C",
                "published: operator tables, \"the smaller of W to 8 and C to 4, or C to 32\""},
               {1, 1, 32, "32C",
                "published: operator tables, \"the smaller of W to 8 and C to 4, or C to 32\""}},
};

MARCH_DEFINE(bernoulli2) = {
    .name = "bernoulli2",
    .title = "Bernoulli2",
    .boards = WORDS("RDK X3", "Journey 3"),
    .feature_dtype = DT_QINT8,
    .rules = rules,
    .rule_count = COUNT_OF(rules),
    .torch = torch_cells,
    .torch_count = COUNT_OF(torch_cells),
    .onnx = onnx_cells,
    .onnx_count = COUNT_OF(onnx_cells),
    .machine = &machine,
    .figures =
        {
            /* Networks are compared with the array's own rate here: nothing is published by layer. */
            .macs_per_us = MHZ * ARRAY_W * ARRAY_IN * ARRAY_OUT,
            .elements_per_us = MHZ * ELTWISE_BYTES,
            .in_multiple = ARRAY_IN,
            .out_multiple = ARRAY_OUT,
            .blocks = machine.blocks,
            .element_w = 8, /* from published tool output: 1x20x20x256 becomes 1x20x24x256 */
            /* Depthwise and tiny maps: no published run by layer, so nothing is said of them. */
            .ddr_bytes_per_us = 1e3, /* from published data: what runs draw on average, not the most */
        },
};
