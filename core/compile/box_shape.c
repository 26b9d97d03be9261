/* box_shape: which layers can be cut into boxes, and what a box of the result needs.
 *
 *   windows        convolutions and pools: rows and columns meet as the window says
 *   elementwise    the same box, but for extents of 1, which are repeated
 *   COPY           a range of the outermost counter along each axis of the result */
#include "core/compile/box.h"

#include <string.h>

#include "core/program/args.h"
#include "core/program/args_real.h"

/* Operands of a convolution. */
enum { IN_X, IN_WEIGHTS, IN_RESIDUAL };

static int extent(const struct map *m, int axis)
{
    return axis == AXIS_N ? m->n : axis == AXIS_H ? m->h : axis == AXIS_W ? m->w : m->c;
}

static bool is_conv(const struct layer *l)
{
    return l->op == OP_CONV || l->op == OP_DWCONV || l->op == OP_DECONV;
}

static bool is_window(const struct layer *l)
{
    return is_conv(l) || l->op == OP_POOL_MAX || l->op == OP_POOL_AVG;
}

static bool is_elementwise(enum opcode op)
{
    return op == OP_ADD || op == OP_MUL || op == OP_BINARY || op == OP_CLAMP || op == OP_SELECT ||
           op == OP_PRELU || op == OP_LOOKUP;
}

const struct blob *box_weights(const struct layer *l)
{
    return is_conv(l) ? l->in[IN_WEIGHTS].blob : NULL;
}

/* ── windows ── */

static struct rows_window columns(const struct layer *l)
{
    const int32_t *a = l->args;
    if (l->op == OP_POOL_MAX)
        return (struct rows_window){a[POOL_MAX_KERNEL_W], a[POOL_MAX_STRIDE_W], a[POOL_MAX_DILATION_W],
                                    a[POOL_MAX_PAD_LEFT]};
    if (l->op == OP_POOL_AVG)
        return (struct rows_window){a[POOL_AVG_KERNEL_W], a[POOL_AVG_STRIDE_W], 1, a[POOL_AVG_PAD_LEFT]};
    return (struct rows_window){a[CONV_KERNEL_W], a[CONV_STRIDE_W], a[CONV_DILATION_W], a[CONV_PAD_LEFT]};
}

/* Most elements of an axis of `all` that `size` results in a row meet. */
static int window_reach(const struct rows_window *w, enum need need, int all, int size)
{
    int64_t span = (int64_t)(w->kernel - 1) * w->dilation, n;
    if (need == NEED_TRANSPOSED)
        n = (size - 1 + span) / w->stride + 2;
    else
        n = (int64_t)(size - 1) * w->stride + span + 1;
    return n < all ? (int)n : all;
}

/* ── counters of a COPY ── */

static const int32_t *loop_of(const struct layer *l, int i)
{
    return l->args + COPY_LOOP(i);
}

/* The outermost counter along an axis of the result, or -1. */
static int outermost(const struct layer *l, int axis)
{
    int found = -1;
    for (int i = 0; i < l->args[COPY_LOOPS]; i++) {
        const int32_t *v = loop_of(l, i);
        if (v[COPY_EXTENT] > 1 && v[COPY_Y_AXIS] == axis && (found < 0 || v[COPY_Y_STEP] > loop_of(l, found)[COPY_Y_STEP]))
            found = i;
    }
    return found;
}

/* True if the counters fill the result without gaps: then ranges of the outermost ones are boxes. */
static bool copy_fills(const struct layer *l)
{
    for (int axis = 0; axis < 4; axis++) {
        int64_t filled = 1;
        for (;;) { /* from the counter of the smallest step on */
            int next = -1;
            for (int i = 0; i < l->args[COPY_LOOPS]; i++) {
                const int32_t *v = loop_of(l, i);
                if (v[COPY_Y_AXIS] == axis && v[COPY_Y_STEP] == filled && v[COPY_EXTENT] > 1)
                    next = i;
            }
            if (next < 0)
                break;
            filled *= loop_of(l, next)[COPY_EXTENT];
        }
        if (filled != extent(l->out[0], axis))
            return false;
        for (int i = 0; i < l->args[COPY_LOOPS]; i++)
            if (loop_of(l, i)[COPY_Y_AXIS] == axis && loop_of(l, i)[COPY_Y_STEP] < 1)
                return false;
    }
    return true;
}

/* Range of counter i for box y. */
static void copy_range(const struct layer *l, int i, const struct box *y, int *from, int *to)
{
    const int32_t *v = loop_of(l, i);
    int axis = v[COPY_Y_AXIS];
    *from = 0;
    *to = v[COPY_EXTENT];
    if (outermost(l, axis) == i) {
        *from = y->at[axis] / v[COPY_Y_STEP];
        *to = (y->at[axis] + y->size[axis]) / v[COPY_Y_STEP];
    }
}

static void copy_operand(const struct layer *l, const struct box *y, struct box *x)
{
    *x = (struct box){.size = {1, 1, 1, 1}};
    for (int i = 0; i < l->args[COPY_LOOPS]; i++) {
        const int32_t *v = loop_of(l, i);
        int from, to, step = v[COPY_X_STEP], axis = v[COPY_X_AXIS];
        copy_range(l, i, y, &from, &to);
        if (step < 0) { /* counted from the far end of its way */
            x->at[axis] += (v[COPY_EXTENT] - to) * -step;
            x->size[axis] += (to - from - 1) * -step;
        } else {
            x->at[axis] += from * step;
            x->size[axis] += (to - from - 1) * step;
        }
    }
}

/* ── layers ── */

static bool camera(const struct compile_options *o, const struct map *root, const struct network *net)
{
    const char *name = root->input >= 0 ? net->inputs[root->input].value->name : NULL;
    enum io_source source = IO_DDR;
    for (int i = 0; name && i < o->input_count; i++)
        if (!o->inputs[i].name || strcmp(o->inputs[i].name, name) == 0)
            source = o->inputs[i].source;
    return source != IO_DDR;
}

bool box_possible(const struct network *net, const struct compile_options *o, const struct layer *l)
{
    const int first = is_window(l) ? 1 : 0;
    if (l->on_host || l->out_count != 1 || l->in_count < 1)
        return false;
    for (int k = 0; k < l->in_count; k++) {
        const struct operand *x = &l->in[k];
        if (!x->map)
            continue;
        if (camera(o, map_root(x->map), net))
            return false;
        if (l->op != OP_COPY && k >= first && x->need != NEED_SAME && x->need != NEED_FRAME)
            return false;
    }
    if (l->op == OP_COPY)
        return copy_fills(l);
    if (!is_window(l))
        return is_elementwise(l->op);
    if (!l->in[IN_X].map || (l->in[IN_X].map->n != l->out[0]->n))
        return false;
    return !is_conv(l) || (l->in[IN_WEIGHTS].blob && l->in[IN_WEIGHTS].blob->units >= 1);
}

static int least_multiple(int a, int b)
{
    int x = a, y = b;
    while (y) {
        int r = x % y;
        x = y;
        y = r;
    }
    return (int64_t)a / x * b < 1 << 20 ? a / x * b : a;
}

int box_unit(const struct network *net, const struct layer *l, int axis)
{
    const struct map *y = l->out[0];
    const struct machine_block *b = &net->machine->blocks[map_root(l->out[0])->block];
    int block = axis == AXIS_N ? 1 : axis == AXIS_H ? b->h : axis == AXIS_W ? b->w : b->c;
    if (l->op == OP_COPY) {
        int i = outermost(l, axis);
        return i < 0 ? 1 : least_multiple(loop_of(l, i)[COPY_Y_STEP], 1);
    }
    if (axis == AXIS_C && is_conv(l)) {
        const struct blob *w = l->in[IN_WEIGHTS].blob;
        return w->units > 1 ? least_multiple(w->unit_channels, block) : y->c;
    }
    return block;
}

int box_input_unit(const struct network *net, const struct layer *l)
{
    const struct map *x = l->in[IN_X].map;
    bool may = (l->op == OP_CONV || l->op == OP_DECONV) && !l->args[CONV_SPLIT_INPUTS] && !l->args[CONV_UNFINISHED] &&
               l->in_count <= IN_RESIDUAL + 1 && l->args[CONV_UNIT_INPUTS] == x->c;
    if (!may)
        return 0;
    return least_multiple(l->args[CONV_IN_BLOCK], net->machine->blocks[map_root(l->in[IN_X].map)->block].c);
}

void box_reach(const struct layer *l, int k, const int size[4], int inputs, int out[4])
{
    const struct map *m = l->in[k].map;
    if (l->op == OP_COPY) {
        struct box y = {.size = {size[0], size[1], size[2], size[3]}}, x;
        copy_operand(l, &y, &x);
        memcpy(out, x.size, sizeof x.size);
        return;
    }
    for (int axis = 0; axis < 4; axis++)
        out[axis] = extent(m, axis) < size[axis] ? extent(m, axis) : size[axis];
    if (!is_window(l) || k != IN_X)
        return;
    struct rows_window w = columns(l);
    out[AXIS_H] = window_reach(&l->window, l->in[k].need, m->h, size[AXIS_H]);
    out[AXIS_W] = window_reach(&w, l->in[k].need, m->w, size[AXIS_W]);
    if (is_conv(l) && l->op != OP_DWCONV) {
        int units = (size[AXIS_C] + l->args[CONV_UNIT_CHANNELS] - 1) / l->args[CONV_UNIT_CHANNELS];
        int64_t groups = (int64_t)units * l->args[CONV_UNIT_INPUTS];
        out[AXIS_C] = !l->args[CONV_SPLIT_INPUTS] ? inputs : groups < m->c ? (int)groups : m->c;
    }
}

void box_operand(const struct layer *l, int k, const struct box *y, const int inputs[2], struct box *x)
{
    const struct map *m = l->in[k].map;
    if (l->op == OP_COPY) {
        copy_operand(l, y, x);
        return;
    }
    for (int axis = 0; axis < 4; axis++) {
        bool repeated = extent(m, axis) == 1;
        x->at[axis] = repeated ? 0 : y->at[axis];
        x->size[axis] = repeated ? 1 : y->size[axis];
    }
    if (!is_window(l) || k != IN_X)
        return;
    struct rows_window w = columns(l);
    int lo, hi;
    layer_rows(l, k, y->at[AXIS_H], y->at[AXIS_H] + y->size[AXIS_H], &lo, &hi);
    x->at[AXIS_H] = lo;
    x->size[AXIS_H] = hi - lo;
    window_range(&w, l->in[k].need, m->w, y->at[AXIS_W], y->at[AXIS_W] + y->size[AXIS_W], &lo, &hi);
    x->at[AXIS_W] = lo;
    x->size[AXIS_W] = hi - lo;
    if (!is_conv(l) || l->op == OP_DWCONV)
        return;
    if (l->args[CONV_SPLIT_INPUTS]) {
        layer_channels(l, k, y->at[AXIS_C], y->at[AXIS_C] + y->size[AXIS_C], &lo, &hi);
        x->at[AXIS_C] = lo;
        x->size[AXIS_C] = hi - lo;
    } else {
        x->at[AXIS_C] = inputs[0];
        x->size[AXIS_C] = inputs[1] - inputs[0];
    }
}

/* ── instructions ── */

void box_fit(const struct layer *l, const struct box_step *b, int32_t *args)
{
    const struct box *y = &b->box[0], *x = &b->box[1];
    struct rows_window w = {.stride = 1};
    if (is_window(l))
        w = columns(l);
    int left = x->at[AXIS_W] + w.pad - y->at[AXIS_W] * w.stride;
    if (l->op == OP_COPY) {
        for (int i = 0; i < args[COPY_LOOPS]; i++) {
            int from, to;
            copy_range(l, i, y, &from, &to);
            args[COPY_LOOP(i) + COPY_EXTENT] = to - from;
        }
    } else if (l->op == OP_POOL_MAX) {
        args[POOL_MAX_PAD_LEFT] = left;
    } else if (l->op == OP_POOL_AVG) {
        args[POOL_AVG_PAD_LEFT] = left;
        args[POOL_AVG_PAD_RIGHT] =
            l->args[POOL_AVG_PAD_RIGHT] + l->in[IN_X].map->w - (x->at[AXIS_W] + x->size[AXIS_W]);
    } else if (is_conv(l)) {
        args[CONV_PAD_LEFT] =
            l->op == OP_DECONV ? y->at[AXIS_W] + w.pad - x->at[AXIS_W] * w.stride : left;
        if (b->sliced) {
            args[CONV_UNIT_INPUTS] = b->inputs[1] - b->inputs[0];
            args[CONV_UNIT_BYTES] = (int32_t)box_unit_bytes(l, b->inputs[1] - b->inputs[0]);
            args[CONV_UNFINISHED] = !b->ends;
        }
    }
}

/* 32 bits where no sum of that many products leaves them. */
enum dtype box_sums_type(const struct layer *l)
{
    const struct map *x = l->in[IN_X].map;
    const int64_t largest = 256 * 256; /* both less their zero points */
    int64_t products = (int64_t)l->args[CONV_KERNEL_H] * l->args[CONV_KERNEL_W] * l->args[CONV_UNIT_INPUTS];
    return dtype_size(x->dtype) == 1 && products < INT32_MAX / largest ? DT_INT32 : DT_INT64;
}

int64_t box_bytes(const struct network *net, const struct map *m, enum dtype type, const int size[4])
{
    const struct map *root = m->parent ? m->parent : m;
    const struct machine_block *b = &net->machine->blocks[root->block];
    int64_t blocks = (int64_t)size[AXIS_N] * ((size[AXIS_H] + b->h - 1) / b->h) * ((size[AXIS_W] + b->w - 1) / b->w);
    return blocks * ((size[AXIS_C] + b->c - 1) / b->c) * b->h * b->w * b->c *
           (int64_t)dtype_size(type == DT_COUNT ? m->dtype : type);
}

int64_t box_unit_bytes(const struct layer *l, int inputs)
{
    const int32_t *a = l->args;
    int64_t out = (a[CONV_UNIT_CHANNELS] + a[CONV_OUT_BLOCK] - 1) / a[CONV_OUT_BLOCK] * a[CONV_OUT_BLOCK];
    int64_t in = (inputs + a[CONV_IN_BLOCK] - 1) / a[CONV_IN_BLOCK] * a[CONV_IN_BLOCK];
    if (inputs == a[CONV_UNIT_INPUTS])
        return a[CONV_UNIT_BYTES];
    return BOX_RECORD * (int64_t)a[CONV_UNIT_CHANNELS] + out * in * a[CONV_KERNEL_H] * a[CONV_KERNEL_W];
}
