/* op_table: the rows of op_table.def as data, and the attribute specifications that they name. */
#include "core/ops/fold.h"
#include "core/ops/infer.h"

/* R: the operator cannot do without it; O: there is a default. */
#define R(name, kind)                                                                              \
    {                                                                                              \
        name, ATTR_##kind, true                                                                    \
    }
#define O(name, kind)                                                                              \
    {                                                                                              \
        name, ATTR_##kind, false                                                                   \
    }
#define ATTRS(id, ...)                                                                             \
    static const struct op_attr attrs_##id[] = {__VA_ARGS__, {NULL, ATTR_NONE, false}}

static const struct op_attr attrs_none[] = {{NULL, ATTR_NONE, false}};
ATTRS(conv, O("in_channels", INT), O("out_channels", INT), O("kernel_size", INTS),
      O("stride", INTS), O("padding", NONE), O("dilation", INTS), O("groups", INT),
      O("padding_mode", STRING), O("bias", BOOL), O("activation", STRING));
ATTRS(deconv, O("in_channels", INT), O("out_channels", INT), O("kernel_size", INTS),
      O("stride", INTS), O("padding", INTS), O("output_padding", INTS), O("dilation", INTS),
      O("groups", INT), O("padding_mode", STRING), O("bias", BOOL), O("activation", STRING));
ATTRS(linear, O("in_features", INT), O("out_features", INT), O("weight_layout", STRING),
      O("bias", BOOL), O("activation", STRING));
ATTRS(max_pool, R("kernel_size", INTS), O("stride", INTS), O("padding", INTS), O("dilation", INTS),
      O("return_indices", BOOL), O("ceil_mode", BOOL));
ATTRS(avg_pool, R("kernel_size", INTS), O("stride", INTS), O("padding", INTS), O("ceil_mode", BOOL),
      O("count_include_pad", BOOL), O("divisor_override", INT));
ATTRS(lp_pool, R("kernel_size", INTS), O("norm_type", FLOAT), O("stride", INTS), O("padding", INTS),
      O("ceil_mode", BOOL));
ATTRS(adaptive, R("output_size", INTS), O("return_indices", BOOL));
ATTRS(batch_norm, O("num_features", INT), O("eps", FLOAT), O("momentum", FLOAT), O("affine", BOOL),
      O("track_running_stats", BOOL));
ATTRS(layer_norm, O("normalized_shape", INTS), O("eps", FLOAT), O("elementwise_affine", BOOL));
ATTRS(group_norm, R("num_groups", INT), O("num_channels", INT), O("eps", FLOAT), O("affine", BOOL));
ATTRS(lrn, R("size", INT), O("alpha", FLOAT), O("beta", FLOAT), O("k", FLOAT));
ATTRS(add, O("alpha", FLOAT), O("scalar_operand", BOOL));
ATTRS(binary, O("scalar_operand", BOOL));
ATTRS(div, O("rounding_mode", STRING), O("scalar_operand", BOOL));
ATTRS(inplace, O("inplace", BOOL));
ATTRS(gelu, O("approximate", STRING));
ATTRS(alpha, O("alpha", FLOAT), O("inplace", BOOL));
ATTRS(leaky, O("negative_slope", FLOAT), O("inplace", BOOL));
ATTRS(hard_sigmoid, O("alpha", FLOAT), O("beta", FLOAT), O("inplace", BOOL));
ATTRS(hardtanh, O("min_val", FLOAT), O("max_val", FLOAT), O("inplace", BOOL));
ATTRS(softplus, O("beta", FLOAT), O("threshold", FLOAT));
ATTRS(threshold, O("threshold", FLOAT), O("value", FLOAT), O("inplace", BOOL));
ATTRS(shrink, O("lambd", FLOAT), O("bias", FLOAT));
ATTRS(prelu, O("num_parameters", INT), O("init", FLOAT));
ATTRS(clamp, O("min", FLOAT), O("max", FLOAT));
ATTRS(dim, O("dim", INT), O("dtype", STRING));
ATTRS(cat, O("dim", INT), O("scale", FLOAT));
ATTRS(split, O("split_size_or_sections", NONE), O("dim", INT));
ATTRS(chunk, R("chunks", INT), O("dim", INT));
ATTRS(getitem, O("starts", INTS), O("ends", INTS), O("steps", INTS), O("axes", INTS),
      O("select_axes", INTS), O("select_indices", INTS));
ATTRS(gather_nd, O("batch_dims", INT));
ATTRS(reshape, O("shape", INTS));
ATTRS(flatten, O("start_dim", INT), O("end_dim", INT));
ATTRS(squeeze, O("dim", INTS));
ATTRS(unsqueeze, R("dim", INTS));
ATTRS(transpose, R("dim0", INT), R("dim1", INT));
ATTRS(permute, R("dims", INTS));
ATTRS(expand, O("size", INTS));
ATTRS(repeat, O("repeats", INTS), O("dims", INTS));
ATTRS(pad, O("pad", INTS), O("mode", STRING), O("value", FLOAT));
ATTRS(pad2d, R("padding", INTS), O("value", FLOAT));
ATTRS(reduce, O("dim", INTS), O("keepdim", BOOL), O("dtype", STRING), O("p", NONE),
      O("unbiased", BOOL), O("correction", INT));
ATTRS(arg, O("dim", INT), O("keepdim", BOOL), O("select_last_index", BOOL));
ATTRS(topk, O("k", INT), O("dim", INT), O("largest", BOOL), O("sorted", BOOL));
ATTRS(sort, O("dim", INT), O("descending", BOOL), O("stable", BOOL));
ATTRS(resize, O("size", INTS), O("scale_factor", FLOATS), O("mode", STRING),
      O("align_corners", BOOL), O("recompute_scale_factor", BOOL),
      O("coordinate_transformation_mode", STRING), O("nearest_mode", STRING),
      O("cubic_coeff_a", FLOAT), O("exclude_outside", BOOL), O("antialias", BOOL));
ATTRS(grid_sample, O("mode", STRING), O("padding_mode", STRING), O("align_corners", BOOL));
ATTRS(shuffle, R("upscale_factor", INT), O("mode", STRING));
ATTRS(unshuffle, R("downscale_factor", INT), O("mode", STRING));
ATTRS(groups, R("groups", INT));
ATTRS(recurrent, O("input_size", INT), O("hidden_size", INT), O("num_layers", INT), O("bias", BOOL),
      O("bidirectional", BOOL), O("batch_first", BOOL), O("proj_size", INT), O("dropout", FLOAT),
      O("nonlinearity", STRING), O("separate_directions", BOOL));
ATTRS(attention, O("embed_dim", INT), O("num_heads", INT), O("kdim", INT), O("vdim", INT),
      O("bias", BOOL), O("dropout", FLOAT), O("add_bias_kv", BOOL), O("add_zero_attn", BOOL),
      O("batch_first", BOOL), O("average_attn_weights", BOOL));
ATTRS(roi_align, O("output_size", INTS), O("spatial_scale", FLOAT), O("sampling_ratio", INT),
      O("aligned", BOOL), O("mode", STRING));
ATTRS(anchors, O("sizes", NONE), O("aspect_ratios", NONE));
ATTRS(nms, O("iou_threshold", FLOAT));
ATTRS(unique, O("dim", INT), O("sorted", BOOL), O("return_inverse", BOOL),
      O("return_counts", BOOL));
ATTRS(quantize, O("scale", FLOAT), O("zero_point", INT), O("dtype", STRING));
ATTRS(dropout, O("p", FLOAT), O("inplace", BOOL));
ATTRS(to, R("dtype", STRING));
ATTRS(size, O("start", INT), O("end", INT), O("dim", INT));
ATTRS(full, O("fill_value", FLOAT), O("dtype", STRING), O("size", INTS));
ATTRS(like, O("dtype", STRING), O("fill_value", FLOAT), O("k", INT));
ATTRS(one_hot, O("num_classes", INT), O("dim", INT));
ATTRS(diagonal, O("diagonal", INT));
ATTRS(einsum, R("equation", STRING));
ATTRS(roll, R("shifts", INTS), O("dims", INTS));
ATTRS(nonzero, O("transposed", BOOL));
ATTRS(fill, O("value", FLOAT));

#undef R
#undef O
#undef ATTRS

/* OP: a row. OPX: a row with more to say after the aliases (params, spatial, identity, shape_only).
 */
#define OP(name_, key_, onnx_, class_, lo_, hi_, outs_, set_, rule_, fold_, kernel_, also_)        \
    OPX(name_, key_, onnx_, class_, lo_, hi_, outs_, set_, rule_, fold_, kernel_, also_,           \
        .params = "")
#define OPX(name_, key_, onnx_, class_, lo_, hi_, outs_, set_, rule_, fold_, kernel_, also_, ...)  \
    {.name = name_,                                                                                \
     .key = key_,                                                                                  \
     .onnx = onnx_,                                                                                \
     .aliases = also_,                                                                             \
     .class = OPC_##class_,                                                                        \
     .min_inputs = lo_,                                                                            \
     .max_inputs = hi_,                                                                            \
     .outputs = outs_,                                                                             \
     .attrs = attrs_##set_,                                                                        \
     .infer = infer_##rule_,                                                                       \
     .fold = fold_,                                                                                \
     __VA_ARGS__},

static const struct op rows[] = {
#include "core/ops/op_table.def"
};

const struct op *op_table(size_t *count)
{
    *count = sizeof rows / sizeof *rows;
    return rows;
}
