/* lower_pool: largest elements and means of windows.
 *
 * Windows of three axes are taken as two: the plane first, as frames of their own, then the depth.  Of
 * means the first are bare sums. */
#include <string.h>

#include "core/compile/lower_tail.h"

/* ── pieces ── */

static void fit_max(const struct layer *l, const struct piece_rows *p, int32_t *args)
{
    args[POOL_MAX_PAD_TOP] = p->in_r0[0] + l->window.pad - p->r0 * l->window.stride;
}

/* Padding is counted around the box of a piece; below its last row there is either none that matters,
 * or what is below the map. */
static void fit_avg(const struct layer *l, const struct piece_rows *p, int32_t *args)
{
    args[POOL_AVG_PAD_TOP] = p->in_r0[0] + l->window.pad - p->r0 * l->window.stride;
    args[POOL_AVG_PAD_BOTTOM] = l->args[POOL_AVG_PAD_BOTTOM] + l->in[0].map->h - p->in_r1[0];
}

static void fit_adaptive(const struct layer *l, const struct piece_rows *p, int32_t *args)
{
    (void)l;
    args[POOL_ADAPTIVE_FIRST_IN_H] = p->in_r0[0];
    args[POOL_ADAPTIVE_FIRST_OUT_H] = p->r0;
}

static void set_window(struct layer *layer, const struct infer_window *h)
{
    layer->window = (struct rows_window){.kernel = (int)h->kernel,
                                         .stride = (int)h->stride,
                                         .dilation = (int)h->dilation,
                                         .pad = (int)h->begin};
}

/* ── layers over planes ── */

static bool add_max(struct lowering *l, const struct node *n, struct map *x, struct map *y,
                    const struct infer_window *h, const struct infer_window *w,
                    struct bpu_error *err)
{
    struct layer *p = lower_layer(l, OP_POOL_MAX, n, y, err);
    if (!p)
        return false;
    layer_reads(p, x, NEED_WINDOW);
    set_window(p, h);
    p->args[POOL_MAX_KERNEL_H] = (int32_t)h->kernel;
    p->args[POOL_MAX_KERNEL_W] = (int32_t)w->kernel;
    p->args[POOL_MAX_STRIDE_H] = (int32_t)h->stride;
    p->args[POOL_MAX_STRIDE_W] = (int32_t)w->stride;
    p->args[POOL_MAX_DILATION_H] = (int32_t)h->dilation;
    p->args[POOL_MAX_DILATION_W] = (int32_t)w->dilation;
    p->args[POOL_MAX_PAD_TOP] = (int32_t)h->begin;
    p->args[POOL_MAX_PAD_LEFT] = (int32_t)w->begin;
    p->fit = fit_max;
    return true;
}

static bool add_avg(struct lowering *l, const struct node *n, struct map *x, struct map *y,
                    const struct infer_window *h, const struct infer_window *w, bool include,
                    int64_t divisor, struct bpu_error *err)
{
    if (divisor < 0 || divisor > INT32_MAX)
        return lower_refuse(n, err, "divisor_override %lld; the machine divides by 1 to %d",
                            (long long)divisor, INT32_MAX);
    struct layer *p = lower_layer(l, OP_POOL_AVG, n, y, err);
    if (!p)
        return false;
    layer_reads(p, x, NEED_WINDOW);
    set_window(p, h);
    p->args[POOL_AVG_KERNEL_H] = (int32_t)h->kernel;
    p->args[POOL_AVG_KERNEL_W] = (int32_t)w->kernel;
    p->args[POOL_AVG_STRIDE_H] = (int32_t)h->stride;
    p->args[POOL_AVG_STRIDE_W] = (int32_t)w->stride;
    p->args[POOL_AVG_PAD_TOP] = (int32_t)h->begin;
    p->args[POOL_AVG_PAD_LEFT] = (int32_t)w->begin;
    p->args[POOL_AVG_PAD_BOTTOM] = (int32_t)h->end;
    p->args[POOL_AVG_PAD_RIGHT] = (int32_t)w->end;
    p->args[POOL_AVG_INCLUDE_PAD] = include;
    p->args[POOL_AVG_DIVISOR] = (int32_t)divisor;
    p->fit = fit_avg;
    return true;
}

static bool add_adaptive(struct lowering *l, const struct node *n, struct map *x, struct map *y,
                         bool largest, struct bpu_error *err)
{
    struct layer *p = lower_layer(l, OP_POOL_ADAPTIVE, n, y, err);
    if (!p)
        return false;
    layer_reads(p, x, NEED_ADAPTIVE);
    p->args[POOL_ADAPTIVE_IN_H] = x->h;
    p->args[POOL_ADAPTIVE_IN_W] = x->w;
    p->args[POOL_ADAPTIVE_OUT_H] = y->h;
    p->args[POOL_ADAPTIVE_OUT_W] = y->w;
    p->args[POOL_ADAPTIVE_LARGEST] = largest;
    p->fit = fit_adaptive;
    return true;
}

/* ── three axes ── */

/* What stands between the two halves of a pool of three axes. */
struct volume {
    struct shape x, y;           /* (N, C, D, H, W) */
    struct map *frames, *pooled; /* (N * D, C, H, W) */
    struct map *depth, *deep;    /* (N, C, D, H * W) */
};

/* v's elements as frames of a plane each: (N, C, D, H, W) → n = N * D. */
static struct map *as_frames(struct lowering *l, const struct value *v, const struct shape *s,
                             struct bpu_error *err)
{
    struct view view, out;
    struct view_loop loop[VIEW_MAX_DIGITS];
    static const int order[5] = {0, 2, 1, 3, 4};
    struct shape to = {.rank = 4, .dim = {s->dim[0] * s->dim[2], s->dim[1], s->dim[3], s->dim[4]}};
    if (!view_of_value(l, v, &view, err))
        return NULL;
    int count = view_by_axes(l, &view, s, loop, err);
    if (count < 0)
        return NULL;
    out = (struct view){.map = view.map};
    memcpy(out.off, view.off, sizeof out.off);
    for (int d = 0; d < 5; d++)
        for (int i = 0; i < count; i++)
            if (loop[i].y_axis == order[d])
                view_add(&out, loop[i].extent, loop[i].x_step, loop[i].x_axis);
    return view_map(l, &out, v->name, &to, FORM_IMAGE, err);
}

/* The pooled planes with depth as rows and planes as columns. */
static struct map *as_depth(struct lowering *l, struct map *pooled, const struct shape *x,
                            const struct shape *y, struct bpu_error *err)
{
    struct view view = {.map = pooled};
    struct shape to = {.rank = 4, .dim = {x->dim[0], x->dim[1], x->dim[2], y->dim[3] * y->dim[4]}};
    view_add(&view, x->dim[0], x->dim[2], 0);
    view_add(&view, x->dim[1], 1, 3);
    view_add(&view, x->dim[2], 1, 0);
    view_add(&view, y->dim[3], 1, 1);
    view_add(&view, y->dim[4], 1, 2);
    return view_map(l, &view, pooled->name, &to, FORM_IMAGE, err);
}

/* The map that the second half writes; the node's result is a view of it. */
static struct map *deep_result(struct lowering *l, const struct value *v, const struct shape *y,
                               struct bpu_error *err)
{
    struct shape as = {.rank = 4, .dim = {y->dim[0], y->dim[1], y->dim[2], y->dim[3] * y->dim[4]}};
    return lower_result_as(l, v, &as, FORM_IMAGE, err);
}

/* first: type of what lies between the halves. */
static bool open_volume(struct lowering *l, const struct node *n, enum dtype first,
                        struct volume *v, struct bpu_error *err)
{
    const struct value *y = n->outputs[0];
    v->frames = as_frames(l, n->inputs[0], &v->x, err);
    if (!v->frames)
        return false;
    bool sums = first == DT_QINT32;
    v->pooled = network_map(l->net, n->inputs[0]->name, v->frames->n, (int)v->y.dim[3],
                            (int)v->y.dim[4], v->frames->c, first, v->frames->scale,
                            sums ? 0 : v->frames->zero, err);
    v->deep = v->pooled ? deep_result(l, y, &v->y, err) : NULL;
    return v->deep != NULL;
}

static bool max_volume(struct lowering *l, const struct node *n, const struct windows *w,
                       struct volume *v, struct bpu_error *err)
{
    static const struct infer_window one = {.kernel = 1, .stride = 1, .dilation = 1};
    return open_volume(l, n, n->inputs[0]->dtype, v, err) &&
           add_max(l, n, v->frames, v->pooled, &w->h, &w->w, err) &&
           (v->depth = as_depth(l, v->pooled, &v->x, &v->y, err)) &&
           add_max(l, n, v->depth, v->deep, &w->d, &one, err);
}

/* Elements of each window: the same everywhere, or 0. */
static int64_t one_count(const struct infer_window *w, int64_t in, int64_t out, bool include)
{
    for (int64_t o = 0; o < out; o++) {
        int64_t from = o * w->stride - w->begin, to = from + w->kernel;
        if (to > in + w->end || (!include && (from < 0 || to > in)))
            return 0;
    }
    return w->kernel;
}

static bool avg_volume(struct lowering *l, const struct node *n, const struct windows *w,
                       struct volume *v, bool include, int64_t divisor, struct bpu_error *err)
{
    static const struct infer_window one = {.kernel = 1, .stride = 1, .dilation = 1};
    if (divisor == 0)
        divisor = one_count(&w->d, v->x.dim[2], v->y.dim[2], include) *
                  one_count(&w->h, v->x.dim[3], v->y.dim[3], include) *
                  one_count(&w->w, v->x.dim[4], v->y.dim[4], include);
    if (divisor == 0)
        return lower_refuse(n, err, "windows of three axes with different numbers of elements");
    return open_volume(l, n, DT_QINT32, v, err) &&
           add_avg(l, n, v->frames, v->pooled, &w->h, &w->w, true, 1, err) &&
           (v->depth = as_depth(l, v->pooled, &v->x, &v->y, err)) &&
           add_avg(l, n, v->depth, v->deep, &w->d, &one, true, divisor, err);
}

/* ── the kernels ── */

static bool indices_unread(const struct lowering *l, const struct node *n, struct bpu_error *err)
{
    for (int i = 1; i < n->output_count; i++) {
        const struct value *v = n->outputs[i];
        bool read = v->is_output;
        for (int k = 0; k < l->graph->node_count && !read; k++)
            for (int o = 0; o < l->graph->nodes[k]->input_count; o++)
                read = read || l->graph->nodes[k]->inputs[o] == v;
        if (read)
            return lower_refuse(n, err, "positions of the largest elements");
    }
    return true;
}

static bool one_scale(const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    if (x->constant)
        return lower_refuse(n, err, "the input is constant");
    if (x->quant.count != 1 || y->quant.count != 1)
        return lower_refuse(n, err, "\"%s\" does not have one scale",
                            x->quant.count != 1 ? x->name : y->name);
    return true;
}

bool lower_max_pool(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    struct windows w;
    struct volume v;
    if (!indices_unread(l, n, err) || !one_scale(n, err) || !lower_windows(n, NULL, &w, err) ||
        !lower_batched(n, n->inputs[0], &v.x, err) || !lower_batched(n, n->outputs[0], &v.y, err))
        return false;
    if (n->op->spatial == 3)
        return max_volume(l, n, &w, &v, err);
    struct map *x = lower_map_as(l, n->inputs[0], &v.x, FORM_IMAGE, err);
    struct map *y = x ? lower_result_as(l, n->outputs[0], &v.y, FORM_IMAGE, err) : NULL;
    return y && add_max(l, n, x, y, &w.h, &w.w, err);
}

bool lower_avg_pool(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    struct windows w;
    struct volume v;
    int64_t divisor = node_int(n, "divisor_override", 0);
    bool include = node_bool(n, "count_include_pad", true);
    if (!one_scale(n, err) || !lower_windows(n, NULL, &w, err) ||
        !lower_batched(n, n->inputs[0], &v.x, err) || !lower_batched(n, n->outputs[0], &v.y, err))
        return false;
    if (n->op->spatial == 3)
        return avg_volume(l, n, &w, &v, include, divisor, err);
    struct map *x = lower_map_as(l, n->inputs[0], &v.x, FORM_IMAGE, err);
    struct map *y = x ? lower_result_as(l, n->outputs[0], &v.y, FORM_IMAGE, err) : NULL;
    return y && add_avg(l, n, x, y, &w.h, &w.w, include, divisor, err);
}

/* A pool of everything is one of the plane in which all slices lie below one another. */
static bool everything(const struct shape *y, int first)
{
    for (int d = first; d < y->rank; d++)
        if (y->dim[d] != 1)
            return false;
    return true;
}

bool lower_adaptive_pool(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *xs = &n->inputs[0]->shape, *ys = &n->outputs[0]->shape;
    bool largest = strstr(n->op->key, "max") != NULL;
    int k = n->op->spatial;
    if (xs->rank - 2 > k) /* ONNX writes global pooling of every rank as the 2d form */
        k = xs->rank - 2;
    if (!indices_unread(l, n, err) || !one_scale(n, err))
        return false;
    if (k > LOWER_SPATIAL || xs->rank < k + 1 || ys->rank != xs->rank)
        return lower_refuse(n, err, "an input of rank %d", xs->rank);
    struct shape x = *xs, y = *ys;
    if (xs->rank == k + 1) {
        x.rank = y.rank = k + 2;
        x.dim[0] = y.dim[0] = 1;
        memcpy(x.dim + 1, xs->dim, (size_t)(k + 1) * sizeof *x.dim);
        memcpy(y.dim + 1, ys->dim, (size_t)(k + 1) * sizeof *y.dim);
    }
    if (k == 3 && !everything(&y, 2)) {
        if (x.dim[2] != y.dim[2])
            return lower_refuse(n, err, "windows of three axes that differ in size");
        /* Depth stays: frames of a plane each. */
        struct map *frames = as_frames(l, n->inputs[0], &x, err);
        struct shape as = {.rank = 4, .dim = {y.dim[0] * y.dim[2], y.dim[1], y.dim[3], y.dim[4]}};
        struct map *made = frames ? network_map(l->net, n->outputs[0]->name, (int)as.dim[0],
                                                (int)as.dim[2], (int)as.dim[3], (int)as.dim[1],
                                                n->outputs[0]->dtype, n->outputs[0]->quant.scale[0],
                                                n->outputs[0]->quant.zero_point
                                                    ? (int32_t)n->outputs[0]->quant.zero_point[0]
                                                    : 0,
                                                err)
                                  : NULL;
        struct view view = {.map = made};
        view_add(&view, y.dim[0], y.dim[2], 0);
        view_add(&view, y.dim[1], 1, 3);
        view_add(&view, y.dim[2], 1, 0);
        view_add(&view, y.dim[3], 1, 1);
        view_add(&view, y.dim[4], 1, 2);
        return made && add_adaptive(l, n, frames, made, largest, err) &&
               view_set(l, n->outputs[0], &view, 2, err);
    }
    struct map *in = lower_map_as(l, n->inputs[0], &x, FORM_IMAGE, err);
    struct map *out = in ? lower_result_as(l, n->outputs[0], &y, FORM_IMAGE, err) : NULL;
    return out && add_adaptive(l, n, in, out, largest, err);
}

/* ── means ── */

/* Axes that a mean takes away are all those that lie in h and w, of the form. */
static bool takes_plane(const struct node *n, enum form f, struct bpu_error *err)
{
    const struct shape *s = &n->inputs[0]->shape;
    unsigned set;
    bool all;
    if (!infer_axes(n, "dim", s->rank, &set, &all, err))
        return false;
    for (int d = 0; d < s->rank; d++) {
        int64_t step;
        int axis = form_axis(s, f, d, &step);
        bool gone = all || set & 1u << d, plane = axis == 1 || axis == 2;
        if (s->dim[d] != 1 && gone != plane)
            return false;
    }
    return true;
}

bool lower_mean(struct lowering *l, const struct node *n, bool *done, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    *done = false;
    if (strcmp(n->op->key, "mean") != 0 || x->constant || x->quant.count != 1 ||
        y->quant.count != 1 || !dtype_is_quantized(y->dtype))
        return true;
    enum form first = lower_form(l, x), f = first;
    if (!takes_plane(n, f, err)) {
        f = first == FORM_IMAGE ? FORM_FEATURES : FORM_IMAGE;
        if (!takes_plane(n, f, err))
            return err->code == BPU_NONE;
    }
    /* (N, C, 1, 1), or (…, 1, 1, C): the result with the axes that went away. */
    struct shape as = x->shape;
    for (int d = 0; d < as.rank; d++) {
        int64_t step;
        int axis = form_axis(&x->shape, f, d, &step);
        if (axis == 1 || axis == 2)
            as.dim[d] = 1;
    }
    *done = true;
    struct map *in = lower_map(l, x, f, err);
    struct map *out = in ? lower_result_as(l, y, &as, f, err) : NULL;
    return out && add_adaptive(l, n, in, out, false, err);
}
