/* compile_case: a fixed-point graph, compiled in a random way, executed by the simulator with all
 * checks in a random order, equal to the reference interpreter bit for bit.  Include it after
 * cmocka.h. */
#ifndef BPU_UNIT_COMPILE_CASE_H
#define BPU_UNIT_COMPILE_CASE_H

#include <stdio.h>

#include "core/compile/compile.h"
#include "core/run/run.h"
#include "core/sim/sim.h"
#include "tests/unit/random_net.h"

struct compile_case {
    int number;
    const char *what;
    int compiled, unsupported, too_small; /* counted up */
    int cut; /* programs in which a layer has several instructions of one kind */
    int refused, stopped, damaged; /* with a wrong number: not run, not to its end, run */
    int distinct;                  /* different bytes in results: that they are not all alike */
    bool verbose;
};

static inline void compile_case_show(const struct net *n, const struct program *p)
{
    struct buf b;
    buf_init(&b, BUF_DEFAULT_CAP);
    graph_dump(n->g, &b);
    if (p)
        program_disassemble(p, &b);
    fputs(buf_str(&b), stderr);
    buf_fini(&b);
}

static inline bool compile_case_is_cut(const struct program *p)
{
    for (int i = 0; i < p->code_count; i++)
        for (int k = i + 1; k < p->code_count; k++)
            if (p->code[i].op >= OP_SOFTMAX && p->code[i].op == p->code[k].op &&
                p->code[i].source == p->code[k].source)
                return true;
    return false;
}

/* One number of one instruction becomes another one: the verifier refuses it, or the simulator runs
 * it or says what is wrong; a sanitizer sees whether either looks elsewhere. */
static inline void compile_case_damage(struct compile_case *c, struct program *p,
                                       const void *const *in, void *const *got)
{
    static const int32_t values[] = {0,  1,   -1,   2,       3,         7,
                                     16, 255, 4096, 1 << 20, INT32_MAX, INT32_MIN};
    for (int turn = 0; turn < 6; turn++) {
        struct instruction *i = &p->code[below((uint32_t)p->code_count)];
        struct bpu_error err = {0};
        struct arena arena;
        int32_t *field, before;
        for (int k = 0; k < 20 && i->op < OP_SOFTMAX; k++)
            i = &p->code[below((uint32_t)p->code_count)];
        struct tile *t = &i->tiles[below((uint32_t)i->tile_count)];
        int32_t *of_tile[] = {&t->n, &t->h, &t->w, &t->c, &t->zero};
        field =
            i->arg_count && below(4) ? &i->args[below((uint32_t)i->arg_count)] : of_tile[below(5)];
        before = *field;
        *field = below(2) ? values[below(12)] : (int32_t)((uint32_t)before + below(5) - 2);
        arena_init(&arena, (size_t)1 << 28);
        if (program_verify(p, &err)) {
            struct sim_options so = {.order = SIM_LIST, .unchecked = true};
            struct sim *s = sim_new(&arena, p, &so, &err);
            c->damaged += s && sim_frame(s, in, got, &err);
            c->stopped += err.code != BPU_NONE;
        }
        c->refused += err.code != BPU_NONE;
        arena_fini(&arena);
        *field = before;
    }
}

static inline void compile_case_way(struct compile_case *c, struct net *n, const void *const *in,
                                    void *const *want)
{
    static const int64_t memories[] = {0, 300000, 60000, 20000, 8192};
    struct arena arena;
    struct bpu_error err = {0};
    size_t marches;
    const struct march *march = march_list(&marches)[below(2)];
    struct compile_options o = compile_default();
    struct compile_io io = {NULL, IO_DDR, (enum io_layout)below(3)};
    void *got[16];
    o.level = (enum compile_level)below(LEVEL_COUNT);
    o.cores = 1 + (int)below((uint32_t)march_machine(march)->cores.v);
    o.sram_bytes = memories[below(5)];
    o.inputs = &io;
    o.input_count = 1;
    arena_init(&arena, (size_t)1 << 30);
    bool *on_host = ARENA_ARRAY(&arena, bool, n->g->node_count + 1, &err);
    assert_non_null(on_host);
    for (int i = 0, some = below(4) == 0; some && i < n->g->node_count; i++)
        on_host[i] = below(2);
    o.on_host = on_host;
    struct program *p = compile_graph(&arena, n->g, march, &o, NULL, &err);
    if (c->verbose)
        compile_case_show(n, p);
    if (!p) {
        c->unsupported += err.code == BPU_UNSUPPORTED;
        c->too_small += err.code == BPU_LIMIT;
        if (c->verbose || (err.code != BPU_UNSUPPORTED && err.code != BPU_LIMIT) ||
            (err.code == BPU_LIMIT && !o.sram_bytes))
            fail_msg("case %d (%s): %s: %s", c->number, c->what, err.where, err.message);
        arena_fini(&arena);
        return;
    }
    c->compiled++;
    c->cut += compile_case_is_cut(p);
    if (!program_verify(p, &err))
        fail_msg("case %d (%s): refused: %s: %s", c->number, c->what, err.where, err.message);
    struct sim_options so = {.order = (enum sim_order)below(SIM_RANDOM + 1),
                             .seed = below(1u << 30)};
    for (int i = 0; i < p->output_count; i++)
        assert_non_null(got[i] = arena_alloc(&arena, (size_t)sim_io_bytes(&p->outputs[i]), &err));
    struct sim *s = sim_new(&arena, p, &so, &err);
    if (!s || !sim_frame(s, in, got, &err))
        fail_msg("case %d (%s): %s: %s", c->number, c->what, err.where, err.message);
    for (int i = 0; i < p->output_count; i++)
        for (int64_t k = 0; k < sim_io_bytes(&p->outputs[i]); k++)
            if (((unsigned char *)got[i])[k] != ((unsigned char *)want[i])[k])
                fail_msg("case %d (%s): output %d, byte %lld is %u, not %u", c->number, c->what, i,
                         (long long)k, ((unsigned char *)got[i])[k], ((unsigned char *)want[i])[k]);
    compile_case_damage(c, p, in, got);
    arena_fini(&arena);
}

/* The graph's inputs hold these bytes. */
static inline void compile_case_run(struct compile_case *c, struct net *n, const void *const *in,
                                    int ways)
{
    void *want[16];
    assert_true(n->g->output_count <= 16);
    for (int i = 0; i < n->g->output_count; i++)
        OK(want[i] = arena_alloc(&n->arena,
                                 (size_t)shape_elements(&n->g->outputs[i]->shape) *
                                     dtype_size(n->g->outputs[i]->dtype),
                                 &n->err));
    struct run *r =
        run_new(&n->arena, n->g, &(struct run_options){.engine = RUN_REFERENCE}, &n->err);
    OK(r);
    if (!run_frame(r, in, want, NULL, NULL, &n->err))
        fail_msg("case %d (%s): %s: %s", c->number, c->what, n->err.where, n->err.message);
    bool seen[256] = {false};
    for (int i = 0; i < n->g->output_count; i++)
        for (int64_t k = 0; k < shape_elements(&n->g->outputs[i]->shape); k++) {
            unsigned char q =
                ((unsigned char *)want[i])[(size_t)k * dtype_size(n->g->outputs[i]->dtype)];
            c->distinct += !seen[q];
            seen[q] = true;
        }
    for (int k = 0; k < ways; k++)
        compile_case_way(c, n, in, want);
}

#endif
