/* What moves over the bus, by what it belongs to.
 *
 * Constants belong to the layer that uses them, inputs and outputs to themselves.  A map that does
 * not stay on the chip belongs to the layer that makes it: the one that last stored to its place in
 * DDR, which its base address names. */
#include <stdlib.h>
#include <string.h>

#include "core/perf/perf_private.h"

/* Who stored to a base address last: a table of open addresses. */
struct owner {
    int64_t base; /* + 1; 0: free */
    uint32_t source;
};

struct owners {
    struct owner *list;
    size_t mask;
};

static struct owner *owner_of(const struct owners *o, int64_t base)
{
    size_t at = ((uint64_t)base * 0x9e3779b97f4a7c15u) >> 20;
    struct owner *slot;
    while ((slot = &o->list[at & o->mask])->base != 0 && slot->base != base + 1)
        at++;
    return slot;
}

static bool owners_new(struct owners *o, struct arena *a, int code_count, struct bpu_error *err)
{
    size_t size = 16;
    while (size < (size_t)code_count * 2)
        size *= 2;
    o->mask = size - 1;
    o->list = ARENA_ARRAY(a, struct owner, size, err);
    return o->list != NULL;
}

static const struct tile *ddr_tile(const struct instruction *in)
{
    for (int i = 0; i < in->tile_count; i++)
        if (in->tiles[i].space == SPACE_DDR && in->tiles[i].n > 0)
            return &in->tiles[i];
    return NULL;
}

/* Stores of the layer's own, and loads of what others stored. */
static uint32_t maker(const struct owners *o, const struct instruction *in, const struct tile *t)
{
    struct owner *slot = owner_of(o, t->base);
    if (in->engine != ENGINE_LOAD) { /* the CPU writes its first tile */
        slot->base = t->base + 1;
        slot->source = in->source;
    }
    return slot->base ? slot->source : in->source;
}

static int io_at(const struct program_io *list, int count, const struct tile *t)
{
    int64_t first, end;
    tile_range(t, &first, &end);
    for (int i = 0; i < count; i++)
        if (first >= list[i].address && first - list[i].address < list[i].bytes)
            return i;
    return 0; /* instruction_traffic() found one */
}

static int most_first(const void *a, const void *b)
{
    const struct perf_tensor *x = a, *y = b;
    int64_t p = perf_add(x->load_bytes, x->store_bytes), q = perf_add(y->load_bytes, y->store_bytes);
    if (p != q)
        return p > q ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* All that there can be: inputs, outputs, and two of each layer. */
struct tensors {
    struct perf_tensor *inputs, *outputs, *constants, *spills;
};

static void name_all(const struct program *p, const struct tensors *t)
{
    for (int i = 0; i < p->input_count; i++)
        t->inputs[i] = (struct perf_tensor){p->inputs[i].name, TRAFFIC_INPUTS, 0, 0};
    for (int i = 0; i < p->output_count; i++)
        t->outputs[i] = (struct perf_tensor){p->outputs[i].name, TRAFFIC_OUTPUTS, 0, 0};
    for (int i = 0; i < p->source_count; i++) {
        t->constants[i] = (struct perf_tensor){p->sources[i].name, TRAFFIC_CONSTANTS, 0, 0};
        t->spills[i] = (struct perf_tensor){p->sources[i].name, TRAFFIC_SPILLS, 0, 0};
    }
}

static void add_up(const struct perf_work *w, const struct tensors *all, const struct owners *owners)
{
    const struct program *p = w->p;
    for (int i = 0; i < p->code_count; i++) {
        const struct instruction *in = &p->code[i];
        enum traffic kind = instruction_traffic(p, in);
        const struct tile *t = ddr_tile(in);
        if (!t)
            continue;
        uint32_t made_by = maker(owners, in, t);
        struct perf_tensor *x =
            kind == TRAFFIC_INPUTS      ? &all->inputs[io_at(p->inputs, p->input_count, t)]
            : kind == TRAFFIC_OUTPUTS   ? &all->outputs[io_at(p->outputs, p->output_count, t)]
            : kind == TRAFFIC_CONSTANTS ? &all->constants[in->source]
                                        : &all->spills[made_by];
        if (kind != TRAFFIC_NONE)
            *(in->engine == ENGINE_LOAD ? &x->load_bytes : &x->store_bytes) +=
                w->costs[i].ddr_bytes;
    }
}

bool perf_tensors(struct perf_work *w, struct bpu_error *err)
{
    const struct program *p = w->p;
    struct perf *out = w->out;
    struct owners owners;
    size_t count = (size_t)p->input_count + p->output_count + 2 * (size_t)p->source_count;
    struct perf_tensor *list = ARENA_ARRAY(out->arena, struct perf_tensor, count, err);
    if (!list || !owners_new(&owners, out->arena, p->code_count, err))
        return false;
    struct tensors all = {.inputs = list, .outputs = list + p->input_count};
    all.constants = all.outputs + p->output_count;
    all.spills = all.constants + p->source_count;
    name_all(p, &all);
    add_up(w, &all, &owners);
    for (size_t i = 0; i < count; i++)
        if (list[i].load_bytes > 0 || list[i].store_bytes > 0)
            list[out->tensor_count++] = list[i];
    out->tensors = list;
    qsort(list, (size_t)out->tensor_count, sizeof *list, most_first);
    return true;
}
