/* lower_real_recur: LSTM, GRU and RNN layers, and the LSTM cell.
 *
 *   x ─ LINEAR_REAL (W, both biases) ─ gates in binary64 ─ RECUR (R) ─ one direction of one layer
 *
 * Layers inside of an operator give binary64 to the next one.  The last states are results of
 * RECURs of their own, which go if nobody reads them.  ONNX' order of gates (i o f g; z r n)
 * becomes PyTorch's. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/compile/lower_real.h"

struct recurrence {
    const struct node *n;
    int cell, gates, order[4]; /* gate k's rows in the file */
    int64_t hidden, state, layers, directions;
    bool onnx, batch_first, separate, reverse;
    int x_time; /* axis of steps on the maps */
    struct map *h0, *c0, *lengths;
};

/* One direction of one layer: numbers in the machine's order. */
struct direction {
    double *w, *bias;  /* gates * hidden rows of W, and what each begins with */
    struct blob *blob; /* R and the rest: core/sim/sim_real_recur.c has the order */
    int kind;
    bool peephole, projection;
};

/* Elements from `first` on of a parameter; *out NULL if it is absent. */
static bool numbers(struct lowering *l, const struct node *n, const char *name, int64_t first,
                    int64_t count, double **out, struct bpu_error *err)
{
    const struct value *v = node_param(n, name);
    *out = v ? lower_numbers(l, n, v, name, first, count, false, err) : NULL;
    return !v || *out;
}

struct raw {
    double *w, *r, *b_ih, *b_hh, *project, *peephole;
};

static bool read_torch(struct lowering *l, const struct recurrence *r, int64_t in,
                       const char *suffix, struct raw *out, struct bpu_error *err)
{
    static const char *const names[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh",
                                        "weight_hr"};
    int64_t rows = r->gates * r->hidden;
    int64_t counts[] = {rows * in, rows * r->state, rows, rows, r->state * r->hidden};
    double **to[] = {&out->w, &out->r, &out->b_ih, &out->b_hh, &out->project};
    for (int i = 0; i < 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", names[i], suffix);
        if (!numbers(l, r->n, name, 0, counts[i], to[i], err))
            return false;
    }
    return true;
}

/* Both directions in one parameter, both biases in one row. */
static bool read_onnx(struct lowering *l, const struct recurrence *r, int64_t in, int d,
                      struct raw *out, struct bpu_error *err)
{
    int64_t rows = r->gates * r->hidden;
    return numbers(l, r->n, "weight_ih", d * rows * in, rows * in, &out->w, err) &&
           numbers(l, r->n, "weight_hh", d * rows * r->state, rows * r->state, &out->r, err) &&
           numbers(l, r->n, "bias", d * 2 * rows, rows, &out->b_ih, err) &&
           numbers(l, r->n, "bias", d * 2 * rows + rows, rows, &out->b_hh, err) &&
           numbers(l, r->n, "peephole", d * 3 * r->hidden, 3 * r->hidden, &out->peephole, err);
}

static double *append(double *to, const double *from, int64_t count)
{
    if (from)
        memcpy(to, from, (size_t)count * sizeof *to);
    return to + count;
}

static bool arrange(struct lowering *l, const struct recurrence *r, const struct raw *raw,
                    int64_t in, struct direction *out, struct bpu_error *err)
{
    int64_t h = r->hidden, rows = r->gates * h;
    if (!raw->w || !raw->r)
        return lower_refuse(r->n, err, "a weight is missing");
    double *all = ARENA_ARRAY(l->arena, double, rows *(r->state + 1) + 5 * h + r->state * h, err);
    out->w = all ? ARENA_ARRAY(l->arena, double, rows *in + 1, err) : NULL;
    out->bias = out->w ? ARENA_ARRAY(l->arena, double, rows, err) : NULL;
    if (!out->bias)
        return false;
    double *to = all;
    for (int k = 0; k < r->gates; k++) {
        int64_t from = r->order[k] * h;
        append(out->w + k * h * in, raw->w + from * in, h * in);
        to = append(to, raw->r + from * r->state, h * r->state);
        bool apart = r->cell == RECUR_GRU && k == 2; /* its biases stand on either side of r */
        for (int64_t j = 0; j < h && !apart; j++)
            out->bias[k * h + j] =
                (raw->b_ih ? raw->b_ih[from + j] : 0) + (raw->b_hh ? raw->b_hh[from + j] : 0);
    }
    if (r->cell == RECUR_GRU) {
        to = append(to, raw->b_ih ? raw->b_ih + r->order[2] * h : NULL, h);
        to = append(to, raw->b_hh ? raw->b_hh + r->order[2] * h : NULL, h);
    }
    out->projection = raw->project != NULL;
    if (raw->project)
        to = append(to, raw->project, r->state * h);
    out->peephole = raw->peephole != NULL && r->cell == RECUR_LSTM;
    if (out->peephole)
        to = append(to, raw->peephole, 3 * h);
    out->blob = lower_number_blob(l, all, to - all, &out->kind, err);
    return out->blob != NULL;
}

/* ── states ── */

/* Row k of a state (layers * directions, images, width): the part for these images. */
static struct map *state_row(struct lowering *l, const struct recurrence *r, struct map *m,
                             int64_t k, struct bpu_error *err)
{
    if (!m || m->h * m->w == 0)
        return NULL;
    bool image_first = r->separate && r->batch_first;
    return image_first ? lower_part(l, m, m->name, 0, m->h, (int)k, 1, 0, m->c, err)
                       : lower_part(l, m, m->name, (int)k, 1, 0, m->w, 0, m->c, err);
}

static bool put_part(struct lowering *l, struct map *from, struct map *part, struct bpu_error *err)
{
    struct view all = {.map = from};
    struct digit to[4] = {
        {from->n, 1, AXIS_N}, {from->h, 1, AXIS_H}, {from->w, 1, AXIS_W}, {from->c, 1, AXIS_C}};
    for (int i = 0; i < 4; i++)
        view_add(&all, to[i].extent, 1, i);
    return view_copy(l, &all, part, to, 4, 0, err);
}

/* ── layers ── */

struct placed {
    struct map *y;
    int time, image; /* axes of y */
};

static struct layer *recur(struct lowering *l, const struct recurrence *r,
                           const struct direction *d, struct map *gates, int64_t k, bool backwards,
                           struct placed to, int result, struct bpu_error *err)
{
    struct map *h = NULL, *c = NULL;
    if ((r->h0 && !(h = state_row(l, r, r->h0, k, err))) ||
        (r->c0 && !(c = state_row(l, r, r->c0, k, err))))
        return NULL;
    struct layer *layer = lower_layer(l, OP_RECUR, r->n, to.y, err);
    if (!layer)
        return NULL;
    layer_reads(layer, gates, NEED_ALL);
    layer_reads(layer, h, NEED_ALL);
    layer_reads(layer, c, NEED_ALL);
    layer_reads_blob(layer, d->blob);
    layer_reads(layer, r->lengths, NEED_ALL);
    layer->whole = layer->whole_frame = true;
    layer_set(layer, "cell", r->cell);
    layer_set(layer, "hidden", (int32_t)r->hidden);
    layer_set(layer, "state", (int32_t)r->state);
    layer_set(layer, "peephole", d->peephole);
    layer_set(layer, "projection", d->projection);
    layer_set(layer, "reset_after",
              !infer_from_onnx(r->n) || node_bool(r->n, "linear_before_reset", false));
    layer_set(layer, "reverse", backwards);
    layer_set(layer, "kind", d->kind);
    layer_set_real(layer, "clip", node_float(r->n, "clip", INFINITY));
    layer_set(layer, "x_time", r->x_time);
    layer_set(layer, "y_time", to.time);
    layer_set(layer, "y_image", to.image);
    layer_set(layer, "h_image", r->separate && r->batch_first ? AXIS_H : AXIS_W);
    layer_set(layer, "result", result);
    return layer;
}

static bool add_direction(struct lowering *l, const struct recurrence *r, struct map *x, int64_t k,
                          int d, struct map **gates, struct direction *out, struct bpu_error *err)
{
    struct raw raw = {0};
    char suffix[40];
    snprintf(suffix, sizeof suffix, "_l%lld%s", (long long)k, d ? "_reverse" : "");
    *out = (struct direction){0};
    if (!(r->onnx ? read_onnx(l, r, x->c, d, &raw, err)
                  : read_torch(l, r, x->c, suffix, &raw, err)) ||
        !arrange(l, r, &raw, x->c, out, err))
        return false;
    *gates = lower_doubles(l, r->n, "gates", x->h, x->w, (int)(r->gates * r->hidden), err);
    return *gates && lower_linear_real(l, r->n, x, *gates, out->w, out->bias, err);
}

/* Where direction d of the last layer goes in the result, which holds (steps, images) in the order
 * of x, with the directions beside each other, or as an axis of their own before or behind the
 * images. */
static bool store_steps(struct lowering *l, const struct recurrence *r, const struct direction *dir,
                        struct map *gates, int64_t k, int d, struct map *y, bool last,
                        struct bpu_error *err)
{
    bool backwards = d == 1 || r->reverse, several = r->directions > 1;
    int c = (int)r->state;
    struct placed to = {y, r->x_time, AXIS_H + AXIS_W - r->x_time};
    if (!last || !r->separate) {
        if (several) {
            to.y = last ? lower_temporary(l, y, "direction", y->n, y->h, y->w, c, err)
                        : lower_doubles(l, r->n, "direction", y->h, y->w, c, err);
            if (!to.y)
                return false;
        }
        if (!recur(l, r, dir, gates, k, backwards, to, RECUR_STEPS, err))
            return false;
        if (!several)
            return true;
        struct map *part = lower_part(l, y, y->name, 0, y->h, 0, y->w, d * c, c, err);
        return part && put_part(l, to.y, part, err);
    }
    /* (T, D, N, S): n h w c; or (N, T, D, S). */
    to.time = r->batch_first ? AXIS_H : AXIS_N;
    to.image = r->batch_first ? AXIS_N : AXIS_W;
    int h = r->batch_first ? y->h : 1, w = r->batch_first ? 1 : y->w;
    if (several && !(to.y = lower_temporary(l, y, "direction", y->n, h, w, c, err)))
        return false;
    if (!recur(l, r, dir, gates, k, backwards, to, RECUR_STEPS, err))
        return false;
    if (!several)
        return true;
    struct map *part =
        lower_part(l, y, y->name, r->batch_first ? 0 : d, h, r->batch_first ? d : 0, w, 0, c, err);
    return part && put_part(l, to.y, part, err);
}

/* Row k of the last state or cell state. */
static bool store_state(struct lowering *l, const struct recurrence *r, const struct direction *dir,
                        struct map *gates, int64_t k, int d, struct map *y, int result,
                        struct bpu_error *err)
{
    bool image_first = r->separate && r->batch_first, several = r->layers * r->directions > 1;
    struct placed to = {y, AXIS_N, image_first ? AXIS_H : AXIS_W};
    if (several && !(to.y = lower_temporary(l, y, "last", 1, image_first ? y->h : 1,
                                            image_first ? 1 : y->w, y->c, err)))
        return false;
    if (!recur(l, r, dir, gates, k, d == 1 || r->reverse, to, result, err))
        return false;
    if (!several)
        return true;
    struct map *part = state_row(l, r, y, k, err);
    return part && put_part(l, to.y, part, err);
}

static bool add_layers(struct lowering *l, const struct recurrence *r, struct map *x,
                       struct map *const y[3], struct bpu_error *err)
{
    for (int64_t k = 0; k < r->layers; k++) {
        bool last = k == r->layers - 1;
        struct map *next = last ? y[0]
                                : lower_doubles(l, r->n, "layer", x->h, x->w,
                                                (int)(r->directions * r->state), err);
        if (!last && !next)
            return false;
        for (int d = 0; d < r->directions; d++) {
            struct map *gates;
            struct direction dir;
            int64_t row = k * r->directions + d;
            if (!add_direction(l, r, x, k, d, &gates, &dir, err) ||
                (next && !store_steps(l, r, &dir, gates, row, d, next, last, err)) ||
                (y[1] && !store_state(l, r, &dir, gates, row, d, y[1], RECUR_LAST, err)) ||
                (y[2] && !store_state(l, r, &dir, gates, row, d, y[2], RECUR_CELL_STATE, err)))
                return false;
        }
        x = next;
    }
    return true;
}

/* ── nodes ── */

static void read_cell(struct recurrence *r)
{
    static const int torch[4] = {0, 1, 2, 3}, onnx_lstm[4] = {0, 2, 3, 1},
                     onnx_gru[4] = {1, 0, 2, 0};
    const char *key = r->n->op->key;
    bool onnx = infer_from_onnx(r->n);
    r->cell = strncmp(key, "lstm", 4) == 0                                     ? RECUR_LSTM
              : strcmp(key, "gru") == 0                                        ? RECUR_GRU
              : strcmp(node_string(r->n, "nonlinearity", "tanh"), "relu") == 0 ? RECUR_RELU
                                                                               : RECUR_TANH;
    r->gates = r->cell == RECUR_LSTM ? 4 : r->cell == RECUR_GRU ? 3 : 1;
    r->onnx = onnx;
    memcpy(r->order,
           !onnx || r->gates == 1  ? torch
           : r->cell == RECUR_LSTM ? onnx_lstm
                                   : onnx_gru,
           sizeof r->order);
}

/* A state operand, in the index space (layers * directions, images, width). */
static bool state_operand(struct lowering *l, const struct recurrence *r, int i, int64_t images,
                          int64_t width, struct map **out, struct bpu_error *err)
{
    const struct value *v = node_input(r->n, i);
    bool image_first = r->separate && r->batch_first;
    int64_t rows = r->layers * r->directions;
    struct shape s = {.rank = 3,
                      .dim = {image_first ? images : rows, image_first ? rows : images, width}};
    *out = NULL;
    if (!v)
        return true;
    if (shape_elements(&v->shape) != rows * images * width)
        return lower_refuse(r->n, err, "the state %d does not fit the layers", i - 1);
    *out = lower_map_as(l, v, &s, FORM_FEATURES, err);
    return *out != NULL;
}

static bool state_result(struct lowering *l, const struct recurrence *r, int i, int64_t images,
                         int64_t width, struct map **out, struct bpu_error *err)
{
    const struct value *v = lower_output(r->n, i);
    bool image_first = r->separate && r->batch_first;
    int64_t rows = r->layers * r->directions;
    struct shape s = {.rank = 3,
                      .dim = {image_first ? images : rows, image_first ? rows : images, width}};
    *out = NULL;
    if (!v)
        return true;
    if (shape_elements(&v->shape) != rows * images * width)
        return lower_refuse(r->n, err, "the state %d does not fit the layers", i - 1);
    *out = lower_result_as(l, v, &s, FORM_FEATURES, err);
    return *out != NULL;
}

bool lower_recurrent(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    const struct value *whh = NULL, *lengths = node_param(n, "sequence_lens");
    for (int i = 0; i < n->param_count && !whh; i++)
        if (strncmp(n->params[i].name, "weight_hh", 9) == 0)
            whh = n->params[i].value;
    if (!whh || whh->shape.rank < 2 || x->rank < 2 || x->rank > 3)
        return lower_refuse(n, err, "the recurrent weight is missing");
    if (node_string(n, "activations", NULL))
        return lower_refuse(n, err, "the activations \"%s\" are not supported",
                            node_string(n, "activations", ""));
    bool batched = x->rank == 3, first = batched && node_bool(n, "batch_first", false);
    int64_t project = node_int(n, "proj_size", 0), images = !batched ? 1 : x->dim[first ? 0 : 1];
    struct recurrence r = {.n = n,
                           .layers = node_int(n, "num_layers", 1),
                           .directions = node_bool(n, "bidirectional", false) ? 2 : 1,
                           .hidden = node_int(n, "hidden_size", -1),
                           .batch_first = first,
                           .separate = batched && node_bool(n, "separate_directions", false),
                           .reverse = node_bool(n, "reverse", false),
                           .x_time = batched && !first ? AXIS_H : AXIS_W};
    read_cell(&r);
    r.onnx = node_param(n, "weight_ih") != NULL;
    if (r.hidden < 0)
        r.hidden = whh->shape.dim[whh->shape.rank - 1];
    r.state = project > 0 ? project : r.hidden;
    if (r.layers < 1 || r.layers > 1 << 10 || r.hidden < 1 || r.hidden > 1 << 20 ||
        r.state > 1 << 20)
        return lower_refuse(n, err, "the layer is too large");
    struct map *y[3] = {NULL, NULL, NULL}, *from = lower_map(l, n->inputs[0], FORM_FEATURES, err);
    if (!from || !state_operand(l, &r, 1, images, r.state, &r.h0, err) ||
        !state_operand(l, &r, 2, images, r.hidden, &r.c0, err) ||
        (lengths &&
         !(r.lengths = lower_map_as(l, lengths, &(struct shape){1, {images}}, FORM_FEATURES, err))))
        return false;
    if (lower_output(n, 0) && !(y[0] = lower_result(l, n->outputs[0], FORM_FEATURES, err)))
        return false;
    return state_result(l, &r, 1, images, r.state, &y[1], err) &&
           state_result(l, &r, 2, images, r.hidden, &y[2], err) && add_layers(l, &r, from, y, err);
}

/* [x, h?, c?] gives h' and c'. */
bool lower_lstm_cell(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *some = lower_output(n, 0) ? lower_output(n, 0) : lower_output(n, 1);
    const struct shape *x = &n->inputs[0]->shape;
    int64_t width = some->shape.dim[some->shape.rank - 1];
    int64_t images = shape_elements(&some->shape) / width;
    struct recurrence r = {
        .n = n, .layers = 1, .directions = 1, .hidden = width, .state = width, .x_time = AXIS_H};
    struct shape rows = {.rank = 2, .dim = {images, x->dim[x->rank - 1]}};
    struct raw raw = {0};
    struct direction d = {0};
    struct map *y[2] = {NULL, NULL};
    if (width > 1 << 20 || shape_elements(x) != rows.dim[0] * rows.dim[1])
        return lower_refuse(n, err, "the operand does not fit the state");
    read_cell(&r);
    struct map *from = lower_map_as(l, n->inputs[0], &rows, FORM_FEATURES, err);
    if (!from || !state_operand(l, &r, 1, images, width, &r.h0, err) ||
        !state_operand(l, &r, 2, images, width, &r.c0, err) ||
        !read_torch(l, &r, from->c, "", &raw, err) || !arrange(l, &r, &raw, from->c, &d, err))
        return false;
    struct map *gates = lower_doubles(l, n, "gates", from->h, from->w, (int)(r.gates * width), err);
    if (!gates || !lower_linear_real(l, n, from, gates, d.w, d.bias, err))
        return false;
    for (int i = 0; i < 2; i++) {
        const struct value *v = lower_output(n, i);
        if (!v)
            continue;
        struct shape s = {.rank = 2, .dim = {images, width}};
        y[i] = lower_result_as(l, v, &s, FORM_FEATURES, err);
        struct placed to = {y[i], AXIS_N, AXIS_W};
        if (!y[i] || !recur(l, &r, &d, gates, 0, false, to, i ? RECUR_CELL_STATE : RECUR_LAST, err))
            return false;
    }
    return true;
}
