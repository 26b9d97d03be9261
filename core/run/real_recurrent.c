/* real_recurrent: LSTM, GRU and RNN layers, and the LSTM cell.
 *
 *   LSTM  i, f, o = sigmoid(gate),  g = tanh(gate);  c' = f c + i g;  h' = o tanh(c')
 *   GRU   r, z = sigmoid(gate);  n = tanh(W x + b + r (R h + b'));  h' = (1 - z) n + z h
 *   RNN   h' = tanh(gate) or relu(gate)
 *
 * A gate is  b_ih + b_hh + sum W x + sum R h,  in this order, the sums ascending.  Everything stays
 * in double precision from step to step and layer to layer; results are rounded where they are
 * stored.
 *
 * ONNX orders the gates differently (i o f g; z r n), holds both directions in one parameter, may
 * apply r before R (linear_before_reset 0), limit the gates (clip), look at the cell state
 * (peephole) and end sequences early (sequence_lens). */
#include <stdio.h>

#include "core/run/real.h"

enum cell_kind { CELL_LSTM, CELL_GRU, CELL_TANH, CELL_RELU };

/* One layer in one direction. Rows of gate k start at order[k] * hidden. */
struct cell {
    enum cell_kind kind;
    int64_t in, hidden, state;                                 /* state: hidden, or proj_size */
    int gates, order[4];                                       /* of i f g o, or r z n */
    const double *w_ih, *w_hh, *b_ih, *b_hh, *w_hr, *peephole; /* NULL: absent */
    bool reset_after;                                          /* GRU: r is applied behind R h */
    double clip;                                               /* INFINITY: none */
    double *gate;                                              /* gates * hidden, twice for GRU */
};

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double limit(const struct cell *m, double v)
{
    return v > m->clip ? m->clip : v < -m->clip ? -m->clip : v;
}

static double product(const double *w, const double *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += w[i] * x[i];
    return sum;
}

/* b_ih + b_hh + W x + R h of row j, added up in that order. */
static double gate_sum(const struct cell *m, int64_t j, const double *x, const double *h)
{
    double sum = (m->b_ih ? m->b_ih[j] : 0) + (m->b_hh ? m->b_hh[j] : 0);
    for (int64_t i = 0; i < m->in; i++)
        sum += m->w_ih[j * m->in + i] * x[i];
    for (int64_t i = 0; i < m->state; i++)
        sum += m->w_hh[j * m->state + i] * h[i];
    return limit(m, sum);
}

static void lstm_step(const struct cell *m, const double *x, double *h, double *cell)
{
    int64_t n = m->hidden;
    const double *p = m->peephole; /* i, o, f */
    for (int k = 0; k < 4; k++)
        for (int64_t j = 0; j < n; j++)
            m->gate[k * n + j] = gate_sum(m, m->order[k] * n + j, x, h);
    double *out = m->gate; /* overwritten front to back: i is read before */
    for (int64_t j = 0; j < n; j++) {
        double i = sigmoid(m->gate[j] + (p ? p[j] * cell[j] : 0));
        double f = sigmoid(m->gate[n + j] + (p ? p[2 * n + j] * cell[j] : 0));
        cell[j] = f * cell[j] + i * tanh(m->gate[2 * n + j]);
        double o = sigmoid(m->gate[3 * n + j] + (p ? p[n + j] * cell[j] : 0));
        out[j] = o * tanh(cell[j]);
    }
    for (int64_t j = 0; j < m->state; j++)
        h[j] = m->w_hr ? product(m->w_hr + j * n, out, n) : out[j];
}

static void gru_step(const struct cell *m, const double *x, double *h)
{
    int64_t n = m->hidden, third = m->order[2] * n;
    double *r = m->gate, *z = r + n, *reset = z + n, *next = reset + n;
    for (int64_t j = 0; j < n; j++) {
        r[j] = sigmoid(gate_sum(m, m->order[0] * n + j, x, h));
        z[j] = sigmoid(gate_sum(m, m->order[1] * n + j, x, h));
        reset[j] = r[j] * h[j];
    }
    for (int64_t j = 0; j < n; j++) {
        double sum = m->b_ih ? m->b_ih[third + j] : 0, bias = m->b_hh ? m->b_hh[third + j] : 0;
        sum += product(m->w_ih + (third + j) * m->in, x, m->in);
        const double *row = m->w_hh + (third + j) * n;
        sum += m->reset_after ? r[j] * (product(row, h, n) + bias) : product(row, reset, n) + bias;
        next[j] = (1 - z[j]) * tanh(limit(m, sum)) + z[j] * h[j];
    }
    memcpy(h, next, (size_t)n * sizeof *h);
}

static void cell_step(const struct cell *m, const double *x, double *h, double *cell)
{
    if (m->kind == CELL_LSTM) {
        lstm_step(m, x, h, cell);
        return;
    }
    if (m->kind == CELL_GRU) {
        gru_step(m, x, h);
        return;
    }
    for (int64_t j = 0; j < m->hidden; j++)
        m->gate[j] = gate_sum(m, j, x, h);
    for (int64_t j = 0; j < m->hidden; j++)
        h[j] = m->kind == CELL_TANH ? tanh(m->gate[j]) : m->gate[j] > 0 ? m->gate[j] : 0;
}

/* ── parameters ── */

/* Elements from `first` on of a parameter as doubles; *out NULL if it is absent. */
static bool load(const struct kernel_call *c, const char *name, int64_t first, int64_t count,
                 const double **out, struct bpu_error *err)
{
    const struct tensor *t = kernel_param(c, name);
    *out = NULL;
    if (!t)
        return true;
    if (first < 0 || real_count(t) < first + count)
        return kernel_unsupported(c, err, "the parameter %s has too few elements", name);
    double *v = real_scratch(c, count, err);
    if (!v)
        return false;
    real_load(t, first, 1, count, v);
    *out = v;
    return true;
}

static bool cell_weights_needed(const struct kernel_call *c, const struct cell *m,
                                struct bpu_error *err)
{
    if (m->w_ih && m->w_hh)
        return true;
    (void)kernel_unsupported(c, err, "a weight is missing");
    return false;
}

/* So large that products of extents could overflow. Only an empty input is. */
static bool cell_absurd(const struct cell *m)
{
    return m->in > 1 << 28 || m->hidden > 1 << 28 || m->state > 1 << 28;
}

/* PyTorch: a parameter per layer and direction. suffix "" for a cell, else "_l0", "_l0_reverse". */
static bool load_torch(const struct kernel_call *c, struct cell *m, const char *suffix,
                       struct bpu_error *err)
{
    static const char *const names[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh",
                                        "weight_hr"};
    if (cell_absurd(m))
        return kernel_unsupported(c, err, "the layer is too large");
    int64_t rows = m->gates * m->hidden;
    int64_t counts[] = {rows * m->in, rows * m->state, rows, rows, m->state * m->hidden};
    const double **to[] = {&m->w_ih, &m->w_hh, &m->b_ih, &m->b_hh, &m->w_hr};
    for (int i = 0; i < 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", names[i], suffix);
        if (!load(c, name, 0, counts[i], to[i], err))
            return false;
    }
    return cell_weights_needed(c, m, err);
}

/* ONNX: both directions in one parameter, both biases in one row. */
static bool load_onnx(const struct kernel_call *c, struct cell *m, int direction,
                      struct bpu_error *err)
{
    int64_t rows = m->gates * m->hidden;
    if (cell_absurd(m))
        return kernel_unsupported(c, err, "the layer is too large");
    return load(c, "weight_ih", direction * rows * m->in, rows * m->in, &m->w_ih, err) &&
           load(c, "weight_hh", direction * rows * m->state, rows * m->state, &m->w_hh, err) &&
           load(c, "bias", direction * 2 * rows, rows, &m->b_ih, err) &&
           load(c, "bias", direction * 2 * rows + rows, rows, &m->b_hh, err) &&
           load(c, "peephole", direction * 3 * m->hidden, 3 * m->hidden, &m->peephole, err) &&
           cell_weights_needed(c, m, err);
}

static bool cell_init(const struct kernel_call *c, struct cell *m, struct bpu_error *err)
{
    static const int torch_order[4] = {0, 1, 2, 3}, onnx_lstm[4] = {0, 2, 3, 1},
                     onnx_gru[4] = {1, 0, 2, 0};
    const char *key = c->node->op->key;
    bool onnx = infer_from_onnx(c->node);
    m->kind = strncmp(key, "lstm", 4) == 0                                        ? CELL_LSTM
              : strcmp(key, "gru") == 0                                           ? CELL_GRU
              : strcmp(node_string(c->node, "nonlinearity", "tanh"), "relu") == 0 ? CELL_RELU
                                                                                  : CELL_TANH;
    m->gates = m->kind == CELL_LSTM ? 4 : m->kind == CELL_GRU ? 3 : 1;
    memcpy(m->order,
           !onnx                  ? torch_order
           : m->kind == CELL_LSTM ? onnx_lstm
                                  : onnx_gru,
           sizeof m->order);
    if (m->gates == 1)
        m->order[0] = 0;
    m->reset_after = !onnx || node_bool(c->node, "linear_before_reset", false);
    m->clip = node_float(c->node, "clip", INFINITY);
    m->gate = real_scratch(c, 4 * m->hidden, err);
    return m->gate != NULL;
}

/* ── layers ── */

struct layout {
    int64_t steps, batch, directions, layers, hidden, state;
    bool batch_first, separate, reverse;
};

/* Offset of a state (layer and direction k, image n) in h_n and c_n, whose rows have `width`. */
static int64_t state_at(const struct layout *l, int64_t k, int64_t n, int64_t width)
{
    bool image_first = l->separate && l->batch_first;
    return (image_first ? n * l->layers * l->directions + k : k * l->batch + n) * width;
}

/* Offset of step t of image n in a sequence whose rows have `width`. */
static int64_t step_at(const struct layout *l, int64_t t, int64_t n, int64_t width)
{
    return (l->batch_first ? n * l->steps + t : t * l->batch + n) * width;
}

static int64_t result_at(const struct layout *l, int64_t t, int64_t n, int64_t d)
{
    if (l->separate && !l->batch_first)
        return ((t * l->directions + d) * l->batch + n) * l->state;
    return step_at(l, t, n, l->directions * l->state) + d * l->state;
}

/* One direction of one layer: from (steps, batch, in) to columns of `to`. */
static bool run_direction(const struct kernel_call *c, const struct layout *l, const struct cell *m,
                          int64_t k, int64_t d, const double *from, double *to,
                          struct bpu_error *err)
{
    const struct tensor *h0 = kernel_in(c, 1), *c0 = kernel_in(c, 2);
    const struct tensor *lengths = kernel_param(c, "sequence_lens");
    struct tensor *hn = c->out_count > 1 ? c->out[1] : NULL,
                  *cn = c->out_count > 2 ? c->out[2] : NULL;
    double *h = real_scratch(c, l->state + l->hidden, err);
    if (!h)
        return false;
    double *cell = h + l->state;
    for (int64_t n = 0; n < l->batch; n++) {
        memset(h, 0, (size_t)(l->state + l->hidden) * sizeof *h);
        if (h0)
            real_load(h0, state_at(l, k, n, l->state), 1, l->state, h);
        if (c0)
            real_load(c0, state_at(l, k, n, l->hidden), 1, l->hidden, cell);
        int64_t steps = lengths && n < real_count(lengths) ? tensor_int(lengths, n) : l->steps;
        steps = steps < 0 ? 0 : steps > l->steps ? l->steps : steps;
        bool backwards = d == 1 || l->reverse;
        for (int64_t s = 0; s < steps; s++) {
            int64_t t = backwards ? steps - 1 - s : s;
            cell_step(m, from + (t * l->batch + n) * m->in, h, cell);
            memcpy(to + ((t * l->batch + n) * l->directions + d) * l->state, h,
                   (size_t)l->state * sizeof *h);
        }
        if (hn)
            real_store(hn, state_at(l, k, n, l->state), 1, l->state, h);
        if (cn)
            real_store(cn, state_at(l, k, n, l->hidden), 1, l->hidden, cell);
    }
    return true;
}

static bool layers_run(const struct kernel_call *c, struct layout *l, int64_t in,
                       struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    bool onnx = kernel_param(c, "weight_ih") != NULL;
    int64_t wide = l->directions * l->state, room = l->steps * l->batch;
    double *from = real_scratch(c, room * in, err);
    if (!from)
        return false;
    for (int64_t t = 0; t < l->steps; t++)
        for (int64_t n = 0; n < l->batch; n++)
            real_load(x, step_at(l, t, n, in), 1, in, from + (t * l->batch + n) * in);
    for (int64_t k = 0; k < l->layers; k++, in = wide) {
        double *to = real_scratch(c, room * wide, err);
        if (!to)
            return false;
        for (int d = 0; d < l->directions; d++) {
            struct cell m = {.in = in, .hidden = l->hidden, .state = l->state};
            char suffix[40];
            snprintf(suffix, sizeof suffix, "_l%lld%s", (long long)k, d ? "_reverse" : "");
            if (!cell_init(c, &m, err) ||
                !(onnx ? load_onnx(c, &m, d, err) : load_torch(c, &m, suffix, err)) ||
                !run_direction(c, l, &m, k * l->directions + d, d, from, to, err))
                return false;
        }
        from = to;
    }
    for (int64_t i = 0; c->out[0] && i < room * l->directions; i++) {
        int64_t d = i % l->directions, n = i / l->directions % l->batch,
                t = i / l->directions / l->batch;
        real_store(c->out[0], result_at(l, t, n, d), 1, l->state, from + i * l->state);
    }
    return true;
}

/* States and results have the extents that the layers say. */
static bool layers_fit(const struct kernel_call *c, const struct layout *l, struct bpu_error *err)
{
    int64_t rows = l->layers * l->directions * l->batch;
    const struct tensor *in[] = {kernel_in(c, 1), kernel_in(c, 2)};
    int64_t width[] = {l->state, l->hidden};
    for (int i = 0; i < 2; i++) {
        const struct tensor *out = c->out_count > 1 + i ? c->out[1 + i] : NULL;
        if ((in[i] && real_count(in[i]) != rows * width[i]) ||
            (out && real_count(out) != rows * width[i]))
            return kernel_unsupported(c, err, "the state %d does not fit the layers", i);
    }
    if (c->out[0] && real_count(c->out[0]) != l->steps * l->batch * l->directions * l->state)
        return kernel_unsupported(c, err, "the result does not fit the layers");
    return true;
}

static bool recurrent_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct node *n = c->node;
    const struct shape *x = &kernel_in(c, 0)->shape;
    const struct tensor *whh = NULL;
    for (int i = 0; i < n->param_count && !whh; i++)
        if (strncmp(n->params[i].name, "weight_hh", 9) == 0)
            whh = c->params[i];
    if (!whh || whh->shape.rank < 2)
        return kernel_unsupported(c, err, "the recurrent weight is missing");
    bool batched = x->rank == 3, first = batched && node_bool(n, "batch_first", false);
    int64_t project = node_int(n, "proj_size", 0);
    struct layout l = {.layers = node_int(n, "num_layers", 1),
                       .directions = node_bool(n, "bidirectional", false) ? 2 : 1,
                       .steps = x->dim[first ? 1 : 0],
                       .batch = !batched ? 1 : x->dim[first ? 0 : 1],
                       .hidden = node_int(n, "hidden_size", -1),
                       .batch_first = first,
                       .separate = batched && node_bool(n, "separate_directions", false),
                       .reverse = node_bool(n, "reverse", false)};
    if (l.hidden < 0) /* as inference has it */
        l.hidden = whh->shape.dim[whh->shape.rank - 1];
    l.state = project > 0 ? project : l.hidden;
    const char *functions = node_string(n, "activations", NULL);
    if (functions)
        return kernel_unsupported(c, err, "the activations \"%s\" are not supported", functions);
    if (l.layers > 1 << 10 || l.hidden > 1 << 28 || l.state > 1 << 28)
        return kernel_unsupported(c, err, "the layer is too large");
    return layers_fit(c, &l, err) && layers_run(c, &l, x->dim[x->rank - 1], err);
}

bool real_recurrent(const struct kernel_call *c, struct bpu_error *err)
{
    return recurrent_run(c, err);
}

bool fixed_recurrent(const struct kernel_call *c, struct bpu_error *err)
{
    return recurrent_run(c, err);
}

/* [x, h?, c?] gives h' and c'; states that are left out are 0. */
static bool lstm_cell_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0), *h0 = kernel_in(c, 1), *c0 = kernel_in(c, 2);
    struct tensor *y = c->out[0] ? c->out[0] : c->out[1];
    struct cell m = {.in = x->shape.dim[x->shape.rank - 1],
                     .hidden = y->shape.dim[y->shape.rank - 1]};
    m.state = m.hidden;
    double *v = real_scratch(c, m.in + 2 * m.hidden, err);
    if (!v || !cell_init(c, &m, err) || !load_torch(c, &m, "", err) || !m.w_ih || !m.w_hh)
        return false;
    double *h = v + m.in, *cell = h + m.hidden;
    for (int64_t n = 0; n * m.hidden < real_count(y); n++) {
        memset(h, 0, (size_t)(2 * m.hidden) * sizeof *h);
        real_load(x, n * m.in, 1, m.in, v);
        if (h0)
            real_load(h0, n * m.hidden, 1, m.hidden, h);
        if (c0)
            real_load(c0, n * m.hidden, 1, m.hidden, cell);
        cell_step(&m, v, h, cell);
        if (c->out[0])
            real_store(c->out[0], n * m.hidden, 1, m.hidden, h);
        if (c->out_count > 1 && c->out[1])
            real_store(c->out[1], n * m.hidden, 1, m.hidden, cell);
    }
    return true;
}

bool real_lstm_cell(const struct kernel_call *c, struct bpu_error *err)
{
    return lstm_cell_run(c, err);
}

bool fixed_lstm_cell(const struct kernel_call *c, struct bpu_error *err)
{
    return lstm_cell_run(c, err);
}
