/* Random fixed-point networks: compiled for every march, level, number of cores and small on-chip
 * memories, executed by the machine simulator in a random order with all checks, equal to the
 * reference interpreter bit for bit.
 *
 * A failure names its case; BPUHUB_CASE=n runs that one alone, and prints the network. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/compile/compile.h"
#include "core/run/run.h"
#include "core/sim/sim.h"
#include "tests/unit/random_net.h"

enum { MOST_VALUES = 64, CASES = 1000 };

static int opcodes_seen[OP_COUNT];

struct tally {
    int compiled, unsupported, too_small, instructions;
    bool verbose;
};

/* ── networks ── */

/* A second branch that meets the first one again. */
static struct value *join(struct net *n, struct value *x, enum dtype t)
{
    static const char *const ops[] = {"torch.add", "torch.mul", "torch.maximum"};
    struct value *other = x;
    for (int i = 0; i < n->g->value_count; i++) {
        struct value *v = n->g->values[n->g->value_count - 1 - i];
        if (v != x && !v->constant && shape_equal(&v->shape, &x->shape) &&
            dtype_is_quantized(v->dtype) && v->dtype != DT_QINT32 && below(2))
            other = v;
    }
    struct node *node = some_node(n, ops[below(3)], x);
    OK(node_add_input(n->g, node, other, &n->err));
    return finish(n, node, t);
}

typedef struct value *make_fn(struct net *n, struct value *x, enum dtype t);
static make_fn *const makers[] = {conv, conv, conv, pool, unary, binary, join, cat};
enum { MAKERS = sizeof makers / sizeof makers[0] };

/* A chain with branches; the last results and some on the way are outputs. */
static void random_net(struct net *n, int nodes)
{
    struct shape s = of4(1 + below(below(2) ? 8 : 70), 1 + below(20), 1 + below(20));
    bool stub = below(2);
    struct value *x = some_input(n, &s, stub ? DT_FLOAT32 : small()), *before = NULL;
    if (stub)
        x = quantize(n, x, small());
    for (int i = 0; i < nodes; i++) {
        struct value *from = before && below(5) == 0 ? before : x;
        before = x;
        x = makers[below(MAKERS)](n, from, small());
        if (x->producer->input_count == 1 && x->producer->op &&
            strstr(x->producer->op->key, "Conv2d") && below(4) == 0)
            add_residual(n, x);
        if (below(8) == 0)
            OK(graph_add_output(n->g, x, &n->err));
    }
    if (below(4) == 0)
        x = linear(n, flatten(n, x, x->dtype), small());
    if (below(2))
        x = dequantize(n, x, x->dtype);
    if (!x->is_output)
        OK(graph_add_output(n->g, x, &n->err));
    net_fix(n);
    OK(graph_sort(n->g, &n->err) && graph_verify(n->g, &n->err));
}

/* One node of another kind, maybe behind a convolution and before a function of one value. */
static bool other_net(struct net *n)
{
    static make_fn *const kinds[] = {axis_op,    reduce,  move,   move,   compare_two,
                                     activation, product, resize, deconv, binary};
    struct shape s = of4(1 + below(below(2) ? 8 : 40), 1 + below(12), 1 + below(12));
    struct value *x = some_input(n, &s, below(4) ? small() : DT_QINT16);
    if (below(3) == 0)
        x = conv(n, x, small());
    struct value *y =
        kinds[below(sizeof kinds / sizeof kinds[0])](n, x, below(4) ? small() : DT_QINT16);
    if (!y)
        return false;
    if (below(3) == 0 && dtype_is_quantized(y->dtype) && y->dtype != DT_QBOOL && y->shape.rank == 4)
        y = unary(n, y, small());
    OK(graph_add_output(n->g, y, &n->err));
    net_fix(n);
    OK(graph_sort(n->g, &n->err) && graph_verify(n->g, &n->err));
    return true;
}

static void *random_content(struct net *n, const struct value *v)
{
    size_t bytes = (size_t)shape_elements(&v->shape) * dtype_size(v->dtype);
    unsigned char *p = arena_alloc(&n->arena, bytes, &n->err);
    OK(p);
    if (v->dtype == DT_FLOAT32) {
        for (size_t k = 0; k < bytes; k += 4)
            memcpy(p + k, &(float){((float)below(2000) - 1000) / 150}, 4);
    } else {
        for (size_t k = 0; k < bytes; k++)
            p[k] = (unsigned char)below(256);
    }
    return p;
}

/* ── one case ── */

struct way {
    const struct march *march;
    struct compile_options o;
    struct compile_io in, out;
    char text[200];
};

static void random_way(struct way *w)
{
    size_t count;
    const struct march *const *list = march_list(&count);
    static const int64_t memories[] = {0, 0, 0, 300000, 100000, 40000, 16384};
    w->march = list[below((uint32_t)count)];
    w->o = compile_default();
    w->o.level = (enum compile_level)below(LEVEL_COUNT);
    w->o.balance = (int)below(101);
    w->o.cores = 1 + (int)below((uint32_t)march_machine(w->march)->cores.v);
    w->o.force_cores = below(2);
    w->o.sram_bytes = memories[below(7)];
    w->in = (struct compile_io){NULL, IO_DDR, (enum io_layout)below(3)};
    w->out = (struct compile_io){NULL, IO_DDR, (enum io_layout)below(3)};
    w->o.inputs = &w->in;
    w->o.outputs = &w->out;
    w->o.input_count = w->o.output_count = 1;
    snprintf(w->text, sizeof w->text, "%s, %s, %d cores, %lld bytes, layouts %d %d",
             march_name(w->march), compile_level_name(w->o.level), w->o.cores,
             (long long)w->o.sram_bytes, (int)w->in.layout, (int)w->out.layout);
}

static void show(const struct net *n, const struct program *p)
{
    struct buf b;
    buf_init(&b, BUF_DEFAULT_CAP);
    graph_dump(n->g, &b);
    if (p)
        program_disassemble(p, &b);
    fputs(buf_str(&b), stderr);
    buf_fini(&b);
}

/* The name of a node or value of the network, what is needed, what there is, and what would help. */
static bool says_why(const struct graph *g, const struct bpu_error *err)
{
    long long needs = 0, has = 0;
    const char *need = strstr(err->message, "needs "), *there = strstr(err->message, "there are ");
    bool named = false;
    for (int i = 0; i < g->node_count; i++)
        named |= strcmp(g->nodes[i]->name, err->where) == 0;
    for (int i = 0; i < g->value_count; i++)
        named |= strcmp(g->values[i]->name, err->where) == 0;
    return named && err->hint[0] && need && there && sscanf(need, "needs %lld bytes", &needs) == 1 &&
           sscanf(there, "there are %lld", &has) == 1 && needs > has;
}

static void try_way(struct net *n, const struct way *w, int number, const void *const *in,
                    void *const *want, struct tally *t)
{
    struct arena arena;
    struct bpu_error err = {0};
    void *got[MOST_VALUES];
    arena_init(&arena, (size_t)1 << 30);
    if (t->verbose) {
        fprintf(stderr, "case %d: %s\n", number, w->text);
        show(n, NULL);
    }
    struct program *p = compile_graph(&arena, n->g, w->march, &w->o, NULL, &err);
    if (t->verbose && p)
        show(n, p);
    if (!p) {
        t->unsupported += err.code == BPU_UNSUPPORTED;
        t->too_small += err.code == BPU_LIMIT;
        if (t->verbose)
            fprintf(stderr, "case %d (%s): %s\n", number, w->text, err.message);
        if ((err.code != BPU_UNSUPPORTED && err.code != BPU_LIMIT) ||
            (err.code == BPU_LIMIT && (!w->o.sram_bytes || !says_why(n->g, &err))))
            fail_msg("case %d (%s): %s: %s (%s)", number, w->text, err.where, err.message, err.hint);
        arena_fini(&arena);
        return;
    }
    t->compiled++;
    t->instructions += p->code_count;
    for (int i = 0; i < p->code_count; i++)
        opcodes_seen[p->code[i].op]++;
    if (!program_verify(p, &err))
        fail_msg("case %d (%s): refused: %s: %s", number, w->text, err.where, err.message);
    struct sim_options o = {.order = (enum sim_order)below(SIM_RANDOM + 3),
                            .seed = below(1u << 30)};
    if (o.order > SIM_RANDOM)
        o.order = SIM_RANDOM;
    for (int i = 0; i < p->output_count; i++) {
        assert_int_equal(sim_io_bytes(&p->outputs[i]),
                         shape_elements(&n->g->outputs[i]->shape) *
                             (int64_t)dtype_size(n->g->outputs[i]->dtype));
        got[i] = arena_alloc(&arena, (size_t)sim_io_bytes(&p->outputs[i]), &err);
        assert_non_null(got[i]);
    }
    struct sim *s = sim_new(&arena, p, &o, &err);
    if (!s || !sim_frame(s, in, got, &err))
        fail_msg("case %d (%s): %s: %s", number, w->text, err.where, err.message);
    for (int i = 0; i < p->output_count; i++)
        for (int64_t k = 0; k < sim_io_bytes(&p->outputs[i]); k++)
            if (((unsigned char *)got[i])[k] != ((unsigned char *)want[i])[k])
                fail_msg("case %d (%s): output %d, byte %lld is %u, not %u", number, w->text, i,
                         (long long)k, ((unsigned char *)got[i])[k], ((unsigned char *)want[i])[k]);
    arena_fini(&arena);
}

static void try_case(int number, int nodes, struct tally *t)
{
    struct net nn, *n = &nn;
    const void *in[MOST_VALUES];
    void *want[MOST_VALUES];
    always_fixed = true;
    seed = (uint64_t)number * 0x9E3779B97F4A7C15u + 11;
    net_init(n);
    if (nodes) {
        random_net(n, nodes);
    } else if (!other_net(n)) {
        arena_fini(&n->arena);
        return;
    }
    assert_true(n->g->input_count <= MOST_VALUES && n->g->output_count <= MOST_VALUES);
    for (int i = 0; i < n->g->input_count; i++)
        in[i] = random_content(n, n->g->inputs[i]);
    for (int i = 0; i < n->g->output_count; i++)
        OK(want[i] = arena_alloc(&n->arena,
                                 (size_t)shape_elements(&n->g->outputs[i]->shape) *
                                     dtype_size(n->g->outputs[i]->dtype),
                                 &n->err));
    struct run *r =
        run_new(&n->arena, n->g, &(struct run_options){.engine = RUN_REFERENCE}, &n->err);
    OK(r);
    OK(run_frame(r, in, want, NULL, NULL, &n->err));
    for (int k = 0; k < 2; k++) {
        struct way w;
        random_way(&w);
        try_way(n, &w, number, in, want, t);
    }
    arena_fini(&n->arena);
}

static void try_cases(int first, int nodes, int count)
{
    struct tally t = {0};
    const char *one = getenv("BPUHUB_CASE");
    for (int i = first; i < first + count; i++) {
        t.verbose = one && atoi(one) == i;
        if (!one || t.verbose)
            try_case(i, nodes, &t);
    }
    if (one)
        return;
    print_message("%d programs, %d instructions; %d refused as unsupported, %d do not fit\n",
                  t.compiled, t.instructions, t.unsupported, t.too_small);
    assert_true(t.compiled >= count);
}

static void test_single(void **state)
{
    (void)state;
    try_cases(0, 1, CASES);
}
static void test_few(void **state)
{
    (void)state;
    try_cases(10000, 3, CASES / 2);
}
static void test_many(void **state)
{
    (void)state;
    try_cases(20000, 12, CASES / 4);
}

/* An image from the camera pyramid, as YUV 4:4:4 in which two by two pixels share their chroma. */
static void try_camera(int number, struct tally *t)
{
    struct net nn, *n = &nn;
    always_fixed = true;
    seed = (uint64_t)number * 0x9E3779B97F4A7C15u + 11;
    net_init(n);
    const int64_t h = 2 * (1 + below(14)), w = 2 * (1 + below(14)), plane = h * w;
    static const double scale = 0.5;
    struct shape s = shape_of(4, (const int64_t[]){1, 3, h, w});
    bool stub = below(2);
    struct value *x = some_input(n, &s, stub ? DT_FLOAT32 : DT_QINT8), *image = x;
    if (stub) {
        x = quantize(n, x, DT_QINT8);
        OK(node_set_float(n->g, x->producer, "scale", scale, &n->err) &&
           node_set_int(n->g, x->producer, "zero_point", 0, &n->err));
    }
    x->quant = (struct quant){.scale = &scale, .count = 1};
    struct value *y = conv(n, below(2) ? conv(n, x, small()) : x, small());
    OK(graph_add_output(n->g, y, &n->err));
    net_fix(n);
    OK(graph_sort(n->g, &n->err) && graph_verify(n->g, &n->err));
    unsigned char *data = random_content(n, image);
    for (int64_t i = 0; i < 3 * plane; i++) {
        int64_t row = i % plane / w, column = i % w;
        int64_t from = i < plane ? i : i / plane * plane + row / 2 * 2 * w + column / 2 * 2;
        if (stub) {
            float v = (float)(int8_t)(i == from ? below(256) : 0) * (float)scale;
            memcpy(data + 4 * i, i == from ? (unsigned char *)&v : data + 4 * from, 4);
        } else {
            data[i] = data[from];
        }
    }
    void *want[1];
    OK(want[0] = arena_alloc(&n->arena, (size_t)shape_elements(&y->shape), &n->err));
    struct run *r =
        run_new(&n->arena, n->g, &(struct run_options){.engine = RUN_REFERENCE}, &n->err);
    OK(r);
    OK(run_frame(r, (const void *[]){data}, want, NULL, NULL, &n->err));
    struct way way;
    random_way(&way);
    way.in = (struct compile_io){NULL, below(2) ? IO_PYRAMID : IO_RESIZER, IO_NHWC};
    try_way(n, &way, number, (const void *[]){data}, want, t);
    arena_fini(&n->arena);
}

static void test_camera(void **state)
{
    (void)state;
    struct tally t = {0};
    const char *one = getenv("BPUHUB_CASE");
    for (int i = 40000; i < 40200; i++) {
        t.verbose = one && atoi(one) == i;
        if (!one || t.verbose)
            try_camera(i, &t);
    }
    assert_true(one || t.compiled > 150);
}

static void test_others(void **state)
{
    (void)state;
    try_cases(30000, 0, CASES);
}

/* Memories from ample to none: what O0 compiles, every level does, and what does not fit says why. */
static void try_memories(struct net *n, int number, struct tally *t)
{
    for (int64_t bytes = 200000; bytes >= 1000; bytes = bytes * 3 / 5) {
        bool simplest = false;
        struct way w;
        random_way(&w);
        w.o.sram_bytes = bytes;
        for (int level = 0; level < LEVEL_COUNT; level++) {
            struct arena arena;
            struct bpu_error err = {0};
            if (level > LEVEL_O3 && level != LEVEL_O3 + 1 + number % 3)
                continue; /* these three try the same */
            arena_init(&arena, (size_t)1 << 30);
            w.o.level = (enum compile_level)level;
            const struct program *p = compile_graph(&arena, n->g, w.march, &w.o, NULL, &err);
            if (level == LEVEL_O0)
                simplest = p != NULL;
            t->compiled += p != NULL;
            t->too_small += !p && err.code == BPU_LIMIT;
            if (p && p->sram_bytes > bytes)
                fail_msg("case %d: %lld of %lld bytes", number, (long long)p->sram_bytes, (long long)bytes);
            if (!p && (simplest || (err.code == BPU_LIMIT && !says_why(n->g, &err)) ||
                       (err.code != BPU_LIMIT && err.code != BPU_UNSUPPORTED)))
                fail_msg("case %d (%s, %s, %d cores, %lld bytes): O0 %s; %s: %s (%s)", number,
                         march_name(w.march), compile_level_name(w.o.level), w.o.cores,
                         (long long)bytes, simplest ? "compiles" : "refuses", err.where, err.message, err.hint);
            arena_fini(&arena);
        }
    }
}

static void test_memories(void **state)
{
    (void)state;
    struct tally t = {0};
    const char *one = getenv("BPUHUB_CASE");
    for (int i = 50000; i < 50300; i++) {
        struct net nn, *n = &nn;
        if (one && atoi(one) != i)
            continue;
        always_fixed = true;
        seed = (uint64_t)i * 0x9E3779B97F4A7C15u + 11;
        net_init(n);
        bool made = i % 3 != 2 || other_net(n);
        if (i % 3 != 2)
            random_net(n, i % 3 ? 6 : 2);
        if (made)
            try_memories(n, i, &t);
        arena_fini(&n->arena);
    }
    if (one)
        return;
    print_message("%d programs, %d do not fit\n", t.compiled, t.too_small);
    assert_true(t.compiled > 5000 && t.too_small > 1000);
}

/* A program for two cores is never slower than the same network on one, and often faster. */
static void test_cores(void **state)
{
    (void)state;
    int compared = 0, faster = 0;
    const char *one = getenv("BPUHUB_CASE");
    for (int i = 60000; i < 60200; i++) {
        struct net nn, *n = &nn;
        struct compile_summary sums[2];
        bool made[2];
        if (one && atoi(one) != i)
            continue;
        always_fixed = true;
        seed = (uint64_t)i * 0x9E3779B97F4A7C15u + 13;
        net_init(n);
        random_net(n, i % 2 ? 12 : 4);
        struct way w;
        random_way(&w);
        w.o.force_cores = false;
        w.o.level = (enum compile_level)(i % (LEVEL_FAST + 1));
        for (int c = 0; c < 2; c++) {
            struct arena arena;
            struct bpu_error err = {0};
            arena_init(&arena, (size_t)1 << 30);
            w.o.cores = 1 + c;
            made[c] = compile_graph(&arena, n->g, w.march, &w.o, &sums[c], &err) != NULL;
            arena_fini(&arena);
        }
        if (made[0] && !made[1])
            fail_msg("case %d: %s: one core, but not two", i, w.text);
        if (made[0] && sums[1].predicted_cycles > sums[0].predicted_cycles)
            fail_msg("case %d: %s: one core takes %.0f cycles, two take %.0f", i, w.text,
                     sums[0].predicted_cycles, sums[1].predicted_cycles);
        compared += made[0];
        faster += made[0] && sums[1].predicted_cycles < sums[0].predicted_cycles;
        arena_fini(&n->arena);
    }
    if (one)
        return;
    print_message("%d networks on one core and two, %d faster on two\n", compared, faster);
    assert_true(compared > 100 && faster > 0);
}

/* What all of them together executed. */
static void test_opcodes(void **state)
{
    static const enum opcode must[] = {
        OP_LOAD,   OP_STORE,    OP_LOAD_NV12, OP_CONV,          OP_DWCONV, OP_DECONV,
        OP_MATMUL, OP_POOL_MAX, OP_POOL_AVG,  OP_POOL_ADAPTIVE, OP_ADD,    OP_MUL,
        OP_BINARY, OP_CLAMP,    OP_PRELU,     OP_LOOKUP,        OP_COPY,   OP_FILL};
    (void)state;
    if (getenv("BPUHUB_CASE"))
        return;
    for (int op = 0; op < OP_COUNT; op++)
        if (opcodes_seen[op])
            print_message("%s %d, ", isa_row((enum opcode)op)->name, opcodes_seen[op]);
    print_message("\n");
    for (size_t i = 0; i < sizeof must / sizeof must[0]; i++)
        if (!opcodes_seen[must[i]])
            fail_msg("no program has an instruction %s", isa_row(must[i])->name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single), cmocka_unit_test(test_few),
        cmocka_unit_test(test_many),   cmocka_unit_test(test_others),
        cmocka_unit_test(test_camera), cmocka_unit_test(test_memories),
        cmocka_unit_test(test_cores),   cmocka_unit_test(test_opcodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
