/* perf_measure(): sums that must come out, figures that can be worked out by hand, published operation counts.
 * environment: none */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/job/perf_model.h"
#include "tests/unit/program_make.h"

#define LENET "tests/fixtures/lenet_float.onnx"
#define LAYERS "tests/facts/mbv2_bayes_layers.csv"
#define assert_close(a, b)                                                                         \
    do {                                                                                           \
        double a_ = (a), b_ = (b);                                                                 \
        if (!(fabs(a_ - b_) <= 1e-9 * fmax(1, fmax(fabs(a_), fabs(b_)))))                          \
            fail_msg("%s is %.15g, %s %.15g", #a, a_, #b, b_);                                     \
    } while (0)

/* ── what holds of every program ── */

/* What only the CPU computes is none of the BPU's operations. */
static bool computes_on_bpu(const struct perf_layer *l)
{
    bool bpu = !(l->busy_us[ENGINE_HOST] > 0);
    for (int e = 0; e < ENGINE_COUNT; e++)
        bpu = bpu || (e != ENGINE_HOST && e != ENGINE_LOAD && e != ENGINE_STORE && l->busy_us[e] > 0);
    return bpu;
}

static void sums_come_out(const struct perf *p)
{
    const struct program_timing *t = p->timing;
    double us = 1 / p->machine->clock_mhz.v, time = p->idle_us, share = 0, computing = 0;
    double busy[ENGINE_COUNT] = {0}, cuts[ENGINE_COUNT] = {0}, cut_load = 0, cut_store = 0;
    int64_t load = 0, store = 0, weights = 0, spills = 0, ops = 0, count = 0;
    int64_t kinds[TRAFFIC_COUNT] = {0};
    for (int i = 0; i < p->layer_count; i++) {
        const struct perf_layer *l = &p->layers[i];
        const struct perf_layer *next = i > 0 ? &p->layers[p->order[i - 1]] : NULL;
        assert_int_equal(l->source, i);
        assert_true(l->time_us >= 0 && l->first_us <= l->last_us && l->last_us <= p->latency_us + 1e-9);
        assert_true(l->compute_us <= l->last_us - l->first_us + 1e-9);
        assert_true(l->load_us <= l->last_us - l->first_us + 1e-9);
        assert_true(l->padding >= 0 && l->padding <= 1 && l->bound < PERF_BOUND_COUNT);
        assert_int_equal(l->bound == PERF_BOUND_NOTHING, !(l->time_us > 0));
        assert_true(l->time_us <= l->compute_us + l->load_us + l->store_us + l->busy_us[ENGINE_HOST] + 1e-9);
        assert_true(!next || next->time_us >= p->layers[p->order[i]].time_us);
        for (int k = 0; k < 4; k++)
            assert_true(l->aligned[k] >= l->shape[k]);
        for (int e = 0; e < ENGINE_COUNT; e++)
            busy[e] += l->busy_us[e];
        time += l->time_us;
        share += l->share;
        load += l->load_bytes;
        store += l->store_bytes;
        weights += l->weight_bytes;
        spills += l->spill_bytes;
        ops += computes_on_bpu(l) ? l->ops : 0;
        count += l->instructions;
    }
    assert_close(time, p->latency_us);
    assert_close(p->latency_us, t->end * us);
    if (p->latency_us > 0)
        assert_close(share + p->idle_us / p->latency_us, 1);
    assert_int_equal(load, p->load_bytes);
    assert_int_equal(store, p->store_bytes);
    assert_int_equal(load, t->ddr_load);
    assert_int_equal(store, t->ddr_store);
    assert_int_equal(weights, p->traffic[TRAFFIC_CONSTANTS]);
    assert_int_equal(spills, p->traffic[TRAFFIC_SPILLS]);
    assert_int_equal(ops, p->ops);
    assert_int_equal(count, p->program->code_count);

    assert_close(p->interval_us * p->interval_count, p->latency_us);
    for (int i = 0; i < p->interval_count; i++) {
        const struct perf_interval *c = &p->intervals[i];
        assert_true(c->compute >= 0 && c->compute <= 1);
        assert_true(c->sram_bytes >= 0 && c->sram_bytes <= p->program->sram_bytes);
        computing += c->compute * p->interval_us;
        cut_load += c->load_bytes;
        cut_store += c->store_bytes;
        for (int e = 0; e < ENGINE_COUNT; e++) {
            int cores = 0;
            assert_true(c->busy[e] >= 0 && c->busy[e] <= 1 + 1e-9);
            for (int core = 0; core < MACHINE_MAX_CORES; core++)
                cores += t->count[core * ENGINE_COUNT + e] > 0;
            cuts[e] += c->busy[e] * p->interval_us * cores;
        }
    }
    assert_close(cut_load, (double)p->load_bytes);
    assert_close(cut_store, (double)p->store_bytes);
    double most = 0, all = 0;
    for (int e = 0; e < ENGINE_COUNT; e++) {
        double lanes = 0;
        for (int core = 0; core < MACHINE_MAX_CORES; core++) {
            double lane = p->busy_us[core * ENGINE_COUNT + e];
            lanes += lane;
            if (e != ENGINE_LOAD && e != ENGINE_STORE && e != ENGINE_HOST) {
                most = fmax(most, lane);
                all += lane;
            }
        }
        assert_close(busy[e], lanes);
        assert_close(cuts[e], lanes);
    }
    assert_true(computing >= most - 1e-6 && computing <= fmin(all, p->latency_us) + 1e-6);

    int64_t tensor_load = 0, tensor_store = 0, before = INT64_MAX;
    for (int i = 0; i < p->tensor_count; i++) {
        const struct perf_tensor *x = &p->tensors[i];
        int64_t bytes = x->load_bytes + x->store_bytes;
        assert_true(bytes > 0 && bytes <= before && x->kind != TRAFFIC_NONE);
        before = bytes;
        kinds[x->kind] += bytes;
        tensor_load += x->load_bytes;
        tensor_store += x->store_bytes;
    }
    assert_int_equal(tensor_load, p->load_bytes);
    assert_int_equal(tensor_store, p->store_bytes);
    for (int k = TRAFFIC_CONSTANTS; k < TRAFFIC_COUNT; k++)
        assert_int_equal(kinds[k], p->traffic[k]);

    assert_true(p->bound_us >= p->compute_bound_us && p->bound_us >= p->ddr_bound_us);
    assert_true(p->bound_us <= p->latency_us * (1 + 1e-9));
    assert_true(p->latency_us > 0 || !(p->utilization > 0));
    if (p->latency_us > 0)
        assert_close(p->utilization * p->latency_us, p->ideal_compute_us);
}

/* The times of layers are those that the compiler's reports give. */
static void shares_agree(const struct perf *p)
{
    struct arena a;
    struct bpu_error err = {0};
    double idle, *shares;
    arena_init(&a, (size_t)64 << 20);
    shares = ARENA_ARRAY(&a, double, p->layer_count, &err);
    assert_true(program_time_shares(&a, p->program, p->timing, shares, &idle, &err));
    for (int i = 0; i < p->layer_count; i++)
        assert_close(p->layers[i].time_us, shares[i] / p->machine->clock_mhz.v);
    assert_close(p->idle_us, idle / p->machine->clock_mhz.v);
    arena_fini(&a);
}

static void random_programs(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct random_source r = {seed};
        struct arena a;
        struct bpu_error err = {0};
        struct program p;
        struct program_timing t;
        struct perf perf;
        const struct machine *m = march_machine(march_find(seed % 2 ? "bayes" : "bernoulli2"));
        arena_init(&a, (size_t)64 << 20);
        make_random(&a, &r, &p, (int)(seed % 60));
        assert_true(program_time(&a, &p, m, &t, &err));
        assert_true(perf_measure(&a, &p, m, &t, seed % 3 ? 0 : 7, &perf, &err));
        /* Such a program loads parts of what it stores: no bound of inputs and outputs. */
        if (perf.bound_us > perf.latency_us)
            fail_msg("seed %d: bound %g of %g", (int)seed, perf.bound_us, perf.latency_us);
        sums_come_out(&perf);
        shares_agree(&perf);
        arena_fini(&a);
    }
}

/* ── models ── */

static unsigned char *file_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, f), *size);
    data[*size] = 0;
    fclose(f);
    return data;
}

static void measure(struct arena *a, const void *data, size_t size, const char *march,
                    const struct job_option *options, size_t count, struct perf_model *m)
{
    struct bpu_error err = {0};
    *m = (struct perf_model){.c = {.arena = a,
                                   .model = data,
                                   .model_size = size,
                                   .model_name = "net",
                                   .model_id = "id",
                                   .march = march,
                                   .options = options,
                                   .option_count = count}};
    if (!perf_model_run(m, &err))
        fail_msg("%s (%s)", err.message, err.where);
}

static void same_of_the_program(const struct perf_model *m)
{
    struct arena a;
    struct perf_model again;
    arena_init(&a, (size_t)256 << 20);
    measure(&a, m->c.file.data, m->c.file.size, "BAYES", NULL, 0, &again);
    assert_true(again.from_program && again.legal && !again.c.graph);
    assert_close(again.perf.latency_us, m->perf.latency_us);
    assert_close(again.perf.bound_us, m->perf.bound_us);
    assert_int_equal(again.perf.ops, m->perf.ops);
    assert_int_equal(again.perf.load_bytes, m->perf.load_bytes);
    assert_int_equal(again.perf.frames, m->perf.frames);
    assert_int_equal(again.sram_peak, m->sram_peak);
    assert_int_equal(again.perf.advice_count, m->perf.advice_count);
    for (int i = 0; i < m->perf.layer_count; i++)
        assert_memory_equal(&again.perf.layers[i], &m->perf.layers[i], sizeof(struct perf_layer));
    arena_fini(&a);
}

static void a_network_at_all_levels(void **state)
{
    (void)state;
    static const char *const levels[] = {"0", "1", "2", "3"}, *const cores[] = {"1", "2"};
    size_t size;
    unsigned char *data = file_read(LENET, &size);
    int64_t ops = 0, plain = 0;
    for (int k = 0; k < 8; k++) {
        const struct job_option options[] = {{"opt", levels[k % 4]}, {"cores", cores[k / 4]}, {"intervals", "13"}};
        struct arena a;
        struct perf_model m;
        arena_init(&a, (size_t)256 << 20);
        measure(&a, data, size, "bayes", options, 3, &m);
        assert_true(m.legal && !m.from_program);
        assert_int_equal(m.perf.interval_count, 13);
        assert_int_equal(m.perf.frames, 1);
        sums_come_out(&m.perf);
        shares_agree(&m.perf);
        same_of_the_program(&m);
        /* Neither levels nor cores change what is computed. */
        assert_true(m.perf.ops > 0 && (k == 0 || m.perf.ops == ops));
        ops = m.perf.ops;
        if (k == 0)
            plain = m.perf.traffic[TRAFFIC_SPILLS];
        assert_true(k == 0 ? plain > 0 : m.perf.traffic[TRAFFIC_SPILLS] <= plain);
        const struct machine *x = m.perf.machine;
        assert_close(m.perf.peak_ops, 2 * x->array_h.v * x->array_w.v * x->array_in.v * x->array_out.v *
                                          x->array_cells.v * x->clock_mhz.v * 1e6 * (k / 4 + 1));
        arena_fini(&a);
    }
    free(data);
}

/* ── layers whose operations were published ── */

static void zeros(struct buf *out, int64_t bytes)
{
    static const char block[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    int64_t digits = (bytes + 2) / 3 * 4, padding = (3 - bytes % 3) % 3;
    for (int64_t left = digits - padding; left > 0; left -= 64)
        buf_add(out, block, (size_t)(left < 64 ? left : 64));
    buf_puts(out, padding == 2 ? "==" : padding == 1 ? "=" : "");
}

struct layer {
    char name[64];
    int cin, cout, hin, hout, k, stride, groups, add, batch;
    long long ops;
};

/* The layer as a network of its own, in fixed point: a convolution, and the addition that is fused into it. */
static void layer_json(const struct layer *l, struct buf *out)
{
    int pad = l->k / 2;
    int64_t weights = (int64_t)l->cout * (l->cin / l->groups) * l->k * l->k;
    buf_printf(out, "{\"format\": \"bpuhub.graph/1\", \"name\": \"layer\", \"inputs\": ["
                    "{\"name\": \"x\", \"shape\": [%d,%d,%d,%d], \"dtype\": \"qint8\", \"scale\": 0.0625}",
               l->batch, l->cin, l->hin, l->hin);
    if (l->add)
        buf_printf(out, ", {\"name\": \"r\", \"shape\": [%d,%d,%d,%d], \"dtype\": \"qint8\", \"scale\": 0.0625}",
                   l->batch, l->cout, l->hout, l->hout);
    buf_printf(out, "], \"nodes\": [{\"name\": \"%s\", \"op\": \"torch.nn.Conv2d\", \"inputs\": [\"x\"], "
                    "\"outputs\": [\"y\"], \"attrs\": {\"in_channels\": %d, \"out_channels\": %d, "
                    "\"kernel_size\": [%d,%d], \"stride\": [%d,%d], \"padding\": [%d,%d], \"dilation\": [1,1], "
                    "\"groups\": %d, \"bias\": false}, \"params\": {\"weight\": \"w\"}, "
                    "\"output_dtypes\": [\"qint8\"], \"output_scales\": [0.0625]}",
               l->name, l->cin, l->cout, l->k, l->k, l->stride, l->stride, pad, pad, l->groups);
    if (l->add)
        buf_puts(out, ", {\"name\": \"sum\", \"op\": \"torch.add\", \"inputs\": [\"y\", \"r\"], \"outputs\": [\"z\"], "
                      "\"output_dtypes\": [\"qint8\"], \"output_scales\": [0.0625]}");
    buf_printf(out, "], \"outputs\": [\"%s\"], \"tensors\": {\"w\": {\"shape\": [%d,%d,%d,%d], \"dtype\": \"qint8\", "
                    "\"scale\": [", l->add ? "z" : "y", l->cout, l->cin / l->groups, l->k, l->k);
    for (int i = 0; i < l->cout; i++)
        buf_puts(out, i ? ",0.01" : "0.01");
    buf_puts(out, "], \"data\": \"");
    zeros(out, weights);
    buf_puts(out, "\"}}}");
}

static void published_layers(void **state)
{
    (void)state;
    size_t size;
    char *text = (char *)file_read(LAYERS, &size), *line = strchr(text, '\n');
    int count = 0;
    for (; line && line[1]; line = strchr(line + 1, '\n'), count++) {
        struct layer l;
        struct buf json;
        struct arena a;
        struct perf_model m;
        if (sscanf(line + 1, "%63[^,],%d,%d,%d,%d,%d,%d,%d,%d,%d,%lld", l.name, &l.cin, &l.cout, &l.hin,
                   &l.hout, &l.k, &l.stride, &l.groups, &l.add, &l.batch, &l.ops) != 11)
            fail_msg("%.60s", line + 1);
        buf_init(&json, BUF_DEFAULT_CAP);
        layer_json(&l, &json);
        arena_init(&a, (size_t)1 << 30);
        measure(&a, json.data, json.size, "bayes", NULL, 0, &m);
        if (m.perf.ops != l.ops)
            fail_msg("%s: %lld operations, published %lld", l.name, (long long)m.perf.ops, l.ops);
        assert_int_equal(m.perf.frames, l.batch);
        assert_true(m.perf.utilization > 0 && m.perf.utilization <= 1);
        sums_come_out(&m.perf);
        const struct perf_layer *best = NULL;
        for (int i = 0; i < m.perf.layer_count; i++)
            if (m.perf.layers[i].ops > 0) {
                assert_null(best);
                best = &m.perf.layers[i];
            }
        assert_non_null(best);
        const int shape[] = {l.batch, l.hout, l.hout, l.cout};
        assert_memory_equal(best->shape, shape, sizeof shape);
        arena_fini(&a);
        buf_fini(&json);
    }
    assert_int_equal(count, 39);
    free(text);
}

/* ── by hand ── */

enum { HAND = 8 };

struct hand {
    struct arena arena;
    struct machine m;
    struct program p;
    struct instruction code[HAND];
    struct tile tiles[HAND][3];
    int32_t args[HAND][PROGRAM_MAX_ARGS];
    struct timed at[HAND];
    struct program_timing t;
    struct perf perf;
};

/* 1 MHz: cycles are microseconds; 10 cycles to start, 64 bytes a cycle, blocks as the tiles say. */
static void hand_open(struct hand *h)
{
    memset(h, 0, sizeof *h);
    arena_init(&h->arena, (size_t)16 << 20);
    h->m.clock_mhz.v = 1;
    h->m.issue_cycles.v = 10;
    h->m.ddr_load_bytes.v = h->m.ddr_store_bytes.v = h->m.ddr_total_bytes.v = 64;
    h->m.ddr_burst_bytes.v = 64;
    h->m.array_h.v = h->m.array_w.v = h->m.array_cells.v = 1;
    h->m.array_in.v = 4;
    h->m.array_out.v = 8;
    h->m.eltwise_bytes.v = 64;
    make_program(&h->arena, &h->p, 0);
    h->p.code = h->code;
    h->t.at = h->at;
}

static struct instruction *hand_add(struct hand *h, enum opcode op, uint32_t source, double start, double end)
{
    int i = h->p.code_count++;
    struct instruction *in = &h->code[i];
    *in = (struct instruction){.op = (uint16_t)op,
                               .engine = (uint8_t)isa_row(op)->engine,
                               .source = source,
                               .tile_count = isa_tile_count(op, NULL) < 3 ? isa_tile_count(op, NULL) : 3,
                               .tiles = h->tiles[i],
                               .args = h->args[i]};
    bool transfer = in->engine == ENGINE_LOAD || in->engine == ENGINE_STORE;
    for (int k = 0; k < in->tile_count; k++) {
        bool ddr = transfer && (k == 0) == (in->engine == ENGINE_STORE);
        in->tiles[k] = make_tile(ddr ? SPACE_DDR : SPACE_SRAM, ddr ? 64 << 10 : 0, DT_QINT8, 1, 4, 4, 40);
    }
    h->at[i] = (struct timed){start, end};
    h->t.useful = NULL;
    h->t.end = fmax(h->t.end, end);
    h->t.busy[in->engine] += end - start;
    h->t.count[in->engine]++;
    return in;
}

static void hand_measure(struct hand *h, int intervals)
{
    struct bpu_error err = {0};
    for (int i = 0; i < h->p.code_count; i++) {
        int64_t bytes = instruction_cost(&h->m, &h->code[i]).ddr_bytes;
        *(h->code[i].engine == ENGINE_STORE ? &h->t.ddr_store : &h->t.ddr_load) += bytes;
    }
    assert_true(perf_measure(&h->arena, &h->p, &h->m, &h->t, intervals, &h->perf, &err));
    sums_come_out(&h->perf);
}

/* A load of 640 bytes beside an addition, then idleness, then the addition's store. */
static void parts_by_hand(void **state)
{
    (void)state;
    struct hand *h = calloc(1, sizeof *h);
    assert_non_null(h);
    hand_open(h);
    hand_add(h, OP_LOAD, 0, 0, 20);
    hand_add(h, OP_ADD, 1, 10, 40);
    hand_add(h, OP_STORE, 1, 60, 80);
    h->p.buffers[0] = (struct program_buffer){"a", 0, BUFFER_MAP, 0, 640, 0, 1};
    h->p.buffer_count = 1;
    hand_measure(h, 4);
    const struct perf *p = &h->perf;
    assert_close(p->latency_us, 80);
    assert_close(p->idle_us, 20);
    assert_close(p->layers[0].time_us, 15); /* 10 alone, 10 shared */
    assert_close(p->layers[1].time_us, 45);
    assert_int_equal(p->order[0], 1);
    assert_int_equal(p->layers[0].bound, PERF_BOUND_LOAD);
    /* 25 of computing: 10 to start and 10 for 640 bytes are its cost. */
    assert_int_equal(p->layers[1].bound, PERF_BOUND_COMPUTE);
    assert_close(p->layers[1].compute_us, 30);
    assert_close(p->layers[1].store_us, 20);
    assert_close(p->layers[1].first_us, 10);
    assert_close(p->layers[1].last_us, 80);
    assert_int_equal(p->load_bytes, 640);
    assert_int_equal(p->store_bytes, 640);
    assert_int_equal(p->traffic[TRAFFIC_SPILLS], 1280);
    assert_close(p->intervals[0].compute, .5);
    assert_close(p->intervals[1].compute, 1);
    assert_close(p->intervals[2].compute, 0);
    /* Its bytes move after the start, which takes 10. */
    assert_close(p->intervals[0].load_bytes, 640);
    assert_close(p->intervals[3].store_bytes, 640);
    assert_int_equal(p->intervals[0].sram_bytes, 640);
    assert_int_equal(p->intervals[1].sram_bytes, 640);
    assert_int_equal(p->intervals[2].sram_bytes, 0);
    /* What was stored by the second layer belongs to it, what nobody stored to its reader. */
    assert_int_equal(p->tensor_count, 2);
    assert_close(p->compute_bound_us, 30);
    arena_fini(&h->arena);
    free(h);
}

/* Who makes a map that does not stay is who stored to its place last. */
static void spilled_maps_belong_to_their_makers(void **state)
{
    (void)state;
    struct hand *h = calloc(1, sizeof *h);
    assert_non_null(h);
    hand_open(h);
    hand_add(h, OP_STORE, 0, 0, 20);
    hand_add(h, OP_LOAD, 1, 20, 40);
    hand_add(h, OP_LOAD, 1, 40, 60);
    hand_measure(h, 0);
    assert_int_equal(h->perf.interval_count, 8);
    assert_int_equal(h->perf.tensor_count, 1);
    assert_string_equal(h->perf.tensors[0].name, "conv1");
    assert_int_equal(h->perf.tensors[0].kind, TRAFFIC_SPILLS);
    assert_int_equal(h->perf.tensors[0].load_bytes, 1280);
    assert_int_equal(h->perf.tensors[0].store_bytes, 640);
    /* The same place again, by another. */
    hand_add(h, OP_STORE, 1, 60, 80);
    h->t.ddr_load = h->t.ddr_store = 0;
    hand_measure(h, 0);
    assert_int_equal(h->perf.tensor_count, 2);
    arena_fini(&h->arena);
    free(h);
}

/* A shape is padded to the block of its tile and to the steps of the array, whichever is more. */
static void aligned_shapes(void **state)
{
    (void)state;
    struct hand *h = calloc(1, sizeof *h);
    assert_non_null(h);
    hand_open(h);
    h->p.sources[0] = (struct program_source){"conv1", "torch.nn.Conv2d", 1, 1, 5, 17, 12};
    struct instruction *in = hand_add(h, OP_CONV, 0, 0, 100);
    in->tiles[0] = make_tile(SPACE_SRAM, 0, DT_QINT8, 1, 5, 17, 12);
    in->tiles[0].block_h = 2;
    in->tiles[0].block_w = 16;
    in->tiles[0].block_c = 8;
    in->tiles[0].frame_rows = 6;
    make_conv_args(in->args, 12, 100, 4, 8, 4);
    hand_measure(h, 0);
    assert_memory_equal(h->perf.layers[0].shape, ((const int[]){1, 5, 17, 12}), 4 * sizeof(int));
    assert_memory_equal(h->perf.layers[0].aligned, ((const int[]){1, 6, 32, 16}), 4 * sizeof(int));
    h->m.array_h.v = 4;
    h->m.array_out.v = 12;
    hand_measure(h, 0);
    assert_memory_equal(h->perf.layers[0].aligned, ((const int[]){1, 8, 32, 24}), 4 * sizeof(int));
    /* 12 of 24 channels computed, 17 columns of 17, 5 rows of 8. */
    in->op = OP_DWCONV;
    h->m.depthwise_h.v = 1;
    h->m.depthwise_w.v = 8;
    h->m.depthwise_c.v = 4;
    hand_measure(h, 0);
    assert_memory_equal(h->perf.layers[0].aligned, ((const int[]){1, 6, 32, 16}), 4 * sizeof(int));
    /* 24 of 32 columns' worth of steps, 12 of 12 channels: 17 of 24 columns are useful. */
    assert_close(h->perf.layers[0].padding, 1 - 17. / 24);
    arena_fini(&h->arena);
    free(h);
}

static void no_clock_no_times(void **state)
{
    (void)state;
    struct hand *h = calloc(1, sizeof *h);
    struct bpu_error err = {0};
    assert_non_null(h);
    hand_open(h);
    h->m.clock_mhz.v = 0;
    assert_false(perf_measure(&h->arena, &h->p, &h->m, &h->t, 0, &h->perf, &err));
    assert_int_equal(err.code, BPU_UNSUPPORTED);
    arena_fini(&h->arena);
    free(h);
}

static void an_empty_program(void **state)
{
    (void)state;
    struct hand *h = calloc(1, sizeof *h);
    assert_non_null(h);
    hand_open(h);
    hand_measure(h, 0);
    assert_close(h->perf.latency_us, 0);
    assert_int_equal(h->perf.layers[0].bound, PERF_BOUND_NOTHING);
    arena_fini(&h->arena);
    free(h);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_by_hand),
        cmocka_unit_test(spilled_maps_belong_to_their_makers),
        cmocka_unit_test(aligned_shapes),
        cmocka_unit_test(no_clock_no_times),
        cmocka_unit_test(an_empty_program),
        cmocka_unit_test(random_programs),
        cmocka_unit_test(a_network_at_all_levels),
        cmocka_unit_test(published_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
