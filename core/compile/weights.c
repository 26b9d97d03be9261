/* weights: how constants are cut by result channels, so that they can be streamed. */
#include "core/compile/schedule.h"
#include "core/program/args.h"

int layer_filter(const struct layer *l)
{
    for (int i = 0; i < l->in_count; i++)
        if (l->in[i].blob && l->in[i].blob->units > 1)
            return i;
    return -1;
}

/* Small enough that loading one part hides behind computing another, large enough that the latency of a
 * transfer does not count. */
static int64_t chunk_bytes(const struct network *net)
{
    int64_t most = (int64_t)net->machine->sram_bytes.v / 8;
    int64_t least = (int64_t)(net->machine->ddr_latency_cycles.v * net->machine->ddr_load_bytes.v * 8);
    return most > least ? most : least > 0 ? least : 1;
}

int layer_chunks(const struct network *net, const struct layer *l)
{
    int i = layer_filter(l);
    if (i < 0)
        return 1;
    const struct blob *b = l->in[i].blob;
    int64_t target = chunk_bytes(net), n = (b->bytes + target - 1) / target;
    return n < b->units ? (int)n : b->units;
}

void layer_chunk(const struct network *net, const struct layer *l, int i, int chunks, int *c0,
                 int *c1)
{
    (void)net;
    const struct blob *b = l->in[layer_filter(l)].blob;
    int64_t u0 = (int64_t)b->units * i / chunks, u1 = (int64_t)b->units * (i + 1) / chunks;
    int c = l->out[0]->c;
    *c0 = (int)(u0 * b->unit_channels);
    *c1 = u1 * b->unit_channels < c ? (int)(u1 * b->unit_channels) : c;
}

/* ── shared by cores ── */

/* Units of weights before those of a core. */
static int share_begin(const struct layer *l, const struct group *g, int core)
{
    const int units = l->in[layer_filter(l)].blob->units;
    const int first = (int)((int64_t)units * g->share / SHARE_ALL);
    return core == 0 ? 0 : first + (int)((int64_t)(units - first) * (core - 1) / (g->cores - 1));
}

bool share_possible(const struct layer *l, const struct group *g)
{
    bool all = layer_filter(l) >= 0;
    for (int core = 0; all && core < g->cores; core++)
        all = share_begin(l, g, core) < share_begin(l, g, core + 1);
    return all;
}

int share_chunks(const struct network *net, const struct layer *l, const struct group *g, int core)
{
    const int units = l->in[layer_filter(l)].blob->units;
    const int own = share_begin(l, g, core + 1) - share_begin(l, g, core);
    const int64_t chunks = layer_chunks(net, l);
    return (int)((chunks * own + units - 1) / units);
}

void share_chunk(const struct layer *l, const struct group *g, int core, int i, int chunks, int *c0, int *c1)
{
    const struct blob *b = l->in[layer_filter(l)].blob;
    const int first = share_begin(l, g, core), own = share_begin(l, g, core + 1) - first;
    const int64_t u1 = first + (int64_t)own * (i + 1) / chunks;
    const int c = l->out[0]->c;
    *c0 = (int)((first + (int64_t)own * i / chunks) * b->unit_channels);
    *c1 = u1 * b->unit_channels < c ? (int)(u1 * b->unit_channels) : c;
}

int64_t blob_part(const struct blob *b, int c0, int c1, int64_t *offset)
{
    if (b->units <= 1) {
        *offset = 0;
        return b->bytes;
    }
    int64_t u0 = c0 / b->unit_channels, u1 = (c1 + b->unit_channels - 1) / b->unit_channels;
    *offset = u0 * b->unit_bytes;
    return (u1 - u0) * b->unit_bytes;
}

int64_t layer_constants(const struct network *net, const struct layer *l, int parts)
{
    int chunks = layer_chunks(net, l), f = layer_filter(l);
    int64_t bytes = 0;
    for (int k = 0; k < l->in_count; k++)
        bytes += l->in[k].blob ? l->in[k].blob->bytes : 0;
    if (chunks <= 1)
        return bytes;
    const struct blob *b = l->in[f].blob;
    int64_t part = (b->units + chunks - 1) / chunks * b->unit_bytes;
    return bytes - b->bytes + (parts * part < b->bytes ? parts * part : b->bytes);
}

void layer_channels(const struct layer *l, int k, int c0, int c1, int *from, int *to)
{
    const struct map *m = l->in[k].map;
    int filter = layer_filter(l), all = l->out[0]->c;
    *from = 0;
    *to = m->c;
    if (filter < 0 || (c0 == 0 && c1 == all))
        return;
    if (k > 0 || l->op == OP_DWCONV) {
        *from = c0;
        *to = c1;
    } else if (l->args[CONV_SPLIT_INPUTS]) {
        const struct blob *b = l->in[filter].blob;
        int u0 = c0 / b->unit_channels, u1 = (c1 + b->unit_channels - 1) / b->unit_channels;
        *from = u0 * l->args[CONV_UNIT_INPUTS];
        *to = u1 * l->args[CONV_UNIT_INPUTS] < m->c ? u1 * l->args[CONV_UNIT_INPUTS] : m->c;
    }
}
