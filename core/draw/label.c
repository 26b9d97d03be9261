/* Short texts: operator names, key attributes, widths.
 *
 * What is worth a line in a box differs by operator; one row per operator names the function that
 * writes it.  Operators without a row show nothing there: all attributes are in the tooltip. */
#include "core/draw/label.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/ops/op.h"

/* ── widths ──────────────────────────────────────────────────────────────────────────────── */

/* Hundredths of an em for the characters 32 to 126: our own averages over common sans faces. */
static const unsigned char char_width[95] = {
    31, 38, 44, 76, 62, 86, 74, 26, 38, 38, 48, 78, 31, 36, 31, 33, 62, 62, 62, 62, 62, 62, 62, 62,
    62, 62, 33, 33, 78, 78, 78, 51, 94, 67, 67, 68, 74, 62, 58, 75, 73, 29, 32, 66, 56, 84, 73, 77,
    61, 77, 67, 62, 60, 71, 67, 94, 67, 61, 65, 37, 33, 37, 74, 50, 45, 59, 61, 54, 61, 59, 34, 61,
    61, 26, 27, 57, 26, 92, 61, 60, 61, 61, 40, 52, 38, 61, 57, 78, 57, 57, 52, 55, 33, 55, 74};

static bool starts_char(unsigned char c)
{
    return (c & 0xC0) != 0x80;
}

static double char_em(unsigned char c)
{
    if (c >= 32 && c < 127)
        return char_width[c - 32] / 100.0;
    return !starts_char(c) ? 0 : c >= 0xE3 ? 1.0 : 0.8; /* from U+3000 on: full width */
}

double text_width(const char *s, double font_size, bool bold)
{
    double em = 0;
    for (; *s; s++)
        em += char_em((unsigned char)*s);
    return em * font_size * (bold ? 1.08 : 1.0);
}

#define ELLIPSIS "\xE2\x80\xA6"

const char *text_fit_end(struct arena *a, const char *s, double font_size, double width,
                         struct bpu_error *err)
{
    if (text_width(s, font_size, false) <= width)
        return s;
    size_t at = strlen(s);
    double room = width / font_size - 1.0;
    while (at > 0 && room >= char_em((unsigned char)s[at - 1]))
        room -= char_em((unsigned char)s[--at]);
    while (s[at] && !starts_char((unsigned char)s[at]))
        at++;
    return arena_printf(a, err, ELLIPSIS "%s", s + at);
}

const char *text_fit_start(struct arena *a, const char *s, double font_size, double width,
                           struct bpu_error *err)
{
    if (text_width(s, font_size, false) <= width)
        return s;
    size_t at = 0;
    double room = width / font_size - 1.0;
    while (s[at] && room >= char_em((unsigned char)s[at]))
        room -= char_em((unsigned char)s[at++]);
    while (at > 0 && !starts_char((unsigned char)s[at]))
        at--;
    return arena_printf(a, err, "%.*s" ELLIPSIS, (int)at, s);
}

const char *label_op(const char *op_name)
{
    if (strcmp(op_name, "torch.Tensor.__getitem__") == 0)
        return "slice";
    const char *dot = strrchr(op_name, '.');
    const char *name = dot && dot[1] ? dot + 1 : op_name;
    return strcmp(name, "quantized") == 0 ? op_name : name;
}

/* ── attributes ──────────────────────────────────────────────────────────────────────────── */

#define SHOWN 6 /* elements of a list that a text shows */

static void put_ints(struct buf *out, const int64_t *v, int count, const char *between)
{
    for (int i = 0; i < count && i < SHOWN; i++)
        buf_printf(out, "%s%lld", i ? between : "", (long long)v[i]);
    if (count > SHOWN)
        buf_puts(out, ELLIPSIS);
}

void label_value(const struct attr *a, struct buf *out)
{
    switch (a->kind) {
    case ATTR_NONE: buf_puts(out, "None"); break;
    case ATTR_BOOL: buf_puts(out, a->i ? "true" : "false"); break;
    case ATTR_INT: buf_printf(out, "%lld", (long long)a->i); break;
    case ATTR_FLOAT: buf_printf(out, "%.6g", a->f); break;
    case ATTR_STRING: buf_printf(out, "%.160s", a->s ? a->s : ""); break;
    case ATTR_INTS:
        buf_putc(out, '[');
        put_ints(out, a->ints, a->count, ",");
        buf_putc(out, ']');
        break;
    case ATTR_FLOATS:
        buf_putc(out, '[');
        for (int i = 0; i < a->count && i < SHOWN; i++)
            buf_printf(out, "%s%.6g", i ? "," : "", a->floats[i]);
        buf_puts(out, a->count > SHOWN ? ELLIPSIS "]" : "]");
        break;
    }
}

static void gap(struct buf *out)
{
    if (out->size)
        buf_putc(out, ' ');
}

/* "s2", "p1,2": the letter and the list, shortened to one number if all are equal; left out if
 * equal to `usual`. */
static void put_short(const struct node *n, const char *name, const char *letter, int64_t usual,
                      const char *between, struct buf *out)
{
    const struct attr *a = node_attr(n, name);
    if (!a || a->kind == ATTR_NONE)
        return;
    int64_t one = a->i;
    const int64_t *v = a->kind == ATTR_INTS ? a->ints : &one;
    int count = a->kind == ATTR_INTS ? a->count : 1;
    bool equal = count > 0;
    for (int i = 1; i < count; i++)
        equal = equal && v[i] == v[0];
    if (a->kind == ATTR_STRING) {
        gap(out);
        buf_printf(out, "%s %.20s", letter, a->s ? a->s : "");
        return;
    }
    if ((a->kind != ATTR_INTS && a->kind != ATTR_INT) || count == 0 || (equal && v[0] == usual))
        return;
    gap(out);
    buf_puts(out, letter);
    put_ints(out, v, equal && strcmp(between, "x") != 0 ? 1 : count, between);
}

static void put_window(const struct node *n, struct buf *out)
{
    int64_t k[2], s[2];
    const struct attr *a = node_attr(n, "kernel_size");
    if (a && a->kind == ATTR_INT) {
        int axes = strstr(n->op_name, "1d") ? 1 : strstr(n->op_name, "3d") ? 3 : 2;
        for (int i = 0; i < axes; i++)
            buf_printf(out, "%s%lld", i ? "x" : "", (long long)a->i);
    } else {
        put_short(n, "kernel_size", "", -1, "x", out);
    }
    bool same = node_ints(n, "kernel_size", k, 2) && node_ints(n, "stride", s, 2) && k[0] == s[0] &&
                k[1] == s[1] && strstr(n->op_name, "Pool");
    if (!same)
        put_short(n, "stride", "s", 1, ",", out);
    put_short(n, "padding", "p", 0, ",", out);
    put_short(n, "dilation", "d", 1, ",", out);
}

static void put_conv(const struct node *n, struct buf *out)
{
    put_window(n, out);
    int64_t in = node_int(n, "in_channels", -1), channels = node_int(n, "out_channels", -1);
    int64_t groups = node_int(n, "groups", 1);
    if (groups > 1) {
        gap(out);
        buf_printf(out, groups == in ? "dw" : "g%lld", (long long)groups);
    }
    if (in > 0 && channels > 0) {
        gap(out);
        buf_printf(out, "%lld\xE2\x86\x92%lld", (long long)in, (long long)channels);
    }
}

static void put_pool(const struct node *n, struct buf *out)
{
    put_window(n, out);
    if (node_bool(n, "ceil_mode", false)) {
        gap(out);
        buf_puts(out, "ceil");
    }
}

static void put_linear(const struct node *n, struct buf *out)
{
    int64_t in = node_int(n, "in_features", -1), features = node_int(n, "out_features", -1);
    if (in > 0 && features > 0)
        buf_printf(out, "%lld\xE2\x86\x92%lld", (long long)in, (long long)features);
}

static void put_named(const struct node *n, const char *name, const char *before, struct buf *out)
{
    const struct attr *a = node_attr(n, name);
    if (!a || a->kind == ATTR_NONE)
        return;
    gap(out);
    buf_puts(out, before);
    if (a->kind == ATTR_INTS)
        put_ints(out, a->ints, a->count, ",");
    else
        label_value(a, out);
}

static void put_cat(const struct node *n, struct buf *out)
{
    put_named(n, "dim", "dim ", out);
    buf_printf(out, "%s%d input%s", out->size ? ", " : "", n->input_count,
               n->input_count == 1 ? "" : "s");
}

static void put_dim(const struct node *n, struct buf *out)
{
    put_named(n, "dim", "dim ", out);
    if (node_bool(n, "keepdim", false))
        buf_puts(out, " keep");
}

static void put_split(const struct node *n, struct buf *out)
{
    put_named(n, "split_size_or_sections", "", out);
    put_named(n, "chunks", "in ", out);
    put_named(n, "dim", "dim ", out);
}

static void put_to_shape(const struct node *n, struct buf *out)
{
    const struct attr *a = node_attr(n, "shape");
    a = a ? a : node_attr(n, "output_size");
    a = a ? a : node_attr(n, "size");
    if (!a || (a->kind != ATTR_INTS && a->kind != ATTR_INT))
        return;
    gap(out);
    buf_puts(out, "\xE2\x86\x92 ");
    if (a->kind == ATTR_INTS)
        put_ints(out, a->ints, a->count, "x");
    else
        buf_printf(out, "%lld", (long long)a->i);
}

static void put_dims(const struct node *n, struct buf *out)
{
    put_named(n, "dims", "", out);
    put_named(n, "repeats", "x", out);
    int64_t a = node_int(n, "dim0", INT64_MIN), b = node_int(n, "dim1", INT64_MIN);
    if (a != INT64_MIN && b != INT64_MIN)
        buf_printf(out, "%lld\xE2\x86\x94%lld", (long long)a, (long long)b);
}

static void put_resize(const struct node *n, struct buf *out)
{
    put_to_shape(n, out);
    if (out->size == 0)
        put_named(n, "scale_factor", "x", out);
    put_named(n, "mode", "", out);
    if (node_bool(n, "align_corners", false))
        buf_puts(out, " corners");
}

static void put_pad(const struct node *n, struct buf *out)
{
    put_named(n, "pad", "", out);
    put_named(n, "padding", "", out);
    if (strcmp(node_string(n, "mode", "constant"), "constant") != 0)
        put_named(n, "mode", "", out);
}

static void put_range(const struct node *n, struct buf *out)
{
    put_named(n, node_attr(n, "min_val") ? "min_val" : "min", "from ", out);
    put_named(n, node_attr(n, "max_val") ? "max_val" : "max", "to ", out);
}

static void put_slice(const struct node *n, struct buf *out)
{
    int64_t from[SHAPE_MAX_RANK], to[SHAPE_MAX_RANK], axis[SHAPE_MAX_RANK], by[SHAPE_MAX_RANK];
    const struct attr *a = node_attr(n, "axes");
    int count = a && a->kind == ATTR_INTS ? a->count : a ? 1 : 0;
    count = count > SHAPE_MAX_RANK ? 0 : count;
    if (count > 0 && node_ints(n, "axes", axis, count) && node_ints(n, "starts", from, count) &&
        node_ints(n, "ends", to, count)) {
        bool steps = node_ints(n, "steps", by, count);
        for (int i = 0; i < count && i < 3; i++) {
            gap(out);
            buf_printf(out, "%lld[%lld:", (long long)axis[i], (long long)from[i]);
            if (to[i] < INT32_MAX) /* exporters write a huge number for "to the end" */
                buf_printf(out, "%lld", (long long)to[i]);
            if (steps && by[i] != 1)
                buf_printf(out, ":%lld", (long long)by[i]);
            buf_putc(out, ']');
        }
    }
    put_named(n, "select_indices", "pick ", out);
}

static void put_slope(const struct node *n, struct buf *out)
{
    put_named(n, "negative_slope", "", out);
    put_named(n, "alpha", "alpha ", out);
}

static void put_norm(const struct node *n, struct buf *out)
{
    put_named(n, "num_groups", "groups ", out);
    put_named(n, "normalized_shape", "", out);
    put_named(n, "num_features", "", out);
}

static void put_flatten(const struct node *n, struct buf *out)
{
    put_named(n, "start_dim", "from ", out);
}

static void put_dtype(const struct node *n, struct buf *out)
{
    put_named(n, "dtype", "\xE2\x86\x92 ", out);
}

static void put_factor(const struct node *n, struct buf *out)
{
    put_named(n, "upscale_factor", "x", out);
    put_named(n, "downscale_factor", "/", out);
    put_named(n, "groups", "groups ", out);
}

static void put_topk(const struct node *n, struct buf *out)
{
    put_named(n, "k", "k ", out);
    put_dim(n, out);
}

static void put_recurrent(const struct node *n, struct buf *out)
{
    put_named(n, "input_size", "in ", out);
    put_named(n, "hidden_size", "hidden ", out);
}

static void put_heads(const struct node *n, struct buf *out)
{
    put_named(n, "embed_dim", "", out);
    put_named(n, "num_heads", "heads ", out);
}

/* Matched against label_op(); the first row whose name begins the operator's name wins. */
static const struct {
    const char *begins;
    void (*put)(const struct node *n, struct buf *out);
} rows[] = {
    {"ConvTranspose", put_conv},
    {"Conv", put_conv},
    {"MaxPool", put_pool},
    {"AvgPool", put_pool},
    {"Adaptive", put_to_shape},
    {"Linear", put_linear},
    {"cat", put_cat},
    {"stack", put_cat},
    {"split", put_split},
    {"chunk", put_split},
    {"reshape", put_to_shape},
    {"expand", put_to_shape},
    {"permute", put_dims},
    {"transpose", put_dims},
    {"repeat", put_dims},
    {"tile", put_dims},
    {"flip", put_dims},
    {"interpolate", put_resize},
    {"Upsampl", put_resize},
    {"pad", put_pad},
    {"ZeroPad", put_pad},
    {"ConstantPad", put_pad},
    {"ReplicationPad", put_pad},
    {"clamp", put_range},
    {"Hardtanh", put_range},
    {"slice", put_slice},
    {"LeakyReLU", put_slope},
    {"ELU", put_slope},
    {"CELU", put_slope},
    {"Layer", put_norm},
    {"GroupNorm", put_norm},
    {"InstanceNorm", put_norm},
    {"flatten", put_flatten},
    {"PixelShuffle", put_factor},
    {"PixelUnshuffle", put_factor},
    {"ChannelShuffle", put_factor},
    {"topk", put_topk},
    {"to", put_dtype},
    {"LSTM", put_recurrent},
    {"GRU", put_recurrent},
    {"RNN", put_recurrent},
    {"MultiheadAttention", put_heads},
    {"mean", put_dim},
    {"sum", put_dim},
    {"amax", put_dim},
    {"amin", put_dim},
    {"prod", put_dim},
    {"max", put_dim},
    {"min", put_dim},
    {"arg", put_dim},
    {"Softmax", put_dim},
    {"LogSoftmax", put_dim},
    {"GLU", put_dim},
    {"squeeze", put_dim},
    {"unsqueeze", put_dim},
    {"index_select", put_dim},
    {"gather", put_dim},
    {"norm", put_dim},
    {"cumsum", put_dim},
    {"var", put_dim},
    {"logsumexp", put_dim},
};

/* "Ã 0.125", "+ const 1x64x1x1", "1 â x": a binary operator's constant operand. */
static void put_constant_operand(const struct node *n, struct buf *out)
{
    static const struct {
        const char *op, *sign;
    } signs[] = {{"add", "+"},
                 {"sub", "\xE2\x88\x92"},
                 {"mul", "\xC3\x97"},
                 {"div", "\xC3\xB7"},
                 {"pow", "^"}};
    const char *sign = NULL, *name = label_op(n->op_name);
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (strcmp(signs[i].op, name) == 0)
            sign = signs[i].sign;
    for (int i = 0; i < n->input_count && n->input_count <= 3; i++) {
        const struct value *v = n->inputs[i];
        double x;
        char text[SHAPE_TEXT_MAX];
        if (!v || !v->constant)
            continue;
        gap(out);
        if (i > 0)
            buf_printf(out, "%s ", sign ? sign : "with");
        if (shape_elements(&v->shape) == 1 && constant_real(v, 0, &x))
            buf_printf(out, "%.4g", x);
        else
            buf_printf(out, "const %s", shape_text(&v->shape, text));
        if (i == 0)
            buf_printf(out, " %s x", sign ? sign : "with");
    }
}

void label_attributes(const struct node *n, struct buf *out)
{
    const char *name = label_op(n->op_name);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strncmp(name, rows[i].begins, strlen(rows[i].begins)) == 0) {
            rows[i].put(n, out);
            break;
        }
    if (n->op && (n->op->class == OPC_ELTWISE || n->op->class == OPC_MATMUL))
        put_constant_operand(n, out);
}
