/* place: what lies in on-chip memory when, and where.
 *
 * A buffer lives from the first step that touches it to the last.  Weights are loaded just in time:
 * so early that the transfer ends when they are needed, if memory has room for them that long.
 * Maps in DDR share the workspace in the same way. */
#include <stdlib.h>
#include <string.h>

#include "core/compile/box.h"
#include "core/run/plan.h"

static int64_t round_up(int64_t v, int64_t to)
{
    return (v + to - 1) / to * to;
}

static int *filled(struct arena *a, int count, struct bpu_error *err)
{
    int *v = ARENA_ARRAY(a, int, count, err);
    for (int i = 0; v && i < count; i++)
        v[i] = -1;
    return v;
}

bool placement_init(struct placement *p, struct arena *a, const struct network *net,
                    const struct grouping *g, const struct compile_options *o, int64_t sram,
                    struct bpu_error *err)
{
    *p = (struct placement){.arena = a, .net = net, .grouping = g, .options = o, .sram = sram};
    for (int c = 0; c < MACHINE_MAX_CORES; c++)
        if (!(p->resident[c] = filled(a, net->map_count, err)))
            return false;
    p->ring[0] = filled(a, net->map_count, err);
    p->ring[1] = filled(a, net->map_count, err);
    p->ddr = ARENA_ARRAY(a, int64_t, net->map_count, err);
    for (int i = 0; p->ddr && i < net->map_count; i++)
        p->ddr[i] = -1;
    return p->ring[0] && p->ring[1] && p->ddr;
}

/* ── buffers of a group ── */

static int add_buffer(struct placement *p, const struct buffer *b, struct bpu_error *err)
{
    struct buffer *all = arena_grow(p->arena, p->buffers, p->count, p->count + 1, sizeof *all,
                                    &p->capacity, err);
    if (!all)
        return -1;
    p->buffers = all;
    p->buffers[p->count] = *b;
    p->buffers[p->count].host = p->buffers[p->count].next = -1;
    return (int)p->count++;
}

/* The ring with room for one band more where transfers fill or empty it. */
static int add_ring(struct placement *p, const struct group *g, int core, const struct ring *r,
                    struct bpu_error *err)
{
    const struct machine_block *b = &p->net->machine->blocks[r->map->block];
    int64_t all = map_rows(r->map), rows = r->rows;
    if (sequence_overlaps(g, p->grouping->resident, r))
        rows += round_up(all / g->bands + 1, b->h);
    rows = round_up(rows, b->h);
    if (rows >= all)
        rows = all;
    bool sums = r->map->dtype == DT_INT32 || r->map->dtype == DT_INT64;
    struct buffer buffer = {.kind = sums ? BUFFER_SUMS : BUFFER_MAP,
                            .core = core,
                            .map = r->map,
                            .bytes = rows / b->h * r->map->row_bytes,
                            .ring = rows == all ? 0 : (int)rows,
                            .first = -1};
    return add_buffer(p, &buffer, err);
}

static int map_buffer(const struct placement *p, const struct group *g, int core, struct map *m,
                      bool made)
{
    const struct map *root = map_root(m);
    if (p->grouping->resident[root->index])
        return p->resident[core][root->index];
    enum role role = made ? ROLE_MADE : sequence_role(g, p->grouping->resident, root);
    return p->ring[role][root->index];
}

/* The buffer of a constant operand of a piece; *old: the one of an earlier piece that serves. */
static int blob_buffer(struct placement *p, const struct group *g, const struct step *s, int operand,
                       struct bpu_error *err)
{
    const struct blob *b = s->layer->in[operand].blob;
    bool cut = b->units > 1 && (g->bands == 1 || g->reload);
    struct buffer buffer = {.kind = b->units > 1 || s->layer->op != OP_LOOKUP ? BUFFER_WEIGHTS
                                                                              : BUFFER_TABLE,
                            .core = s->core,
                            .blob = b,
                            .layer = s->layer,
                            .operand = operand,
                            .first = -1};
    buffer.bytes = cut ? blob_part(b, s->p.c0, s->p.c1, &buffer.blob_offset) : b->bytes;
    return add_buffer(p, &buffer, err);
}

/* The buffers of a step of a group in boxes; each slot gets one where it is first seen. */
static bool place_box(struct placement *p, const struct step *s, struct step_buffers *of, int *slots,
                      struct bpu_error *err)
{
    for (int t = 0; t < PROGRAM_MAX_TILES; t++) {
        const int slot = s->box->slot[t];
        if (slot < 0)
            continue;
        for (; *slots <= slot; ++*slots) {
            int *all = arena_grow(p->arena, p->slots, (size_t)*slots, (size_t)*slots + 1, sizeof *all,
                                  &p->slot_capacity, err);
            if (!all)
                return false;
            p->slots = all;
            p->slots[*slots] = -1;
        }
        if (p->slots[slot] < 0) {
            const struct blob *blob = s->kind == STEP_BLOB ? s->layer->in[s->operand].blob : NULL;
            struct buffer b = {.kind = blob ? BUFFER_WEIGHTS : BUFFER_MAP,
                               .core = s->core,
                               .blob = blob,
                               .layer = s->layer,
                               .operand = s->operand,
                               .map = blob                    ? NULL
                                      : s->kind == STEP_PIECE ? map_root(s->layer->out[0])
                                                              : s->map,
                               .listed = true,
                               .first = -1};
            b.bytes = box_buffer_bytes(p->net, s, t);
            if (blob && !s->box->sliced)
                (void)blob_part(blob, s->p.c0, s->p.c1, &b.blob_offset);
            if (s->kind == STEP_PIECE && !s->box->ends)
                b.kind = BUFFER_SUMS;
            if ((p->slots[slot] = add_buffer(p, &b, err)) < 0)
                return false;
        }
        of->of[t] = p->slots[slot];
    }
    return true;
}

bool placement_group(struct placement *p, const struct steps *steps, size_t from,
                     const struct ring *rings, int count, struct bpu_error *err)
{
    if (from == steps->count)
        return true;
    const struct group *g = &p->grouping->groups[steps->items[from].group];
    const int core = steps->items[from].core;
    size_t first_blob = p->count;
    int slots = 0;
    for (int i = 0; i < count; i++) {
        int *at = rings[i].resident ? &p->resident[core][rings[i].map->index]
                                    : &p->ring[rings[i].role][rings[i].map->index];
        if (rings[i].resident && *at >= 0)
            continue;
        if ((*at = add_ring(p, g, core, &rings[i], err)) < 0)
            return false;
        first_blob = p->count;
    }
    struct step_buffers *of = arena_grow(p->arena, p->of_step, from, steps->count, sizeof *of,
                                         &p->step_capacity, err);
    if (!of)
        return false;
    p->of_step = of;
    for (size_t i = from; i < steps->count; i++) {
        const struct step *s = &steps->items[i];
        for (int k = 0; k < PROGRAM_MAX_TILES; k++)
            of[i].of[k] = -1;
        if (s->box) {
            if (!place_box(p, s, &of[i], &slots, err))
                return false;
            continue;
        }
        if (s->kind != STEP_PIECE) {
            of[i].of[0] = map_buffer(p, g, core, s->map, s->kind == STEP_STORE);
            continue;
        }
        const struct layer *l = s->layer;
        if (l->on_host)
            continue;
        for (int k = 0; k < l->out_count; k++)
            of[i].of[k] = map_buffer(p, g, core, l->out[k], true);
        for (int k = 0; k < l->in_count; k++) {
            int *slot = &of[i].of[l->out_count + k];
            if (l->in[k].map)
                *slot = map_buffer(p, g, core, l->in[k].map, false);
            else if (l->in[k].blob) {
                bool cut = l->in[k].blob->units > 1 && (g->bands == 1 || g->reload);
                for (size_t b = first_blob; !cut && b < p->count; b++)
                    if (p->buffers[b].layer == l && p->buffers[b].operand == k)
                        *slot = (int)b;
                if (*slot < 0 && (*slot = blob_buffer(p, g, s, k, err)) < 0)
                    return false;
            }
        }
    }
    return true;
}

/* ── when weights are loaded ── */

struct blob_load {
    int buffer, deadline, at; /* steps: before which it must, and does stand */
};

static double step_cycles(const struct placement *p, const struct step *s)
{
    struct tile tiles[PROGRAM_MAX_TILES] = {0};
    int32_t args[PROGRAM_MAX_ARGS];
    struct instruction i = {.tiles = tiles, .args = args};
    if (s->kind != STEP_PIECE)
        return 0;
    emit_piece(p->net, s, NULL, &i);
    return instruction_cost(p->net->machine, &i).cycles;
}

static void touch_steps(struct placement *p, const struct steps *steps)
{
    for (size_t b = 0; b < p->count; b++)
        p->buffers[b].first = p->buffers[b].last = -1;
    for (size_t i = 0; i < steps->count; i++)
        for (int k = 0; k < PROGRAM_MAX_TILES; k++) {
            int b = p->of_step[i].of[k];
            if (b < 0)
                continue;
            if (p->buffers[b].first < 0)
                p->buffers[b].first = (int)i;
            p->buffers[b].last = (int)i;
        }
    for (size_t b = 0; b < p->count; b++) { /* the first one stays as long as any */
        const struct buffer *m = &p->buffers[b];
        if (m->host >= 0 && m->first >= 0 && m->last > p->buffers[m->host].last)
            p->buffers[m->host].last = m->last;
    }
}

/* Moves each load up to where its transfer would end just in time, while memory has room. */
static bool hoist(struct placement *p, const struct steps *steps, struct blob_load *loads,
                  size_t count, int core, int64_t room, struct bpu_error *err)
{
    const struct machine *m = p->net->machine;
    size_t n = steps->count;
    int64_t *use = ARENA_ARRAY(p->arena, int64_t, n + 1, err);
    double *time = ARENA_ARRAY(p->arena, double, n + 1, err);
    if (!use || !time)
        return false;
    for (size_t b = 0; b < p->count; b++)
        if (p->buffers[b].core == core && p->buffers[b].first >= 0) {
            use[p->buffers[b].first] += p->buffers[b].bytes;
            use[p->buffers[b].last + 1] -= p->buffers[b].bytes;
        }
    double now = 0;
    for (size_t i = 0; i < n; i++) {
        use[i + 1] += use[i];
        time[i] = now;
        if (steps->items[i].core == core)
            now += step_cycles(p, &steps->items[i]);
    }
    /* Backwards: when each transfer has to begin so that all end in time. */
    double next = 1e300;
    double *begin = ARENA_ARRAY(p->arena, double, count + 1, err);
    if (!begin)
        return false;
    for (size_t k = count; k-- > 0;) {
        const struct buffer *b = &p->buffers[loads[k].buffer];
        if (b->core != core)
            continue;
        double cost = (double)b->bytes / m->ddr_load_bytes.v + m->ddr_latency_cycles.v;
        double end = time[loads[k].deadline];
        next = (end < next ? end : next) - cost;
        begin[k] = next;
    }
    for (size_t k = 0; k < count; k++) {
        struct buffer *b = &p->buffers[loads[k].buffer];
        if (b->core != core)
            continue;
        int at = loads[k].at;
        while (at > 0 && time[at] > begin[k] && use[at - 1] + b->bytes <= room)
            use[--at] += b->bytes;
        loads[k].at = at;
        b->first = at;
    }
    return true;
}

static int by_position(const void *a, const void *b)
{
    const struct blob_load *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->buffer < y->buffer ? -1 : x->buffer > y->buffer;
}

static int by_deadline(const void *a, const void *b)
{
    const struct blob_load *x = a, *y = b;
    if (x->deadline != y->deadline)
        return x->deadline < y->deadline ? -1 : 1;
    return x->buffer < y->buffer ? -1 : x->buffer > y->buffer;
}

/* True if the blob is loaded once and whole, so that its place in DDR is free to choose. */
static bool may_join(const struct placement *p, const struct buffer *b, const int *loads_of)
{
    enum { SMALL = 32768 };
    return b->bytes == b->blob->bytes && b->bytes <= SMALL && loads_of[b->blob->index] == 1 &&
           b->core < p->options->cores;
}

/* Neighbours in the list of loads that stand at one place become one transfer. */
static bool join_loads(struct placement *p, struct blob_load *loads, size_t *count, struct bpu_error *err)
{
    enum { MOST = 131072 };
    int *loads_of = ARENA_ARRAY(p->arena, int, p->net->blob_count + 1, err);
    size_t kept = 0;
    int open = -1, tail = -1;
    if (!loads_of)
        return false;
    for (size_t i = 0; i < *count; i++)
        loads_of[p->buffers[loads[i].buffer].blob->index]++;
    for (size_t i = 0; i < *count; i++) {
        struct buffer *b = &p->buffers[loads[i].buffer];
        bool joins = may_join(p, b, loads_of);
        struct buffer *host = open >= 0 ? &p->buffers[open] : NULL;
        if (joins && host && host->core == b->core && loads[kept - 1].at == loads[i].at &&
            host->host_bytes + b->bytes <= MOST) {
            b->host = open;
            b->host_offset = host->host_bytes;
            host->host_bytes = round_up(host->host_bytes + b->bytes, SRAM_GRANULE);
            p->buffers[tail].next = loads[i].buffer;
            tail = loads[i].buffer;
            if (loads[i].deadline < loads[kept - 1].deadline)
                loads[kept - 1].deadline = loads[i].deadline;
            continue;
        }
        b->host_bytes = round_up(b->bytes, SRAM_GRANULE);
        open = tail = joins ? loads[i].buffer : -1;
        loads[kept++] = loads[i];
    }
    *count = kept;
    return true;
}

/* Puts the loads of weights between the other steps. */
static bool add_loads(struct placement *p, struct steps *steps, int64_t room, struct bpu_error *err)
{
    size_t count = 0, n = steps->count, at = 0, k = 0;
    touch_steps(p, steps);
    struct blob_load *loads = ARENA_ARRAY(p->arena, struct blob_load, p->count + 1, err);
    if (!loads)
        return false;
    for (size_t b = 0; b < p->count; b++)
        if (p->buffers[b].blob && !p->buffers[b].listed && p->buffers[b].first >= 0)
            loads[count++] = (struct blob_load){(int)b, p->buffers[b].first, p->buffers[b].first};
    qsort(loads, count, sizeof *loads, by_deadline);
    for (int c = 0; room > 0 && c < p->options->cores; c++)
        if (!hoist(p, steps, loads, count, c, room, err))
            return false;
    qsort(loads, count, sizeof *loads, by_position);
    for (size_t b = 0; b < p->count; b++)
        p->buffers[b].host = p->buffers[b].next = -1;
    if (room > 0 && !join_loads(p, loads, &count, err))
        return false;
    struct step *items = ARENA_ARRAY(p->arena, struct step, n + count, err);
    struct step_buffers *of = ARENA_ARRAY(p->arena, struct step_buffers, n + count, err);
    if (!items || !of)
        return false;
    for (size_t i = 0; i <= n; i++) {
        for (; k < count && loads[k].at == (int)i; k++) {
            const struct buffer *b = &p->buffers[loads[k].buffer];
            items[at] = (struct step){.kind = STEP_BLOB,
                                      .core = (uint8_t)b->core,
                                      .group = steps->items[loads[k].deadline].group,
                                      .layer = b->layer,
                                      .operand = b->operand};
            for (int j = 0; j < PROGRAM_MAX_TILES; j++)
                of[at].of[j] = -1;
            of[at++].of[0] = loads[k].buffer;
        }
        if (i < n) {
            items[at] = steps->items[i];
            of[at++] = p->of_step[i];
        }
    }
    steps->items = items;
    steps->count = steps->capacity = at;
    p->of_step = of;
    p->step_capacity = at;
    touch_steps(p, steps);
    return true;
}

/* ── addresses ── */

static bool place_core(struct placement *p, int core, size_t steps, bool apart, struct bpu_error *err)
{
    size_t count = 0;
    struct plan_size size = {.enough = (size_t)p->sram};
    struct plan_item *items = ARENA_ARRAY(p->arena, struct plan_item, p->count + 1, err);
    int *index = ARENA_ARRAY(p->arena, int, p->count + 1, err);
    if (!items || !index)
        return false;
    for (size_t b = 0; b < p->count; b++) {
        const struct buffer *q = &p->buffers[b];
        if (q->core != core || q->first < 0 || q->host >= 0)
            continue;
        index[count] = (int)b;
        int64_t bytes = q->next >= 0 ? q->host_bytes : q->bytes;
        items[count++] = (struct plan_item){.bytes = (size_t)round_up(bytes, SRAM_GRANULE),
                                            .first = q->first,
                                            .last = q->last,
                                            .high = apart && q->blob};
    }
    if (!count)
        return true;
    if (!plan_place(p->arena, items, count, (int)steps, &size, err))
        return false;
    for (size_t i = 0; i < count; i++)
        p->buffers[index[i]].address = (int64_t)items[i].offset;
    for (size_t b = 0; b < p->count; b++)
        if (p->buffers[b].core == core && p->buffers[b].host >= 0)
            p->buffers[b].address = p->buffers[p->buffers[b].host].address + p->buffers[b].host_offset;
    p->peak = (int64_t)size.total > p->peak ? (int64_t)size.total : p->peak;
    p->bound = (int64_t)size.live > p->bound ? (int64_t)size.live : p->bound;
    return true;
}

/* Maps that a transfer or the host touches, with the steps between which they are in use. */
static bool place_ddr(struct placement *p, const struct steps *steps, struct bpu_error *err)
{
    const struct network *net = p->net;
    struct plan_item *items = ARENA_ARRAY(p->arena, struct plan_item, net->map_count, err);
    int *index = ARENA_ARRAY(p->arena, int, net->map_count, err);
    int *first = filled(p->arena, net->map_count, err), *last = filled(p->arena, net->map_count, err);
    struct plan_size size = {0};
    size_t count = 0;
    if (!items || !index || !first || !last)
        return false;
    for (size_t i = 0; i < steps->count; i++) {
        const struct step *s = &steps->items[i];
        for (int k = 0; k < PROGRAM_MAX_TILES; k++) {
            struct map *m = NULL;
            if (s->kind == STEP_LOAD || s->kind == STEP_STORE)
                m = k ? NULL : s->map;
            else if (s->kind == STEP_PIECE && s->layer->on_host)
                m = k < s->layer->out_count ? s->layer->out[k]
                    : k - s->layer->out_count < s->layer->in_count
                        ? s->layer->in[k - s->layer->out_count].map
                        : NULL;
            if (!m)
                continue;
            int x = map_root(m)->index;
            first[x] = first[x] < 0 ? (int)i : first[x];
            last[x] = (int)i;
        }
    }
    for (int i = 0; i < net->map_count; i++) {
        const struct map *m = net->maps[i];
        if (m->parent || first[i] < 0 || m->input >= 0 || m->output >= 0 || m->constant)
            continue;
        index[count] = i;
        items[count++] = (struct plan_item){
            .bytes = (size_t)map_bytes(m, &net->machine->blocks[m->block]), .first = first[i], .last = last[i]};
        p->spilled++;
    }
    if (count && !plan_place(p->arena, items, count, (int)steps->count, &size, err))
        return false;
    for (size_t i = 0; i < count; i++)
        p->ddr[index[i]] = (int64_t)items[i].offset; /* in the workspace; emit adds its place */
    p->ddr_bytes = count ? (int64_t)size.total : 0;
    return true;
}

/* The layer at whose step most bytes are live. */
static bool blame(struct placement *p, const struct steps *steps, struct bpu_error *err)
{
    int64_t *use = ARENA_ARRAY(p->arena, int64_t, steps->count + 1, err), most = 0;
    for (int c = 0; use && c < p->options->cores; c++) {
        int64_t now = 0;
        memset(use, 0, (steps->count + 1) * sizeof *use);
        for (size_t b = 0; b < p->count; b++)
            if (p->buffers[b].core == c && p->buffers[b].first >= 0) {
                use[p->buffers[b].first] += p->buffers[b].bytes;
                use[p->buffers[b].last + 1] -= p->buffers[b].bytes;
            }
        for (size_t i = 0; i < steps->count; i++) {
            now += use[i];
            if (now > most && steps->items[i].layer) {
                most = now;
                p->peak_layer = steps->items[i].layer;
            }
        }
    }
    return use != NULL;
}

bool placement_finish(struct placement *p, struct steps *steps, bool *fits, struct bpu_error *err)
{
    /* Loads of weights fill what the rest leaves, less and less of it until the plan has no gaps too many. */
    static const int coarse[] = {97, 90, 82, 72, 60, 0}, fine[] = {98, 95, 92, 88, 84, 80, 75, 70, 65, 50, 0};
    const int *percent = p->patient ? fine : coarse;
    const size_t shares =
        p->patient ? sizeof fine / sizeof fine[0] : sizeof coarse / sizeof coarse[0];
    const struct steps plain = *steps;
    const struct placement before = *p;
    *fits = false;
    size_t i = p->options->level == LEVEL_O0 ? shares - 1 : 0;
    for (; !*fits && i < shares; i++) {
        *steps = plain;
        *p = before;
        if (!add_loads(p, steps, p->sram * percent[i] / 100, err))
            return false;
        for (int apart = 0; !*fits && apart < 2; apart++) { /* weights between the maps, or at the other end */
            p->peak = p->bound = 0;
            for (int c = 0; c < p->options->cores; c++)
                if (!place_core(p, c, steps->count, apart, err))
                    return false;
            *fits = p->peak <= p->sram;
        }
    }
    if (!*fits)
        return blame(p, steps, err);
    return place_ddr(p, steps, err);
}
