/* box: how a layer is cut into boxes, and the steps that make them. */
#include "core/compile/box.h"

#include <string.h>

#include "core/program/args_real.h"

enum { MOST_PIECES = 60000, MOST_SIZES = 32, SUMS_TILE = 4 /* of a convolution */ };

/* ── the cut ── */

struct planner {
    const struct network *net;
    const struct layer *l;
    int dim[4], unit[4];
    int input_unit, inputs; /* of a convolution; inputs: all that it reads at once */
    double cycles;          /* of the layer in one piece */
};

static int64_t granules(int64_t bytes)
{
    return (bytes + SRAM_GRANULE - 1) / SRAM_GRANULE * SRAM_GRANULE;
}

static int64_t parts_of(int64_t all, int64_t size)
{
    return (all + size - 1) / size;
}

/* Bytes of operand k's constants for a box. */
static int64_t constant_bytes(const struct planner *p, int k, const struct box_cut *cut)
{
    const struct blob *b = p->l->in[k].blob;
    if (b != box_weights(p->l) || b->units < 1 || (b->units == 1 && cut->inputs == p->inputs))
        return b->bytes;
    int64_t units = parts_of(cut->size[AXIS_C], b->unit_channels);
    return (units < b->units ? units : b->units) * box_unit_bytes(p->l, cut->inputs);
}

/* What a cut costs; *need: bytes at once. */
static double judge(const struct planner *p, const struct box_cut *cut, int64_t *need)
{
    const struct layer *l = p->l;
    const struct machine *m = p->net->machine;
    int64_t boxes = 1, parts = parts_of(p->inputs, cut->inputs), chunks = parts_of(p->dim[AXIS_C], cut->size[AXIS_C]);
    for (int axis = 0; axis < 4; axis++)
        boxes *= parts_of(p->dim[axis], cut->size[axis]);
    const int64_t pieces = boxes * parts, twice = cut->ahead && pieces > 1 ? 2 : 1;
    double bytes = 0, transfers = 0;
    *need = granules(box_bytes(p->net, l->out[0], DT_COUNT, cut->size)) * (boxes > 1 ? twice : 1);
    bytes += (double)*need / (boxes > 1 ? twice : 1) * (double)boxes;
    transfers += (double)boxes;
    if (parts > 1)
        *need += granules(box_bytes(p->net, l->out[0], box_sums_type(l), cut->size));
    for (int k = 0; k < l->in_count; k++) {
        int64_t one, times = pieces;
        if (l->in[k].map) {
            int size[4];
            box_reach(l, k, cut->size, cut->inputs, size);
            one = box_bytes(p->net, l->in[k].map, DT_COUNT, size);
            /* Windows over all input channels meet the same box for all result channels. */
            if (k > 0)
                times = boxes;
            else if (p->input_unit && parts == 1 && !cut->by_weights)
                times = boxes / chunks;
        } else if (l->in[k].blob) {
            one = constant_bytes(p, k, cut);
            if (one == l->in[k].blob->bytes)
                times = 1;
            else if (cut->by_weights && parts == 1)
                times = chunks;
        } else {
            continue;
        }
        *need += granules(one) * (times > 1 ? twice : 1);
        bytes += (double)one * (double)times;
        transfers += (double)times * (l->in[k].blob && parts > 1 ? 2 : 1);
    }
    if (pieces > MOST_PIECES)
        return -1;
    double ddr = bytes / m->ddr_load_bytes.v + transfers * (m->ddr_latency_cycles.v + m->issue_cycles.v);
    double compute = p->cycles + (double)pieces * m->issue_cycles.v;
    return cut->ahead ? (ddr > compute ? ddr : compute) : ddr + compute;
}

/* The sizes that are tried along an axis: doubling ones, and all of it. */
static int sizes(int all, int unit, int out[MOST_SIZES])
{
    int count = 0;
    for (int64_t v = unit; v < all && count < MOST_SIZES - 1; v *= 2)
        out[count++] = (int)v;
    out[count++] = all;
    return count;
}

static void try_cut(const struct planner *p, struct box_cut *cut, int64_t room, struct box_cut *best, double *price,
                    int64_t *least)
{
    for (int way = 0; way < 4; way++) {
        int64_t need;
        cut->ahead = way & 1;
        cut->by_weights = way & 2;
        double cost = judge(p, cut, &need);
        if (cost < 0)
            continue;
        *least = need < *least ? need : *least;
        if (need > room || (*price >= 0 && cost >= *price))
            continue;
        *price = cost;
        *best = *cut;
    }
}

bool box_plan(const struct network *net, const struct layer *l, int64_t room, struct box_cut *out,
              int64_t *least)
{
    const struct map *y = l->out[0];
    struct planner p = {.net = net, .l = l, .dim = {y->n, y->h, y->w, y->c}, .inputs = 1};
    int size[5][MOST_SIZES], count[5];
    double price = -1;
    struct box_cut cut;
    *least = INT64_MAX;
    for (int axis = 0; axis < 4; axis++) {
        p.unit[axis] = box_unit(net, l, axis);
        count[axis] = sizes(p.dim[axis], p.unit[axis], size[axis]);
    }
    if (box_weights(l)) {
        p.input_unit = box_input_unit(net, l);
        p.inputs = p.input_unit ? l->in[0].map->c : 1;
    }
    count[4] = sizes(p.inputs, p.input_unit ? p.input_unit : 1, size[4]);
    struct step whole = {.layer = l, .p = {.f1 = y->n, .r1 = y->h, .c1 = y->c}};
    struct tile tiles[PROGRAM_MAX_TILES] = {0};
    int32_t args[PROGRAM_MAX_ARGS];
    struct instruction i = {.tiles = tiles, .args = args};
    for (int k = 0; k < l->in_count; k++)
        whole.p.in_r1[k] = l->in[k].map ? l->in[k].map->h : 0;
    emit_piece(net, &whole, NULL, &i);
    p.cycles = instruction_cost(net->machine, &i).cycles;
    for (int n = 0; n < count[0]; n++)
        for (int h = 0; h < count[1]; h++) {
            if (n > 0 && h + 1 < count[1] && l->op != OP_COPY)
                continue; /* several frames with all their rows */
            for (int w = 0; w < count[2]; w++)
                for (int c = 0; c < count[3]; c++)
                    for (int in = 0; in < count[4]; in++) {
                        cut = (struct box_cut){.size = {size[0][n], size[1][h], size[2][w], size[3][c]},
                                               .inputs = size[4][in]};
                        try_cut(&p, &cut, room, out, &price, least);
                    }
        }
    return price >= 0;
}

/* ── the steps ── */

/* A piece and what comes with it. */
struct part {
    struct step piece;
    struct box_step *box;
    bool load[PROGRAM_MAX_TILES]; /* by operand: it is not on chip yet */
    int operand_slot[PROGRAM_MAX_TILES];
};

struct boxes {
    const struct network *net;
    const struct layer *l;
    const struct box_cut *cut;
    struct steps *out;
    struct bpu_error *err;
    int index, core;
    int dim[4], inputs; /* inputs: all that the sums read */
    bool sliced;
    int slots, sums;    /* sums: the slot of the box at hand */
    struct box_step last; /* what is on chip of each operand */
    bool any;
};

static struct step step_of(const struct boxes *b, enum step_kind kind, const struct box_step *box)
{
    return (struct step){.kind = (uint8_t)kind, .core = (uint8_t)b->core, .group = b->index, .layer = b->l, .box = box};
}

/* Boxes and slots of one piece. */
static bool make_part(struct boxes *b, const struct box *y, int input, struct part *out)
{
    const struct layer *l = b->l;
    struct box_step *x = ARENA_NEW(b->out->arena, struct box_step, b->err);
    if (!x)
        return false;
    int next = input + b->cut->inputs < b->inputs ? input + b->cut->inputs : b->inputs;
    memset(x->slot, 0xff, sizeof x->slot);
    x->box[0] = *y;
    x->inputs[0] = input;
    x->inputs[1] = next;
    x->begins = input == 0;
    x->ends = next == b->inputs;
    x->sliced = b->sliced;
    *out = (struct part){.piece = step_of(b, STEP_PIECE, x), .box = x};
    struct piece_rows *p = &out->piece.p;
    *p = (struct piece_rows){y->at[0], y->at[0] + y->size[0], y->at[1], y->at[1] + y->size[1],
                             y->at[3], y->at[3] + y->size[3], {0}, {0}};
    for (int k = 0; k < l->in_count; k++) {
        const int t = k + 1;
        struct box *box = &x->box[t], *last = &b->last.box[t];
        const bool weights = l->in[k].blob && l->in[k].blob == box_weights(l);
        bool same = b->any;
        if (!l->in[k].map && !l->in[k].blob)
            continue;
        if (l->in[k].map) {
            if (k > 1 && box_weights(l) && !x->ends)
                continue; /* a residual is added at the end */
            box_operand(l, k, y, x->inputs, box);
            p->in_r0[k] = box->at[1];
            p->in_r1[k] = box->at[1] + box->size[1];
        } else if (weights) { /* as a box of channels and inputs */
            *box = (struct box){.at = {0, 0, input, y->at[3]}, .size = {1, 1, next - input, y->size[3]}};
        }
        same = same && memcmp(box, last, sizeof *box) == 0 && b->last.slot[t] >= 0;
        x->slot[t] = same ? b->last.slot[t] : b->slots++;
        out->load[k] = !same;
        b->last.box[t] = *box;
        b->last.slot[t] = x->slot[t];
    }
    b->any = true;
    if (x->begins)
        b->sums = x->ends ? -1 : b->slots++;
    x->slot[0] = x->ends ? b->slots++ : b->sums;
    if (!x->begins)
        x->slot[SUMS_TILE] = b->sums;
    return true;
}

static bool add_load(struct boxes *b, const struct part *part, int k)
{
    const struct layer *l = b->l;
    struct box_step *x = ARENA_NEW(b->out->arena, struct box_step, b->err);
    if (!x)
        return false;
    memset(x->slot, 0xff, sizeof x->slot);
    x->slot[0] = part->box->slot[k + 1];
    struct step s = step_of(b, l->in[k].map ? STEP_LOAD : STEP_BLOB, x);
    s.operand = k;
    if (l->in[k].map) {
        struct map *m = l->in[k].map;
        x->box[0] = part->box->box[k + 1];
        x->box[0].at[1] += m->off_h;
        x->box[0].at[2] += m->off_w;
        x->box[0].at[3] += m->off_c;
        s.map = map_root(m);
    } else {
        memcpy(x->inputs, part->box->inputs, sizeof x->inputs);
        x->sliced = b->sliced && l->in[k].blob == box_weights(l);
    }
    s.p = part->piece.p;
    if (!steps_add(b->out, &s, b->err))
        return false;
    if (!x->sliced)
        return true;
    struct box_step *records = ARENA_NEW(b->out->arena, struct box_step, b->err);
    if (!records)
        return false;
    *records = *x;
    records->records = true;
    s.box = records;
    return steps_add(b->out, &s, b->err);
}

static bool add_loads(struct boxes *b, const struct part *part)
{
    for (int k = 0; k < b->l->in_count; k++)
        if (part->load[k] && !add_load(b, part, k))
            return false;
    return true;
}

static bool add_store(struct boxes *b, const struct part *part)
{
    struct map *m = b->l->out[0];
    if (!part->box->ends)
        return true;
    struct box_step *x = ARENA_NEW(b->out->arena, struct box_step, b->err);
    if (!x)
        return false;
    memset(x->slot, 0xff, sizeof x->slot);
    x->slot[0] = part->box->slot[0];
    x->box[0] = part->box->box[0];
    x->box[0].at[1] += m->off_h;
    x->box[0].at[2] += m->off_w;
    x->box[0].at[3] += m->off_c;
    struct step s = step_of(b, STEP_STORE, x);
    s.made = true;
    s.map = map_root(m);
    s.p = part->piece.p;
    return steps_add(b->out, &s, b->err);
}

/* Boxes are counted; axes in the order of their loops, the last one runs fastest. */
static void box_at(const struct boxes *b, int64_t number, struct box *y)
{
    static const int usual[] = {AXIS_N, AXIS_H, AXIS_W, AXIS_C}, weights_first[] = {AXIS_C, AXIS_N, AXIS_H, AXIS_W};
    const int *order = b->cut->by_weights ? weights_first : usual;
    for (int i = 3; i >= 0; i--) {
        int axis = order[i], size = b->cut->size[axis];
        int64_t parts = parts_of(b->dim[axis], size);
        y->at[axis] = (int)(number % parts) * size;
        y->size[axis] = b->dim[axis] - y->at[axis] < size ? b->dim[axis] - y->at[axis] : size;
        number /= parts;
    }
}

bool box_sequence(const struct network *net, const struct group *g, int index, int core, struct steps *out,
                  struct bpu_error *err)
{
    const struct layer *l = net->layers[g->first];
    const struct map *y = l->out[0];
    struct boxes b = {.net = net, .l = l, .cut = &g->cut, .out = out, .err = err, .index = index, .core = core,
                      .dim = {y->n, y->h, y->w, y->c}, .inputs = 1};
    struct part part[3]; /* the one that is made, the next one, the one before */
    int64_t boxes = 1;
    if (box_weights(l) && box_input_unit(net, l))
        b.inputs = l->in[0].map->c;
    b.sliced = g->cut.inputs < b.inputs;
    memset(b.last.slot, 0xff, sizeof b.last.slot);
    for (int axis = 0; axis < 4; axis++)
        boxes *= parts_of(b.dim[axis], g->cut.size[axis]);
    const int64_t parts = parts_of(b.inputs, g->cut.inputs), pieces = boxes * parts;
    for (int64_t i = 0; i <= pieces; i++) {
        struct part *now = &part[i % 3], *before = &part[(i + 2) % 3], *first = &part[(i + 1) % 3];
        struct box at;
        if (i < pieces) {
            box_at(&b, i / parts, &at);
            if (!make_part(&b, &at, (int)(i % parts) * g->cut.inputs, now) || !add_loads(&b, now))
                return false;
        }
        if (!g->cut.ahead) {
            if (i < pieces && (!steps_add(out, &now->piece, err) || !add_store(&b, now)))
                return false;
            continue;
        }
        /* Loads of this one, the piece before it, the result of the one before that. */
        if (i > 0 && !steps_add(out, &before->piece, err))
            return false;
        if (i > 1 && !add_store(&b, first))
            return false;
    }
    return !g->cut.ahead || add_store(&b, &part[(pieces - 1) % 3]);
}
