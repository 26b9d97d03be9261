/* quantity: what a limit can be about. One row per quantity, listed once.
 *
 *   X(ID, fn, "name in the data", KIND, SCOPE, "what it is, in a message", "what to do")
 *
 * fn: the function of core/check/quantity_*.c that measures it, without its prefix; pasted by the
 * checker only, so that the data does not link against it.
 * KIND: NUM a number; BOOL, WORD, TRI (true, false or None); AXES a set of axis names; LIST a short
 * list written as JSON; DTYPE an element type; INFO a statement without a bound, never measured.
 * SCOPE: NODE measured once; VALUE once per operand that the limit names.
 * An empty "what to do" means: the checker's general advice for the limit is all there is to say. */
#ifndef BPU_MARCH_QUANTITY_H
#define BPU_MARCH_QUANTITY_H

#define QUANTITY_MAP(X)                                                                            \
    /* shapes */                                                                                   \
    X(RANK, rank, "rank", NUM, VALUE, "rank",                                                      \
      "Keep tensors in [N, C, H, W] form: put missing axes in as 1.")                              \
    X(N, dim_n, "N", NUM, VALUE, "batch N", "Use a smaller batch.")                                \
    X(C, dim_c, "C", NUM, VALUE, "channel count C",                                                \
      "Split the channels into parts and join the results with torch.cat.")                        \
    X(D, dim_d, "D", NUM, VALUE, "depth D", "Split the tensor along D.")                           \
    X(H, dim_h, "H", NUM, VALUE, "height H",                                                       \
      "Use a smaller map: pool first, or split it along H.")                                       \
    X(W, dim_w, "W", NUM, VALUE, "width W", "Use a smaller map: pool first, or split it along W.") \
    X(HW, hw, "HW", NUM, VALUE, "map size H*W", "Use a smaller map: pool or resize first.")        \
    X(CHW, chw, "CHW", NUM, VALUE, "size C*H*W of one sample",                                     \
      "Apply it to a smaller map or to parts of the channels.")                                    \
    X(BATCH, batch, "batch", NUM, VALUE, "batch", "Run fewer samples at a time.")                  \
    X(ALIGNED_CHW, aligned_chw, "aligned_CHW", NUM, VALUE,                                         \
      "aligned size of one sample (the smaller of W to 8 and C to 4, or C to 32)",                 \
      "Apply it to a smaller map or to parts of the channels.")                                    \
    X(TENSOR_BYTES, tensor_bytes, "tensor_bytes", NUM, VALUE, "size in bytes",                     \
      "Use a smaller batch or map.")                                                               \
    X(ALIGNED_BYTES, aligned_bytes, "aligned_bytes", NUM, VALUE,                                   \
      "size in bytes with W aligned to 256", "Use a smaller map.")                                 \
    X(DIM_SIZE, dim_size, "dim_size", NUM, VALUE, "extent of an axis",                             \
      "Split the tensor along that axis.")                                                         \
    X(DIM_HIGHEST, dim_highest, "dim_highest", NUM, VALUE, "extent of the first axis",             \
      "Split the tensor along its first axis.")                                                    \
    X(DIM_OTHER, dim_other, "dim_other", NUM, VALUE, "extent of an axis",                          \
      "Split the tensor along that axis.")                                                         \
    X(STATIC_SHAPE, static_shape, "static_shape", BOOL, NODE,                                      \
      "knowing all shapes before run time", "Give the input shapes with input.NAME=…")             \
    /* windows: convolution, deconvolution, pooling */                                             \
    X(KERNEL_D, kernel_d, "kernel_d", NUM, NODE, "kernel depth", "Use a smaller kernel.")                               \
    X(KERNEL_H, kernel_h, "kernel_h", NUM, NODE, "kernel height",                                  \
      "Build the large kernel from a stack of 3x3 kernels (7x7 = three of them).")                 \
    X(KERNEL_W, kernel_w, "kernel_w", NUM, NODE, "kernel width",                                   \
      "Build the large kernel from a stack of 3x3 kernels (7x7 = three of them).")                 \
    X(KERNEL, kernel, "kernel", LIST, NODE, "kernel",                                              \
      "A 1x1 transposed convolution is a convolution: use torch.nn.Conv2d.")                       \
    X(STRIDE_D, stride_d, "stride_d", NUM, NODE, "stride along D", "Use stride 1 or 2.")                             \
    X(STRIDE_H, stride_h, "stride_h", NUM, NODE, "stride along H",                                 \
      "Split the stride over two layers.")                                                         \
    X(STRIDE_W, stride_w, "stride_w", NUM, NODE, "stride along W",                                 \
      "Split the stride over two layers.")                                                         \
    X(STRIDE, stride, "stride", LIST, NODE, "stride", "Split the stride over two layers.")         \
    X(STRIDE_HW, stride_hw, "stride_hw", LIST, NODE, "stride",                                     \
      "Keep the residual add apart from this convolution, or use an equal stride of 1 or 2 on "    \
      "both axes.")                                                                                \
    X(PADDING_D, padding_d, "padding_d", NUM, NODE, "padding along D", "Pad before the layer.")    \
    X(PADDING_H, padding_h, "padding_h", NUM, NODE, "padding along H",                             \
      "Pad before the layer with torch.nn.ZeroPad2d.")                                             \
    X(PADDING_W, padding_w, "padding_w", NUM, NODE, "padding along W",                             \
      "Pad before the layer with torch.nn.ZeroPad2d.")                                             \
    X(OUTPUT_PADDING_H, output_padding_h, "output_padding_h", NUM, NODE, "output padding along H", \
      "")                                                                                          \
    X(OUTPUT_PADDING_W, output_padding_w, "output_padding_w", NUM, NODE, "output padding along W", \
      "")                                                                                          \
    X(DILATION_D, dilation_d, "dilation_d", NUM, NODE, "dilation along D",                         \
      "Use a larger kernel without dilation.")                                                     \
    X(DILATION_H, dilation_h, "dilation_h", NUM, NODE, "dilation along H",                         \
      "Use a larger kernel, or stacked layers, without dilation.")                                 \
    X(DILATION_W, dilation_w, "dilation_w", NUM, NODE, "dilation along W",                         \
      "Use a larger kernel, or stacked layers, without dilation.")                                 \
    X(DILATION, dilation, "dilation", NUM, NODE, "dilation",                                       \
      "Use a larger kernel, or stacked layers, without dilation.")                                 \
    X(GROUPS, groups, "groups", NUM, NODE, "group count", "Use one group.")                                      \
    X(IN_CHANNELS, in_channels, "in_channels", NUM, VALUE, "input channel count",                  \
      "Split the channels over several layers and add the results.")                               \
    X(OUT_CHANNELS, out_channels, "out_channels", NUM, NODE, "output channel count",               \
      "Split the output channels over several layers and join them with torch.cat.")               \
    X(IN_CHANNELS_PER_GROUP, in_channels_per_group, "in_channels_per_group", NUM, NODE,            \
      "input channel count of one group",                                                          \
      "Split the channels over several layers and add the results.")                               \
    X(OUT_CHANNELS_PER_GROUP, out_channels_per_group, "out_channels_per_group", NUM, NODE,         \
      "output channel count of one group",                                                         \
      "Split the output channels over several layers and join them with torch.cat.")               \
    X(IN_FEATURES, in_features, "in_features", NUM, NODE, "input feature count",                   \
      "Split the features over several layers and add the results.")                               \
    X(OUT_FEATURES, out_features, "out_features", NUM, NODE, "output feature count",               \
      "Split the outputs over several layers and join them with torch.cat.")                       \
    X(WEIGHT_ELEMS, weight_elems, "weight_elems", NUM, NODE,                                       \
      "weight count of one output channel (C*H*W)",                                                \
      "Split the input channels over several layers and add the results.")                         \
    X(WEIGHT_D_IN_C, weight_d_in_c, "weight_D*in_C", NUM, NODE,                                    \
      "kernel depth times input channels", "Split the input channels over several layers.")        \
    X(GEMM_BLOCKS, gemm_blocks, "HxW/8xC/4", NUM, NODE, "block count H*(W/8)*(C/4)",               \
      "Use fewer input features.")                                                                 \
    X(ACCUMULATOR, none, "accumulator", INFO, NODE, "the sum of products must fit 32 bits", "")    \
    X(COMPOSED_OF, none, "composed_of", INFO, NODE, "built from another operator", "")             \
    X(LIMITS_OF, none, "limits_of", INFO, NODE, "the limits of another row apply", "")             \
    X(FUSED_INTO, none, "fused_into", INFO, NODE, "the layer it is fused into",                    \
      "Put it right behind a convolution.")                                                        \
    /* operands */                                                                                 \
    X(DTYPE, dtype, "dtype", DTYPE, VALUE, "dtype",                                                \
      "Choose the dtype in the qconfig of the layer that makes this operand.")                     \
    X(OUTPUT_DTYPE, output_dtype, "output_dtype", DTYPE, NODE, "output dtype",                     \
      "Choose the output dtype in the qconfig.")                                                   \
    X(INT16, none, "int16", INFO, NODE, "16-bit input and output is supported", "")                \
    X(CONST_OPERAND, const_operand, "const_operand", BOOL, NODE, "a constant operand",             \
      "Fold the constant into the layer before (its weight, bias or scale), or make it a model "   \
      "input.")                                                                                    \
    X(CONST_INPUTS, const_inputs, "const_inputs", NUM, NODE, "number of constant inputs",          \
      "Compute the result of the constants before export.")                                        \
    X(SCALAR_OPERAND, scalar_operand, "scalar_operand", BOOL, NODE, "a scalar operand",            \
      "Call FloatFunctional().add_scalar(x, number) or mul_scalar(x, number).")                    \
    X(BROADCAST_AXES, broadcast_axes, "broadcast_axes", AXES, NODE, "broadcasting along",          \
      "Give both inputs the same extent on that axis.")                                            \
    X(NUM_BROADCAST_INPUTS, num_broadcast_inputs, "num_broadcast_inputs", NUM, NODE,               \
      "number of inputs that broadcast", "Expand one input to the full shape first.")              \
    X(MUTUAL_BROADCAST, mutual_broadcast, "mutual_broadcast", BOOL, NODE,                          \
      "broadcasting in both directions", "Expand one input to the full shape first.")              \
    X(RANK5_MERGEABLE, rank5_mergeable, "rank5_mergeable_to_4", BOOL, NODE,                        \
      "5-D shapes that merge to 4-D", "Reshape to 4-D before.")                                    \
    X(RANK5_NEIGHBOUR, none, "rank5_broadcast_axis_merges_with_neighbour", INFO, NODE,             \
      "a broadcast axis cannot merge with its neighbour", "")                                      \
    X(SHAPE_PAIR, shape_pair, "shape_pair", WORD, NODE, "pair of shapes", "")                      \
    X(NUM_INPUTS, num_inputs, "num_inputs", NUM, NODE, "number of inputs",                         \
      "Join many tensors in several steps; a torch.cat of one tensor does nothing and can go.")    \
    X(NUM_FEATURES, num_features, "num_features", NUM, NODE, "number of feature levels", "")       \
    X(INPUT_MAGNITUDE, input_magnitude, "input_magnitude", NUM, VALUE,                             \
      "largest value that the scale can express", "Use a smaller scale for the input.")            \
    X(INPUT_VALUE, none, "input_value", INFO, NODE, "values must not be 0", "")                    \
    X(EXPONENT_ELEMS, exponent_elems, "exponent_elems", NUM, NODE,                                 \
      "element count of the exponent", "Use one number as exponent.")                              \
    X(MIN_OPERAND_KIND, min_operand_kind, "min_operand_kind", WORD, NODE,                          \
      "kind of the lower bound", "")                                                               \
    X(MAX_OPERAND_KIND, max_operand_kind, "max_operand_kind", WORD, NODE,                          \
      "kind of the upper bound", "")                                                               \
    X(OUTPUT_ONLY, output_only, "output_only", BOOL, VALUE,                                        \
      "being a model output and nothing else",                                                     \
      "Return it from the model and do the rest on the host.")                                     \
    X(OUTPUT_FORMAT, none, "output_format", INFO, NODE,                                            \
      "the result is one tensor: a channel of values and a channel of indices",                    \
      "Read values and index from the channels of the one output tensor.")                         \
    X(MATMUL_RANKS, matmul_ranks, "rank", LIST, NODE, "ranks of the two operands",                 \
      "Give both operands the same rank.")                                                         \
    X(MATMUL_M, matmul_m, "M", NUM, NODE, "row count M", "Split the rows.")                        \
    X(MATMUL_K, matmul_k, "K", NUM, NODE, "inner extent K",                                        \
      "Split the inner axis and add the results.")                                                 \
    X(MATMUL_N, matmul_n, "N_cols", NUM, NODE, "column count N", "Split the columns.")             \
    X(DIM_BATCH, dim_batch, "dim_batch", NUM, VALUE, "extent of a leading axis",                   \
      "Split the tensor along its leading axes.")                                                  \
    X(BROADCAST, matmul_broadcast, "broadcast", BOOL, NODE,                                        \
      "a supported broadcast of the leading axes", "Expand the operands to equal leading axes.")   \
    /* attributes */                                                                               \
    X(MODE, mode, "mode", WORD, NODE, "mode", "")                                                  \
    X(PADDING_MODE, padding_mode, "padding_mode", WORD, NODE, "padding mode", "")                  \
    X(ALIGN_CORNERS, align_corners, "align_corners", TRI, NODE, "align_corners",                   \
      "Train and export with align_corners=False.")                                                \
    X(RECOMPUTE_SCALE_FACTOR, recompute_scale_factor, "recompute_scale_factor", TRI, NODE,         \
      "recompute_scale_factor",                                                                    \
      "Pass recompute_scale_factor=True, or give size instead of scale_factor.")                   \
    X(SCALE_FACTOR, scale_factor, "scale_factor", NUM, NODE, "scale factor",                       \
      "Resize in several steps.")                                                                  \
    X(SCALE_H, scale_h, "scale_h", NUM, NODE, "scale factor along H", "Use a power of two.")       \
    X(SCALE_W, scale_w, "scale_w", NUM, NODE, "scale factor along W", "Use a power of two.")       \
    X(SCALE, scale, "scale", LIST, NODE, "scale factors of H and W",                               \
      "Use the same factor on both axes.")                                                         \
    X(RESIZE_AXES, resize_axes, "resize_axes", AXES, NODE, "resizing along",                       \
      "Resize H and W only.")                                                                      \
    X(COORDINATES, coordinates, "coordinate_transformation_mode", WORD, NODE,                      \
      "coordinate transformation mode", "")                                                        \
    X(ROI, none, "roi", INFO, NODE, "the region must be a constant on H and W", "")                \
    X(ROI_BOUNDARY, none, "roi_boundary", INFO, NODE, "the region's borders must be integers", "") \
    X(AXIS, axis, "axis", NUM, NODE, "axis",                                                       \
      "Lay the tensor out so that the operation runs along an allowed axis.")                      \
    X(AXES, axes, "axes", LIST, NODE, "axes",                                                      \
      "Reduce along allowed axes, in several steps where needed.")                                 \
    X(AXES_NAMED, axes_named, "axes", LIST, NODE, "axes",                                          \
      "Reduce along allowed axes, in several steps where needed.")                                 \
    X(NUM_AXES, num_axes, "num_axes", NUM, NODE, "number of axes", "Reduce one axis at a time.")   \
    X(REDUCE_AXIS, reduce_axis, "reduce_axis", AXES, NODE, "reducing along",                       \
      "Reduce along allowed axes; an average over H and W is torch.nn.AvgPool2d.")                 \
    X(REDUCE_AXIS_SIZE, reduce_axis_size, "reduce_axis_size", NUM, NODE,                           \
      "extent of the reduced axis", "Reduce in several steps.")                                    \
    X(KEEPDIMS, keepdims, "keepdims", NUM, NODE, "keepdim", "Pass keepdim=True.")                  \
    X(TRANSPOSE_AXES, transpose_axes, "transpose_axes", AXES, NODE, "moving axis",                 \
      "Leave the batch axis where it is.")                                                         \
    X(PAD_AXES, pad_axes, "pad_axes", AXES, NODE, "padding along", "Pad H and W only.")            \
    X(BLOCKSIZE, blocksize, "blocksize", NUM, NODE, "block size", "Rearrange in steps of 2.")      \
    X(BLOCK_AXES, none, "block_axes", INFO, NODE, "blocks lie on H and W", "")                     \
    X(CHANGED_DIMS, changed_dims, "changed_dims", NUM, NODE, "number of axes that change",         \
      "Change one axis at a time.")                                                                \
    X(SPLIT, split, "split", LIST, NODE, "parts", "Make all parts the same size.")                 \
    X(NUM_SPLITS, num_splits, "num_splits", NUM, NODE, "number of parts",                          \
      "Choose a number of parts that divides the axis.")                                           \
    X(SORTED, sorted, "sorted", BOOL, NODE, "sorted=True", "Pass sorted=True.")                    \
    X(SHUFFLE_INDEX, none, "shuffle_index", INFO, NODE, "indices must not repeat", "")             \
    X(NORMALIZED_SHAPE_HW, normalized_shape_hw, "normalized_shape_HW", NUM, NODE,                  \
      "normalized size H*W", "Normalize a smaller map.")                                           \
    X(ADD_BIAS_KV, add_bias_kv, "add_bias_kv", BOOL, NODE, "add_bias_kv=True", "")                 \
    X(ADD_ZERO_ATTN, add_zero_attn, "add_zero_attn", BOOL, NODE, "add_zero_attn=True", "")         \
    X(EMBED_DIM, embed_dim, "embed_dim", LIST, NODE, "embedding sizes of query, key and value",    \
      "Project key and value to embed_dim first.")                                                 \
    X(BBOX_TYPE, none, "bbox_type", INFO, NODE, "boxes come as a list of tensors", "")             \
    X(BBOX_SHAPE, bbox_shape, "bbox_shape", LIST, NODE, "box tensor shape",                        \
      "Give the boxes as a tensor of shape [1, count, 4].")                                        \
    X(BBOX_LAST_DIM, none, "bbox_last_dim", INFO, NODE, "a box is left, top, right, bottom", "")   \
    X(OPSET, none, "opset", INFO, NODE, "ONNX opset", "")                                          \
    /* how the operator is carried out */                                                          \
    X(ACCURACY_RISK, none, "accuracy_risk", INFO, NODE, "accuracy risk",                           \
      "Compare the quantized result with the float one; use qint16 where the row allows it.")      \
    X(NOT_STANDALONE, none, "not_standalone_in_inference", INFO, NODE,                             \
      "has parameters that quantization-aware training learns",                                    \
      "Train it, or use a pooling layer instead.")                                                 \
    X(QAT_PARAMS, none, "qat_params", INFO, NODE, "has quantization parameters in training", "")   \
    X(AUTO_FUSE, none, "auto_fuse", INFO, NODE, "fused with convolution and batch norm", "")       \
    X(ABSORBED_IN_QAT, none, "absorbed_in_qat", INFO, NODE, "absorbed by training", "")            \
    X(FUSES_INTO_CONV, none, "fuses_into_conv", INFO, NODE,                                        \
      "a residual add is fused into the convolution", "")                                          \
    X(CONSTANT_FOLDING, none, "constant_folding", INFO, NODE,                                      \
      "exists only while constants are folded", "Make its inputs constant, or all shapes static.") \
    X(REMOVED, none, "removed", INFO, NODE, "removed at deployment", "")                           \
    X(RUN_ON_BPU, none, "run_on_bpu", INFO, NODE,                                                  \
      "placed on the CPU unless the node is named in run_on_bpu",                                  \
      "Name this node in run_on_bpu, or accept the crossing to the CPU.")                          \
    X(DECOMPOSED_AS, none, "decomposed_as", INFO, NODE, "decomposed into other operators", "")

enum quantity {
    Q_NONE,
#define X(id, fn, name, kind, scope, what, todo) Q_##id,
    QUANTITY_MAP(X)
#undef X
        Q_COUNT
};

enum quantity_kind { K_NUM, K_BOOL, K_WORD, K_TRI, K_AXES, K_LIST, K_DTYPE, K_INFO };
enum quantity_scope { S_NODE, S_VALUE };

struct quantity_row {
    const char *name, *what, *todo;
    enum quantity_kind kind;
    enum quantity_scope scope;
};
extern const struct quantity_row quantity_rows[Q_COUNT];

/* When a limit holds: X(ID, fn, JSON of the data, words of a message). */
#define CONDITION_MAP(X)                                                                           \
    X(MODEL_OUTPUT, model_output, "{\"is_model_output\":true}", "as a model output")               \
    X(NOT_MODEL_OUTPUT, not_model_output, "{\"is_model_output\":false}", "inside the model")       \
    X(LAST_OP, model_output, "{\"last_op_of_quantised_subgraph\":true}", "as the last layer")      \
    X(NOT_LAST_OP, not_model_output, "{\"last_op_of_quantised_subgraph\":false}",                  \
      "unless it is the last layer")                                                               \
    X(DILATED, dilated, "{\"dilation\":\"!=1\"}", "with dilation")                                 \
    X(DILATED_OVER_1, dilated, "{\"dilation\":\">1\"}", "with dilation")                           \
    X(SUMIN, sumin, "{\"sumin\":true}", "with a fused residual add")                               \
    X(FUSED_ADD, sumin, "{\"fused_add\":true}", "with a fused residual add")                       \
    X(RESNET_SHORTCUT, sumin, "{\"resnet_shortcut\":true}", "as a residual add")                   \
    X(PLAIN_CONV, plain_conv, "{\"plain_conv\":true}",                                             \
      "for a convolution without dilation and groups")                                             \
    X(STANDALONE, standalone, "{\"standalone\":true}", "standing alone")                           \
    X(IN_QINT8, in_qint8, "{\"dtype\":\"qint8\"}", "with qint8 input")                             \
    X(IN_QINT16, in_qint16, "{\"dtype\":\"qint16\"}", "with qint16 input")                         \
    X(OUT_INT8, out_int8, "{\"output_dtype\":\"int8\"}", "with 8-bit output")                      \
    X(OUT_INT32, out_int32, "{\"output_dtype\":\"int32\"}", "with 32-bit output")                  \
    X(RANK_5, rank_5, "{\"rank\":5}", "for 5-D tensors")                                           \
    X(DC_OVER_4096, dc_over_4096, "{\"D*C\":\">4096\"}", "where D*C is over 4096")                 \
    X(HW_UP_TO_7, hw_up_to_7, "{\"H\":\"<=7\",\"W\":\"<=7\"}", "where H and W are at most 7")      \
    X(HW_IS_1, hw_is_1, "{\"H\":1,\"W\":1}", "where H and W are 1")                                \
    X(HW_NOT_1, hw_not_1, "{\"not\":{\"H\":1,\"W\":1}}", "where H and W are not both 1")           \
    X(OPSET_11, opset_11, "{\"opset\":11}", "from opset 11 on")                                    \
    X(TF_CROP, tf_crop, "{\"coordinate_transformation_mode\":\"tf_crop_and_resize\"}",             \
      "with tf_crop_and_resize")                                                                   \
    X(NEAREST, nearest, "{\"mode\":\"nearest\"}", "with mode nearest")                             \
    X(NEAREST_UP, nearest_up, "{\"mode\":\"nearest\",\"upscale\":true}",                           \
      "when mode nearest enlarges")                                                                \
    X(SCALE_GIVEN, scale_given, "{\"scale_factor\":\"given\"}", "when scale_factor is given")      \
    X(BOUND_CONST_TENSOR, bound_const_tensor, "{\"min_max_operand_kind\":\"const_tensor\"}",       \
      "with constant tensors as bounds")                                                           \
    X(INDICES_FEATURE, indices_feature, "{\"indices\":\"feature\"}",                               \
      "when another node makes the indices")                                                       \
    X(INDICES_CONSTANT, indices_constant, "{\"indices\":\"constant\"}",                            \
      "when the indices are constant")                                                             \
    X(TWO_AXES, two_axes, "{\"num_axes\":2}", "with two axes")                                     \
    X(ORIGIN_ONNX, origin_onnx, "{\"origin\":\"onnx\"}", "for ONNX's own Softmax")                 \
    X(ORIGIN_PYTORCH, origin_pytorch, "{\"origin\":\"pytorch\"}", "for PyTorch's Softmax")         \
    X(CONSTANT_SUBGRAPH, never, "{\"in_constant_subgraph\":true}", "among constants")              \
    X(CONST_BY_FEATURE, const_by_feature, "{\"operands\":\"weight vs featuremap\"}",               \
      "with the constant first")                                                                   \
    X(FEATURE_BY_CONST, feature_by_const, "{\"operands\":\"featuremap vs weight\"}",               \
      "with a constant second operand")                                                            \
    X(FEATURE_BY_FEATURE, feature_by_feature, "{\"operands\":\"featuremap vs featuremap\"}", "between two feature maps")

enum condition {
    WHEN_ALWAYS,
#define X(id, fn, json, words) WHEN_##id,
    CONDITION_MAP(X)
#undef X
        WHEN_COUNT
};

struct condition_row {
    const char *json, *words;
};
extern const struct condition_row condition_rows[WHEN_COUNT];

/* Relations between quantities: X(ID, fn, formula as data and message have it). */
#define RELATION_MAP(X)                                                                            \
    X(STRIDE_EQUAL_3, stride_equal_3, "stride_d == stride_h == stride_w")                          \
    X(STRIDE_HW_1_OR_2, stride_hw_1_or_2, "stride_h == stride_w and in {1,2}")                     \
    X(STRIDE_H_LE_W, stride_h_le_w, "stride_h <= stride_w")                                        \
    X(STRIDE_NOT_1_1, stride_not_1_1, "not (stride_h == 1 and stride_w == 1)")                     \
    X(KERNEL_NOT_1_1, kernel_not_1_1, "not (kernel_h == 1 and kernel_w == 1)")                     \
    X(KERNEL_GE_STRIDE_H, kernel_ge_stride_h, "kernel_h >= stride_h")                              \
    X(KERNEL_GE_STRIDE_W, kernel_ge_stride_w, "kernel_w >= stride_w")                              \
    X(PAD_HALF_KERNEL_D, pad_half_kernel_d, "padding_d <= kernel_d/2")                             \
    X(PAD_HALF_KERNEL_H, pad_half_kernel_h, "padding_h <= kernel_h/2")                             \
    X(PAD_HALF_KERNEL_W, pad_half_kernel_w, "padding_w <= kernel_w/2")                             \
    X(PAD_HALF_KERNEL_1_H, pad_half_kernel_1_h, "padding_h <= (kernel_h-1)/2")                     \
    X(PAD_HALF_KERNEL_1_W, pad_half_kernel_1_w, "padding_w <= (kernel_w-1)/2")                     \
    X(PAD_KERNEL_BY_STRIDE_H, pad_kernel_by_stride_h, "padding_h <= kernel_h/stride_h")            \
    X(PAD_KERNEL_BY_STRIDE_W, pad_kernel_by_stride_w, "padding_w <= kernel_w/stride_w")            \
    X(PAD_ODD_STRIDE_H, pad_odd_stride_h,                                                          \
      "padding_h < kernel_h/stride_h if stride_h odd else padding_h <= kernel_h/stride_h")         \
    X(PAD_ODD_STRIDE_W, pad_odd_stride_w,                                                          \
      "padding_w < kernel_w/stride_w if stride_w odd else padding_w <= kernel_w/stride_w")         \
    X(DILATION_BY_STRIDE_H, dilation_by_stride_h, "dilation_h % stride_h == 0")                    \
    X(DILATION_BY_STRIDE_W, dilation_by_stride_w, "dilation_w % stride_w == 0")                    \
    X(DILATION_H_LE_W, dilation_h_le_w, "dilation_h <= dilation_w")                                \
    X(H_BY_DILATION, h_by_dilation, "H % dilation_h == 0")                                         \
    X(W_BY_DILATION, w_by_dilation, "W % dilation_w == 0")                                         \
    X(GROUPS_DIVIDE, groups_divide, "weight_N % groups == 0 and in_channels % groups == 0")        \
    X(SCALE_H_LE_W, scale_h_le_w, "H_factor <= W_factor")                                          \
    X(RANKS_EQUAL, ranks_equal, "rank(A) == rank(B)")                                              \
    X(MATMUL_BROADCAST, matmul_broadcast,                                                          \
      "leading axes all 1 or all equal; a mix only on the second operand, its equal axes first")   \
    X(BOXES_1_N_4, boxes_1_n_4, "[1, box_num, 4]")                                                 \
    X(EMBED_EQUAL, embed_equal, "kdim == vdim == embed_dim")                                       \
    X(PARTS_DIVIDE, parts_divide, "axis extent % each part == 0")                                  \
    X(COUNT_DIVIDES, count_divides, "axis extent % number of parts == 0")

enum relation {
    R_NONE,
#define X(id, fn, formula) R_##id,
    RELATION_MAP(X)
#undef X
        R_COUNT
};
extern const char *const relation_formulas[R_COUNT];

#endif
