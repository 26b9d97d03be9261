/* layer: building a network of maps and layers, and putting it in order. */
#include "core/compile/layer.h"

#include <string.h>

#include "core/ops/op.h"

/* ── rows ── */

struct rows {
    int64_t lo, hi;
};

/* Never empty: a piece whose window lies in the padding reads a row that does not matter. */
static struct rows clip(int64_t lo, int64_t hi, int64_t h)
{
    lo = lo < 0 ? 0 : lo >= h ? h - 1 : lo;
    hi = hi > h ? h : hi <= lo ? lo + 1 : hi;
    return (struct rows){lo, hi};
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static struct rows met_by(const struct rows_window *w, enum need need, int64_t h, int64_t r0, int64_t r1)
{
    int64_t span = (int64_t)(w->kernel - 1) * w->dilation;
    if (need == NEED_WINDOW)
        return clip(r0 * w->stride - w->pad, (r1 - 1) * w->stride - w->pad + span + 1, h);
    if (need == NEED_TRANSPOSED) /* p * stride + i * dilation = r + pad, i of the kernel */
        return clip(-floor_div(-(r0 + w->pad - span), w->stride),
                    floor_div(r1 - 1 + w->pad, w->stride) + 1, h);
    return h == 1 ? (struct rows){0, 1} : clip(r0, r1, h);
}

static struct rows rows_of(const struct layer *l, const struct operand *o, int64_t r0, int64_t r1)
{
    int64_t h = o->map->h, out = l->out[0]->h;
    switch (o->need) {
    case NEED_SAME:
    case NEED_WINDOW:
    case NEED_TRANSPOSED: return met_by(&l->window, o->need, h, r0, r1);
    case NEED_ADAPTIVE: return clip(r0 * h / out, -floor_div(-(r1 * h), out), h);
    case NEED_RESAMPLED:
        return clip(floor_div((2 * r0 + 1) * h - out, 2 * out) - 1,
                    -floor_div(-((2 * r1 - 1) * h - out), 2 * out) + 2, h);
    case NEED_FRAME:
    case NEED_ALL: break;
    }
    return (struct rows){0, h};
}

void layer_rows(const struct layer *l, int i, int r0, int r1, int *lo, int *hi)
{
    const struct operand *o = &l->in[i];
    struct rows r = o->map ? rows_of(l, o, r0, r1) : (struct rows){0, 1};
    *lo = (int)r.lo;
    *hi = (int)r.hi;
}

void window_range(const struct rows_window *w, enum need need, int all, int r0, int r1, int *lo, int *hi)
{
    struct rows r = met_by(w, need, all, r0, r1);
    *lo = (int)r.lo;
    *hi = (int)r.hi;
}

const char *layer_name(const struct layer *l)
{
    return l->node ? l->node->name : l->out[0]->name;
}

/* ── building ── */

/* Room for one more pointer. */
static bool grow(struct network *net, void *list, int count, int *capacity, size_t size,
                 struct bpu_error *err)
{
    void *old, *wide;
    size_t room = (size_t)*capacity;
    if (count < *capacity)
        return true;
    memcpy(&old, list, sizeof old);
    wide = arena_grow(net->arena, old, (size_t)count, (size_t)count + 1, size, &room, err);
    if (!wide)
        return false;
    memcpy(list, &wide, sizeof wide);
    *capacity = (int)room;
    return true;
}

struct map *network_map(struct network *net, const char *name, int n, int h, int w, int c,
                        enum dtype dtype, double scale, int32_t zero, struct bpu_error *err)
{
    if (!grow(net, &net->maps, net->map_count, &net->map_capacity, sizeof *net->maps, err))
        return NULL;
    struct map *m = ARENA_NEW(net->arena, struct map, err);
    if (!m)
        return NULL;
    *m = (struct map){.index = net->map_count,
                      .name = name,
                      .n = n,
                      .h = h,
                      .w = w,
                      .c = c,
                      .dtype = dtype,
                      .scale = scale,
                      .zero = zero,
                      .input = -1,
                      .output = -1};
    net->maps[net->map_count++] = m;
    return m;
}

/* The source of a node, made when its first layer is; of no node: the network itself. */
static int source_of(struct network *net, const struct node *n, struct bpu_error *err)
{
    if (n && net->source_of && net->source_of[n->index] >= 0)
        return net->source_of[n->index];
    if (!grow(net, &net->sources, net->source_count, &net->source_capacity, sizeof *net->sources,
              err))
        return -1;
    struct program_source *s = &net->sources[net->source_count];
    int64_t macs = n ? op_macs(n) : 0;
    *s = (struct program_source){.name = n ? n->name : net->graph->name,
                                 .op = n ? n->op_name : "network",
                                 .macs = macs > 0 ? macs : 0};
    if (n && net->source_of)
        net->source_of[n->index] = net->source_count;
    return net->source_count++;
}

struct layer *network_layer(struct network *net, enum opcode op, const struct node *node,
                            struct bpu_error *err)
{
    if (!grow(net, &net->layers, net->layer_count, &net->layer_capacity, sizeof *net->layers, err))
        return NULL;
    struct layer *l = ARENA_NEW(net->arena, struct layer, err);
    if (!l)
        return NULL;
    *l = (struct layer){.index = net->layer_count,
                        .op = op,
                        .node = node,
                        .window = {.kernel = 1, .stride = 1, .dilation = 1}};
    l->source = source_of(net, node, err);
    if (l->source < 0)
        return NULL;
    net->layers[net->layer_count++] = l;
    return l;
}

struct blob *network_blob(struct network *net, const void *data, int64_t bytes,
                          struct bpu_error *err)
{
    struct blob *b = ARENA_NEW(net->arena, struct blob, err);
    if (b)
        *b = (struct blob){.index = net->blob_count++, .data = data, .bytes = bytes, .units = 1,
                           .unit_bytes = bytes};
    return b;
}

/* ── order ── */

/* By map index, for roots: how many layers write and read it or a part of it. */
static bool link_lists(struct network *net, struct bpu_error *err)
{
    int *makers = ARENA_ARRAY(net->arena, int, 2 * (size_t)net->map_count + 1, err);
    int *readers = makers ? makers + net->map_count : NULL;
    if (!makers)
        return false;
    for (int i = 0; i < net->layer_count; i++) {
        const struct layer *l = net->layers[i];
        for (int k = 0; k < l->out_count; k++)
            makers[l->out[k]->index]++;
        for (int k = 0; k < l->in_count; k++)
            if (l->in[k].map)
                readers[l->in[k].map->index]++;
    }
    for (int i = 0; i < net->map_count; i++) {
        struct map *m = net->maps[i], *root = map_root(m);
        if (root != m) {
            makers[root->index] += makers[i];
            readers[root->index] += readers[i];
        }
    }
    for (int i = 0; i < net->map_count; i++) {
        struct map *m = net->maps[i];
        m->maker_count = m->reader_count = 0;
        m->makers = ARENA_ARRAY(net->arena, struct layer *, makers[i] + 1, err);
        m->readers = m->makers ? ARENA_ARRAY(net->arena, struct layer *, readers[i] + 1, err) : NULL;
        if (!m->readers)
            return false;
    }
    return true;
}

static void add_once(struct layer **list, int *count, struct layer *l)
{
    if (*count == 0 || list[*count - 1] != l)
        list[(*count)++] = l;
}

/* A map that is a part: its own layers, and they count for the whole as well. */
static void link_layer(struct layer *l)
{
    for (int k = 0; k < l->out_count; k++) {
        struct map *m = l->out[k], *root = map_root(m);
        add_once(m->makers, &m->maker_count, l);
        if (root != m)
            add_once(root->makers, &root->maker_count, l);
    }
    for (int k = 0; k < l->in_count; k++) {
        struct map *m = l->in[k].map;
        if (!m)
            continue;
        add_once(m->readers, &m->reader_count, l);
        if (map_root(m) != m)
            add_once(map_root(m)->readers, &map_root(m)->reader_count, l);
    }
}

/* Marks from the outputs backwards what is needed.  Layers stand behind those that they read. */
static bool mark_needed(struct network *net, bool *layer, struct bpu_error *err)
{
    bool *map = ARENA_ARRAY(net->arena, bool, net->map_count + 1, err);
    if (!map)
        return false;
    for (int i = 0; i < net->map_count; i++)
        if (net->maps[i]->output >= 0)
            map[map_root(net->maps[i])->index] = true;
    for (int i = net->layer_count - 1; i >= 0; i--) {
        const struct layer *l = net->layers[i];
        for (int k = 0; k < l->out_count; k++)
            layer[i] = layer[i] || map[map_root(l->out[k])->index];
        for (int k = 0; k < l->in_count && layer[i]; k++)
            if (l->in[k].map)
                map[map_root(l->in[k].map)->index] = true;
    }
    return true;
}

bool map_meets(const struct map *a, const struct map *b)
{
    if ((a->parent ? a->parent : a) != (b->parent ? b->parent : b))
        return false;
    return a->off_h < b->off_h + b->h && b->off_h < a->off_h + a->h && a->off_w < b->off_w + b->w &&
           b->off_w < a->off_w + a->w && a->off_c < b->off_c + b->c && b->off_c < a->off_c + a->c;
}

/* Lowering writes layers in an order in which they can run; this says so of the one that went wrong:
 * what it reads is written before, or is an input or constant. */
static bool check_order(const struct network *net, struct bpu_error *err)
{
    for (int i = 0; i < net->layer_count; i++) {
        const struct layer *l = net->layers[i];
        for (int k = 0; k < l->in_count; k++) {
            const struct map *m = l->in[k].map;
            if (!m || m->constant || map_root((struct map *)m)->constant ||
                map_root((struct map *)m)->input >= 0)
                continue;
            bool found = false;
            const struct map *root = map_root((struct map *)m);
            for (int j = 0; j < root->maker_count && !found; j++) {
                const struct layer *maker = root->makers[j];
                for (int o = 0; o < maker->out_count; o++)
                    found = found || (maker->index < l->index && map_meets(maker->out[o], m));
            }
            if (!found)
                return error_set(err, BPU_SERVER, l->node ? l->node->name : NULL,
                                 "layer %d reads \"%s\", which no layer before it writes", i,
                                 m->name);
        }
    }
    return true;
}

/* One frame that is repeated is read from its first row again and again: in whole frames. */
static void repeat_frames(struct layer *l)
{
    for (int i = 0; i < l->in_count; i++) {
        struct operand *o = &l->in[i];
        if (o->map && o->need == NEED_SAME && o->map->n == 1 && o->map->h > 1 && l->out[0]->n > 1) {
            o->need = NEED_FRAME;
            l->whole_frame = true;
        }
    }
}

/* Memory is taken over from maps that lie alone. */
static void keep_parts(struct layer *l)
{
    for (int i = 0; i < l->in_count; i++)
        if (l->in[i].in_place && (l->out[0]->parent || l->in[i].map->parent))
            l->in[i].in_place = false;
}

bool network_link(struct network *net, struct bpu_error *err)
{
    bool *needed = ARENA_ARRAY(net->arena, bool, net->layer_count + 1, err);
    int kept = 0;
    if (!needed || !mark_needed(net, needed, err))
        return false;
    for (int i = 0; i < net->layer_count; i++)
        if (needed[i]) {
            net->layers[i]->index = kept;
            net->layers[kept++] = net->layers[i];
        }
    net->layer_count = kept;
    /* Maps that nobody touches any more. */
    if (!link_lists(net, err))
        return false;
    for (int i = 0; i < net->layer_count; i++) {
        repeat_frames(net->layers[i]);
        keep_parts(net->layers[i]);
        link_layer(net->layers[i]);
    }
    kept = 0;
    for (int pass = 0; pass < 2; pass++) /* roots stay where a part stays */
        for (int i = 0; i < net->map_count; i++) {
            struct map *m = net->maps[i];
            if (pass == 0 && (m->maker_count || m->reader_count || m->input >= 0 || m->output >= 0))
                map_root(m)->index = m->index = -1;
            else if (pass == 1 && m->index == -1)
                net->maps[kept++] = m;
        }
    net->map_count = kept;
    for (int i = 0; i < kept; i++)
        net->maps[i]->index = i;
    for (int i = 0; i < net->layer_count; i++) {
        const struct layer *l = net->layers[i];
        if (l->source < 0 || l->out_count < 1)
            continue;
        struct program_source *s = &net->sources[l->source];
        const struct map *y = l->out[0];
        s->n = y->n; /* of the last layer of the node */
        s->h = y->h;
        s->w = y->w;
        s->c = y->c;
    }
    return check_order(net, err);
}
