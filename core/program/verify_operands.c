/* verify_operands: that the operands of an instruction fit its row of isa.def.
 *
 * A rule is a list of ranges for arguments and a function for what extents, types and sizes have to
 * do with each other.  Windows are bounded, so that all index arithmetic of an instruction fits 32
 * bits; loops do no more than their tiles are large. */
#include "core/base/checked.h"
#include "core/ops/binary.h"
#include "core/program/args.h"
#include "core/program/program_private.h"

/* The largest window, stride, dilation or padding. */
#define WINDOW_MAX (1 << 20)
#define SHIFT_MAX 62

static const struct tile *tile(const struct verify *v, int t) { return &v->i->tiles[t]; }

static bool given(const struct verify *v, int t)
{
    return t < v->i->tile_count && v->i->tiles[t].n > 0;
}

static const char *tile_name(const struct verify *v, int t, char out[ISA_NAME_MAX])
{
    return isa_tile_name((enum opcode)v->i->op, t, out);
}

/* ── parts of rules ── */

bool verify_same_extents(const struct verify *v, int a, int b)
{
    const struct tile *x = tile(v, a), *y = tile(v, b);
    char one[ISA_NAME_MAX], other[ISA_NAME_MAX];
    if (x->n == y->n && x->h == y->h && x->w == y->w && x->c == y->c)
        return true;
    return verify_refuse(v, "%s has %dx%dx%dx%d elements, %s %dx%dx%dx%d", tile_name(v, a, one),
                         x->n, x->h, x->w, x->c, tile_name(v, b, other), y->n, y->h, y->w, y->c);
}

static bool repeats(int32_t extent, int32_t of)
{
    return extent == 1 || extent == of;
}

bool verify_repeats(const struct verify *v, int y, int t)
{
    const struct tile *to = tile(v, y), *x = tile(v, t);
    char name[ISA_NAME_MAX];
    if (!given(v, t) || (repeats(x->n, to->n) && repeats(x->h, to->h) && repeats(x->w, to->w) &&
                         repeats(x->c, to->c)))
        return true;
    return verify_refuse(v, "%s has %dx%dx%dx%d elements, which cannot be repeated to %dx%dx%dx%d",
                         tile_name(v, t, name), x->n, x->h, x->w, x->c, to->n, to->h, to->w, to->c);
}

bool verify_flat(const struct verify *v, int t, int64_t bytes)
{
    char name[ISA_NAME_MAX];
    int64_t has = tile_flat_bytes(tile(v, t));
    if (has < 0)
        return verify_refuse(v, "%s is not one run of bytes", tile_name(v, t, name));
    return has == bytes || verify_refuse(v, "%s has %lld bytes instead of %lld",
                                         tile_name(v, t, name), (long long)has, (long long)bytes);
}

static int64_t element_bytes(const struct tile *t) { return (int64_t)dtype_size((enum dtype)t->dtype); }

static bool is_integer(const struct tile *t)
{
    return t->dtype != DT_UNKNOWN && !dtype_is_float((enum dtype)t->dtype);
}

static bool verify_integer(const struct verify *v, int t)
{
    char name[ISA_NAME_MAX];
    if (!given(v, t) || is_integer(tile(v, t)))
        return true;
    return verify_refuse(v, "%s is %s, the instruction computes with integers",
                         tile_name(v, t, name), dtype_name((enum dtype)tile(v, t)->dtype));
}

static bool verify_low_high(const struct verify *v, int low)
{
    return v->i->args[low] <= v->i->args[low + 1] ||
           verify_refuse(v, "low is %d, high %d", v->i->args[low], v->i->args[low + 1]);
}

/* y and x have the same frames and channels; only their planes differ. */
static bool verify_planes(const struct verify *v)
{
    const struct tile *y = tile(v, 0), *x = tile(v, 1);
    return (y->n == x->n && y->c == x->c) ||
           verify_refuse(v, "y has %d frames of %d channels, x %d of %d", y->n, y->c, x->n, x->c);
}

/* ── transfers ── */

static bool check_transfer(const struct verify *v)
{
    if (tile(v, 0)->dtype != tile(v, 1)->dtype)
        return verify_refuse(v, "y is %s, x %s", dtype_name((enum dtype)tile(v, 0)->dtype),
                             dtype_name((enum dtype)tile(v, 1)->dtype));
    return verify_same_extents(v, 0, 1);
}

static bool check_nv12(const struct verify *v)
{
    const struct tile *y = tile(v, 0), *luma = tile(v, 1), *chroma = tile(v, 2);
    if (element_bytes(y) != 1 || element_bytes(luma) != 1 || element_bytes(chroma) != 1)
        return verify_refuse(v, "camera images have elements of one byte");
    if (y->c != 3 || luma->c != 1 || chroma->c != 2)
        return verify_refuse(v, "y, luma and chroma have %d, %d and %d channels instead of 3, 1, 2",
                             y->c, luma->c, chroma->c);
    if (luma->n != y->n || chroma->n != y->n || luma->h != y->h || luma->w != y->w)
        return verify_refuse(v, "luma has not the extents of y");
    if (chroma->h < y->h / 2 + y->h % 2 || chroma->w < y->w / 2 + y->w % 2)
        return verify_refuse(v, "chroma has %dx%d elements, too few for %dx%d", chroma->h,
                             chroma->w, y->h, y->w);
    return true;
}

/* ── sums of products ── */

static const struct operand_range conv_ranges[] = {
    {CONV_KERNEL_H, 1, WINDOW_MAX},   {CONV_KERNEL_W, 1, WINDOW_MAX},
    {CONV_STRIDE_H, 1, WINDOW_MAX},   {CONV_STRIDE_W, 1, WINDOW_MAX},
    {CONV_DILATION_H, 1, WINDOW_MAX}, {CONV_DILATION_W, 1, WINDOW_MAX},
    {CONV_PAD_TOP, -WINDOW_MAX, WINDOW_MAX},
    {CONV_PAD_LEFT, -WINDOW_MAX, WINDOW_MAX},
    {CONV_UNIT_CHANNELS, 1, INT32_MAX},
    {CONV_UNIT_BYTES, 1, INT32_MAX},
    {CONV_SPLIT_INPUTS, 0, 1},
    {CONV_OUT_BLOCK, 1, 4096},
    {CONV_IN_BLOCK, 1, 4096},
    {CONV_RULE, 0, 1},
    {CONV_UNFINISHED, 0, 1},
};

/* Index arithmetic of a window over `results` along one axis stays inside 32 bits. */
static bool verify_window(const struct verify *v, const char *axis, int64_t results, int64_t kernel,
                          int64_t stride, int64_t dilation)
{
    int64_t reach = (results - 1) * stride + (kernel - 1) * dilation;
    return reach <= INT32_MAX - WINDOW_MAX ||
           verify_refuse(v, "the window reaches %lld elements along %s", (long long)reach, axis);
}

static int64_t blocks(int64_t extent, int64_t block) { return (extent + block - 1) / block; }

/* Bytes that a unit of weights needs; -1 beyond 64 bits. */
static int64_t unit_bytes(const int32_t *args, bool depthwise)
{
    enum { RECORD = 5 * 4 };
    int64_t out_block = args[CONV_OUT_BLOCK], in_block = depthwise ? 1 : args[CONV_IN_BLOCK];
    int64_t inputs = depthwise ? 1 : args[CONV_UNIT_INPUTS], bytes;
    bool fits = checked_mul(blocks(args[CONV_UNIT_CHANNELS], out_block) * out_block,
                            blocks(inputs, in_block) * in_block, &bytes) &&
                checked_mul(bytes, args[CONV_KERNEL_H], &bytes) &&
                checked_mul(bytes, args[CONV_KERNEL_W], &bytes) &&
                checked_add(bytes, (int64_t)RECORD * args[CONV_UNIT_CHANNELS], &bytes);
    return fits ? bytes : -1;
}

static bool verify_units(const struct verify *v, bool depthwise)
{
    const int32_t *args = v->i->args;
    const struct tile *y = tile(v, 0), *x = tile(v, 1);
    int64_t units = blocks(y->c, args[CONV_UNIT_CHANNELS]), needs = unit_bytes(args, depthwise);
    if (needs < 0 || needs > args[CONV_UNIT_BYTES])
        return verify_refuse(v, "a unit of weights has %d bytes and needs %lld",
                             args[CONV_UNIT_BYTES], (long long)needs);
    if (!depthwise) {
        int64_t reads = args[CONV_UNIT_INPUTS];
        if (reads < 1)
            return verify_refuse(v, "unit_inputs is %lld", (long long)reads);
        reads *= args[CONV_SPLIT_INPUTS] ? units : 1;
        if (reads > x->c)
            return verify_refuse(v, "the weights are for %lld channels, x has %d", (long long)reads,
                                 x->c);
    }
    return verify_flat(v, 2, units * args[CONV_UNIT_BYTES]);
}

static bool verify_conv(const struct verify *v, bool depthwise, bool transposed)
{
    const struct tile *y = tile(v, 0), *x = tile(v, 1);
    const int32_t *args = v->i->args;
    if (y->n != x->n || (depthwise && y->c != x->c))
        return verify_refuse(v, "y has %d frames of %d channels, x %d of %d", y->n, y->c, x->n,
                             x->c);
    const struct tile *windows = transposed ? x : y;
    if (!verify_window(v, "h", windows->h, args[CONV_KERNEL_H], args[CONV_STRIDE_H],
                       args[CONV_DILATION_H]) ||
        !verify_window(v, "w", windows->w, args[CONV_KERNEL_W], args[CONV_STRIDE_W],
                       args[CONV_DILATION_W]) ||
        !verify_integer(v, 0) || !verify_integer(v, 1) || !verify_integer(v, 3) ||
        !verify_integer(v, 4) || !verify_low_high(v, CONV_LOW))
        return false;
    if (element_bytes(x) > 2)
        return verify_refuse(v, "x has elements of %lld bytes", (long long)element_bytes(x));
    if (args[CONV_UNFINISHED] && element_bytes(y) < 4)
        return verify_refuse(v, "unfinished sums in elements of %lld bytes",
                             (long long)element_bytes(y));
    if (given(v, 4) && element_bytes(tile(v, 4)) < 4)
        return verify_refuse(v, "sums of %lld bytes", (long long)element_bytes(tile(v, 4)));
    return (!given(v, 3) || verify_same_extents(v, 0, 3)) &&
           (!given(v, 4) || verify_same_extents(v, 0, 4)) && verify_units(v, depthwise);
}

static bool check_conv(const struct verify *v) { return verify_conv(v, false, false); }
static bool check_dwconv(const struct verify *v) { return verify_conv(v, true, false); }
static bool check_deconv(const struct verify *v) { return verify_conv(v, false, true); }

static const struct operand_range matmul_ranges[] = {
    {MATMUL_TRANSPOSED, 0, 1}, {MATMUL_MANTISSA, 0, INT32_MAX}, {MATMUL_SHIFT, 0, SHIFT_MAX},
    {MATMUL_RULE, 0, 1},
};

static bool check_matmul(const struct verify *v)
{
    const struct tile *y = tile(v, 0), *a = tile(v, 1), *b = tile(v, 2);
    int32_t inner = v->i->args[MATMUL_TRANSPOSED] ? b->c : b->w;
    int32_t outer = v->i->args[MATMUL_TRANSPOSED] ? b->w : b->c;
    if (a->c != inner || a->w != y->w || outer != y->c)
        return verify_refuse(v, "a is %dx%d, b %dx%d, y %dx%d: no matrix product", a->w, a->c, inner,
                             outer, y->w, y->c);
    if (!repeats(a->n, y->n) || !repeats(a->h, y->h) || !repeats(b->n, y->n) ||
        !repeats(b->h, y->h))
        return verify_refuse(v, "a has %dx%d matrices, b %dx%d, y %dx%d", a->n, a->h, b->n, b->h,
                             y->n, y->h);
    return verify_integer(v, 0) && verify_integer(v, 1) && verify_integer(v, 2) &&
           verify_low_high(v, MATMUL_LOW);
}

/* ── windows ── */

static const struct operand_range pool_max_ranges[] = {
    {POOL_MAX_KERNEL_H, 1, WINDOW_MAX},   {POOL_MAX_KERNEL_W, 1, WINDOW_MAX},
    {POOL_MAX_STRIDE_H, 1, WINDOW_MAX},   {POOL_MAX_STRIDE_W, 1, WINDOW_MAX},
    {POOL_MAX_DILATION_H, 1, WINDOW_MAX}, {POOL_MAX_DILATION_W, 1, WINDOW_MAX},
    {POOL_MAX_PAD_TOP, -WINDOW_MAX, WINDOW_MAX},
    {POOL_MAX_PAD_LEFT, -WINDOW_MAX, WINDOW_MAX},
};

static bool check_pool_max(const struct verify *v)
{
    const int32_t *args = v->i->args;
    return verify_planes(v) && verify_integer(v, 0) && verify_integer(v, 1) &&
           verify_window(v, "h", tile(v, 0)->h, args[POOL_MAX_KERNEL_H], args[POOL_MAX_STRIDE_H],
                         args[POOL_MAX_DILATION_H]) &&
           verify_window(v, "w", tile(v, 0)->w, args[POOL_MAX_KERNEL_W], args[POOL_MAX_STRIDE_W],
                         args[POOL_MAX_DILATION_W]);
}

static const struct operand_range pool_avg_ranges[] = {
    {POOL_AVG_KERNEL_H, 1, WINDOW_MAX},
    {POOL_AVG_KERNEL_W, 1, WINDOW_MAX},
    {POOL_AVG_STRIDE_H, 1, WINDOW_MAX},
    {POOL_AVG_STRIDE_W, 1, WINDOW_MAX},
    {POOL_AVG_PAD_TOP, -WINDOW_MAX, WINDOW_MAX},
    {POOL_AVG_PAD_LEFT, -WINDOW_MAX, WINDOW_MAX},
    {POOL_AVG_PAD_BOTTOM, -WINDOW_MAX, WINDOW_MAX},
    {POOL_AVG_PAD_RIGHT, -WINDOW_MAX, WINDOW_MAX},
    {POOL_AVG_INCLUDE_PAD, 0, 1},
    {POOL_AVG_DIVISOR, 0, INT32_MAX},
};

/* Of a mean over what is there, something must be there: in the first and in the last window, and
 * so in all between. */
static bool verify_windows_filled(const struct verify *v, const char *axis, int64_t results,
                                  int64_t kernel, int64_t stride, int64_t pad, int64_t low,
                                  int64_t high)
{
    int64_t last = (results - 1) * stride - pad;
    return (kernel - pad > low && last < high && low < high) ||
           verify_refuse(v, "a window along %s is empty, so that there is no mean", axis);
}

static bool check_pool_avg(const struct verify *v)
{
    const int32_t *args = v->i->args;
    const struct tile *y = tile(v, 0), *x = tile(v, 1);
    int64_t pad = args[POOL_AVG_INCLUDE_PAD];
    if (!verify_planes(v) || !verify_integer(v, 0) || !verify_integer(v, 1) ||
        !verify_window(v, "h", y->h, args[POOL_AVG_KERNEL_H], args[POOL_AVG_STRIDE_H], 1) ||
        !verify_window(v, "w", y->w, args[POOL_AVG_KERNEL_W], args[POOL_AVG_STRIDE_W], 1))
        return false;
    return args[POOL_AVG_DIVISOR] != 0 ||
           (verify_windows_filled(v, "h", y->h, args[POOL_AVG_KERNEL_H], args[POOL_AVG_STRIDE_H],
                                  args[POOL_AVG_PAD_TOP], -pad * args[POOL_AVG_PAD_TOP],
                                  x->h + pad * args[POOL_AVG_PAD_BOTTOM]) &&
            verify_windows_filled(v, "w", y->w, args[POOL_AVG_KERNEL_W], args[POOL_AVG_STRIDE_W],
                                  args[POOL_AVG_PAD_LEFT], -pad * args[POOL_AVG_PAD_LEFT],
                                  x->w + pad * args[POOL_AVG_PAD_RIGHT]));
}

static const struct operand_range pool_adaptive_ranges[] = {
    {POOL_ADAPTIVE_IN_H, 1, INT32_MAX},        {POOL_ADAPTIVE_IN_W, 1, INT32_MAX},
    {POOL_ADAPTIVE_OUT_H, 1, INT32_MAX},       {POOL_ADAPTIVE_OUT_W, 1, INT32_MAX},
    {POOL_ADAPTIVE_FIRST_IN_H, 0, INT32_MAX},  {POOL_ADAPTIVE_FIRST_IN_W, 0, INT32_MAX},
    {POOL_ADAPTIVE_FIRST_OUT_H, 0, INT32_MAX}, {POOL_ADAPTIVE_FIRST_OUT_W, 0, INT32_MAX},
    {POOL_ADAPTIVE_LARGEST, 0, 1},
};

static bool verify_adaptive(const struct verify *v, const char *axis, int64_t in, int64_t out,
                            int64_t first_in, int64_t first_out, int64_t x, int64_t y)
{
    int64_t low = first_out * in / out, high = blocks((first_out + y) * in, out);
    if (first_out + y > out)
        return verify_refuse(v, "results %lld to %lld along %s of %lld", (long long)first_out,
                             (long long)(first_out + y), axis, (long long)out);
    return (low >= first_in && high <= first_in + x) ||
           verify_refuse(v, "needs elements %lld to %lld along %s, x has %lld to %lld",
                         (long long)low, (long long)high, axis, (long long)first_in,
                         (long long)(first_in + x));
}

static bool check_pool_adaptive(const struct verify *v)
{
    const int32_t *args = v->i->args;
    const struct tile *y = tile(v, 0), *x = tile(v, 1);
    return verify_planes(v) && verify_integer(v, 0) && verify_integer(v, 1) &&
           verify_adaptive(v, "h", args[POOL_ADAPTIVE_IN_H], args[POOL_ADAPTIVE_OUT_H],
                           args[POOL_ADAPTIVE_FIRST_IN_H], args[POOL_ADAPTIVE_FIRST_OUT_H], x->h,
                           y->h) &&
           verify_adaptive(v, "w", args[POOL_ADAPTIVE_IN_W], args[POOL_ADAPTIVE_OUT_W],
                           args[POOL_ADAPTIVE_FIRST_IN_W], args[POOL_ADAPTIVE_FIRST_OUT_W], x->w,
                           y->w);
}

/* ── elementwise ── */

static bool verify_all_repeat(const struct verify *v)
{
    for (int t = 1; t < v->i->tile_count; t++)
        if (!verify_repeats(v, 0, t))
            return false;
    return true;
}

static const struct operand_range add_ranges[] = {{ADD_SHIFT, 0, SHIFT_MAX}};
static const struct operand_range mul_ranges[] = {
    {MUL_MANTISSA, 0, INT32_MAX}, {MUL_SHIFT, 0, SHIFT_MAX}, {MUL_RULE, 0, 1}};
static const struct operand_range binary_ranges[] = {{BINARY_CODE, 0, B_NONE - 1}};

static bool check_add(const struct verify *v)
{
    return verify_all_repeat(v) && verify_integer(v, 0) && verify_integer(v, 1) &&
           verify_integer(v, 2) && verify_low_high(v, ADD_LOW);
}

static bool check_mul(const struct verify *v)
{
    return verify_all_repeat(v) && verify_integer(v, 0) && verify_integer(v, 1) &&
           verify_integer(v, 2) && verify_low_high(v, MUL_LOW);
}

static bool check_binary(const struct verify *v)
{
    if (!given(v, 1) && !given(v, 2))
        return verify_refuse(v, "both operands are left out");
    return verify_all_repeat(v) && verify_low_high(v, BINARY_LOW);
}

static bool check_clamp(const struct verify *v)
{
    return verify_all_repeat(v) && verify_integer(v, 0) && verify_integer(v, 1);
}

static bool check_lookup(const struct verify *v)
{
    int64_t element = element_bytes(tile(v, 1));
    if (!verify_repeats(v, 0, 1) || !verify_integer(v, 1))
        return false;
    if (element > 2)
        return verify_refuse(v, "a table for elements of %lld bytes", (long long)element);
    return verify_flat(v, 2, (element == 1 ? 256 : 65536) * element_bytes(tile(v, 0)));
}

/* ── moving ── */

static const struct operand_range copy_ranges[] = {{COPY_RULE, 0, 2}, {COPY_LOOPS, 0, COPY_MAX_LOOPS}};

static int64_t tile_extent(const struct tile *t, int axis)
{
    return axis == 0 ? t->n : axis == 1 ? t->h : axis == 2 ? t->w : t->c;
}

/* How far the loops reach along each axis of a tile: counters that go up from the first element and
 * those that go down from the last one of their way need as much room as both steps make. */
static bool verify_reach(const struct verify *v, int t, int axis_arg, int step_arg)
{
    int64_t reach[4] = {0};
    char name[ISA_NAME_MAX];
    for (int k = 0; k < v->i->args[COPY_LOOPS]; k++) {
        const int32_t *loop = v->i->args + COPY_LOOP(k);
        int64_t step = loop[step_arg], moved;
        if (loop[axis_arg] < 0 || loop[axis_arg] > 3)
            return verify_refuse(v, "loop %d moves along axis %d", k, loop[axis_arg]);
        if (!checked_mul(step < 0 ? -step : step, loop[COPY_EXTENT] - 1, &moved) ||
            !checked_add(reach[loop[axis_arg]], moved, &reach[loop[axis_arg]]))
            return verify_refuse(v, "loop %d goes too far", k);
    }
    for (int axis = 0; axis < 4; axis++)
        if (reach[axis] >= tile_extent(tile(v, t), axis))
            return verify_refuse(v, "the loops reach element %lld of %lld along axis %d of %s",
                                 (long long)reach[axis], (long long)tile_extent(tile(v, t), axis),
                                 axis, tile_name(v, t, name));
    return true;
}

static bool check_copy(const struct verify *v)
{
    const struct tile *y = tile(v, 0), *x = tile(v, 1);
    int64_t moved = 1, room;
    for (int k = 0; k < v->i->args[COPY_LOOPS]; k++) {
        int32_t extent = v->i->args[COPY_LOOP(k) + COPY_EXTENT];
        if (extent < 1 || !checked_mul(moved, extent, &moved))
            return verify_refuse(v, "loop %d has %d steps", k, extent);
    }
    if (!checked_mul((int64_t)y->n * y->h, y->w, &room) || !checked_mul(room, y->c, &room) ||
        moved > room)
        return verify_refuse(v, "%lld elements are moved, y has fewer", (long long)moved);
    if (v->i->args[COPY_RULE] == 0 && element_bytes(x) != element_bytes(y))
        return verify_refuse(v, "bytes are copied between elements of %lld and %lld bytes",
                             (long long)element_bytes(x), (long long)element_bytes(y));
    return verify_reach(v, 0, COPY_Y_AXIS, COPY_Y_STEP) &&
           verify_reach(v, 1, COPY_X_AXIS, COPY_X_STEP);
}

/* ── the host ── */

static const struct operand_range quantize_ranges[] = {{QUANTIZE_DIVIDES, 0, 1}};

static bool check_quantize(const struct verify *v)
{
    if (!dtype_is_float((enum dtype)tile(v, 1)->dtype))
        return verify_refuse(v, "x is %s, not real", dtype_name((enum dtype)tile(v, 1)->dtype));
    return verify_integer(v, 0) && verify_repeats(v, 0, 1);
}

static bool check_dequantize(const struct verify *v)
{
    if (!dtype_is_float((enum dtype)tile(v, 0)->dtype))
        return verify_refuse(v, "y is %s, not real", dtype_name((enum dtype)tile(v, 0)->dtype));
    return verify_integer(v, 1) && verify_repeats(v, 0, 1);
}

/* ── the table ── */

static const struct operand_rule rules[OP_COUNT] = {
    [OP_LOAD] = {NULL, 0, check_transfer},
    [OP_STORE] = {NULL, 0, check_transfer},
    [OP_LOAD_NV12] = {NULL, 0, check_nv12},
    [OP_CONV] = {OPERAND_RANGES(conv_ranges), check_conv},
    [OP_DWCONV] = {OPERAND_RANGES(conv_ranges), check_dwconv},
    [OP_DECONV] = {OPERAND_RANGES(conv_ranges), check_deconv},
    [OP_MATMUL] = {OPERAND_RANGES(matmul_ranges), check_matmul},
    [OP_POOL_MAX] = {OPERAND_RANGES(pool_max_ranges), check_pool_max},
    [OP_POOL_AVG] = {OPERAND_RANGES(pool_avg_ranges), check_pool_avg},
    [OP_POOL_ADAPTIVE] = {OPERAND_RANGES(pool_adaptive_ranges), check_pool_adaptive},
    [OP_ADD] = {OPERAND_RANGES(add_ranges), check_add},
    [OP_MUL] = {OPERAND_RANGES(mul_ranges), check_mul},
    [OP_BINARY] = {OPERAND_RANGES(binary_ranges), check_binary},
    [OP_CLAMP] = {NULL, 0, check_clamp},
    [OP_SELECT] = {NULL, 0, verify_all_repeat},
    [OP_PRELU] = {NULL, 0, verify_all_repeat},
    [OP_LOOKUP] = {NULL, 0, check_lookup},
    [OP_COPY] = {OPERAND_RANGES(copy_ranges), check_copy},
    [OP_QUANTIZE] = {OPERAND_RANGES(quantize_ranges), check_quantize},
    [OP_DEQUANTIZE] = {NULL, 0, check_dequantize},
};

bool verify_operands(const struct verify *v)
{
    enum opcode op = (enum opcode)v->i->op;
    const struct operand_rule *rule = verify_rule_real(op);
    if (!rule)
        rule = &rules[op];
    for (int k = 0; k < rule->range_count; k++) {
        const struct operand_range *r = &rule->ranges[k];
        char name[ISA_NAME_MAX];
        int32_t value = v->i->args[r->arg];
        if (value < r->least || value > r->most)
            return verify_refuse(v, "%s is %d, not %d to %d", isa_arg_name(op, r->arg, name), value,
                                 r->least, r->most);
    }
    return !rule->check || rule->check(v);
}
