/* sim_asm: programs by hand, for tests of the machine.  Include it after cmocka.h.
 *
 * Addresses come from two counters; waits are given as instructions that have to be finished
 * before. */
#ifndef BPU_UNIT_SIM_ASM_H
#define BPU_UNIT_SIM_ASM_H

#include <stdlib.h>
#include <string.h>

#include "core/program/args.h"
#include "core/sim/sim.h"

enum { ASM_MAX_CODE = 4096, ASM_MAX_IO = 8, ASM_MAX_WAITS = 12 };

struct asm_program {
    struct program p;
    struct arena arena;
    struct bpu_error err;
    struct program_io inputs[ASM_MAX_IO], outputs[ASM_MAX_IO];
    struct program_source source;
    unsigned char *constants;
    int64_t constant_capacity;
    int counts[PROGRAM_LANES];
    uint64_t seed;
};

static inline uint32_t asm_below(struct asm_program *a, uint32_t n)
{
    a->seed = a->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(a->seed >> 33) % n;
}

static inline void asm_init(struct asm_program *a, uint64_t start, int64_t constants)
{
    memset(a, 0, sizeof *a);
    arena_init(&a->arena, (size_t)1 << 30);
    a->seed = start;
    a->constant_capacity = (constants + 63) / 64 * 64;
    a->constants = arena_alloc(&a->arena, (size_t)a->constant_capacity + 1, &a->err);
    a->source = (struct program_source){.name = "layer", .op = "test"};
    a->p = (struct program){.arena = &a->arena,
                            .name = "test",
                            .march = "bayes",
                            .options = "",
                            .tool = "",
                            .cores = 1,
                            .constants = a->constants,
                            .inputs = a->inputs,
                            .outputs = a->outputs,
                            .sources = &a->source,
                            .source_count = 1};
    a->p.code = ARENA_ARRAY(&a->arena, struct instruction, ASM_MAX_CODE, &a->err);
    a->p.ddr_bytes = a->constant_capacity;
    a->p.constant_bytes = a->constant_capacity;
    assert_true(a->constants && a->p.code);
}

static inline void asm_fini(struct asm_program *a)
{
    arena_fini(&a->arena);
}

static inline int64_t asm_take(int64_t *counter, int64_t bytes)
{
    int64_t at = *counter;
    *counter += (bytes + 63) / 64 * 64;
    return at;
}

/* All of a map in memory of its own.  ring: rows of the ring, 0 all. */
static inline struct tile asm_map(struct asm_program *a, enum space space, const int block[3],
                                  int n, int h, int w, int c, enum dtype t, double scale,
                                  int32_t zero, int ring)
{
    int64_t e = (int64_t)dtype_size(t);
    int64_t cb = (c + block[2] - 1) / block[2], wb = (w + block[1] - 1) / block[1];
    int rows = (h + block[0] - 1) / block[0] * block[0];
    struct tile x = {.space = (uint8_t)space,
                     .dtype = (uint8_t)t,
                     .block_h = (uint8_t)block[0],
                     .block_w = (uint8_t)block[1],
                     .block_c = (uint8_t)block[2],
                     .ring = ring,
                     .frame_rows = rows,
                     .n = n,
                     .h = h,
                     .w = w,
                     .c = c,
                     .stride_c = (int64_t)block[0] * block[1] * block[2] * e,
                     .scale = scale,
                     .zero = zero};
    x.stride_w = x.stride_c * cb;
    x.stride_h = x.stride_w * wb;
    int64_t all = ring ? ring : (int64_t)rows * n;
    x.base = asm_take(space == SPACE_SRAM ? &a->p.sram_bytes : &a->p.ddr_bytes,
                      all / block[0] * x.stride_h);
    return x;
}

/* Bytes as they are. */
static inline struct tile asm_blob(struct asm_program *a, enum space space, int64_t bytes)
{
    return asm_map(a, space, (const int[]){1, 1, 1}, 1, 1, 1, (int)bytes, DT_UINT8, 0, 0, 0);
}

/* A part of a map. */
static inline struct tile asm_rows(struct tile t, int first, int count)
{
    t.h0 += first;
    t.h = count;
    return t;
}
static inline struct tile asm_channels(struct tile t, int first, int count)
{
    t.c0 += first;
    t.c = count;
    return t;
}

/* An input or output in DDR, with a tile of the given layout. */
static inline struct program_io *asm_io(struct asm_program *a, bool input, const struct shape *s,
                                        bool features, enum dtype t, double scale, int32_t zero,
                                        enum io_layout layout, const int block[3])
{
    int *count = input ? &a->p.input_count : &a->p.output_count;
    struct program_io *io = input ? &a->inputs[*count] : &a->outputs[*count];
    int n = 1, h = 1, w = 1, c = 1, r = s->rank;
    static const int one[3] = {1, 1, 1};
    assert_true(*count < ASM_MAX_IO);
    if (features) {
        c = r > 0 ? (int)s->dim[r - 1] : 1;
        w = r > 1 ? (int)s->dim[r - 2] : 1;
        h = r > 2 ? (int)s->dim[r - 3] : 1;
        for (int i = 0; i < r - 3; i++)
            n *= (int)s->dim[i];
    } else {
        n = r > 1 ? (int)s->dim[0] : 1;
        c = r > 1 ? (int)s->dim[1] : r == 1 ? (int)s->dim[0] : 1;
        w = r > 2 ? (int)s->dim[r - 1] : 1;
        for (int i = 2; i < r - 1; i++)
            h *= (int)s->dim[i];
    }
    double *scales = ARENA_NEW(&a->arena, double, &a->err);
    int64_t *zeros = ARENA_NEW(&a->arena, int64_t, &a->err);
    assert_true(scales && zeros);
    *scales = scale;
    *zeros = zero;
    int64_t before = a->p.ddr_bytes;
    *io = (struct program_io){.name = input ? "x" : "y",
                              .shape = *s,
                              .features = features,
                              .dtype = t,
                              .host_dtype = t,
                              .quant = {scales, zeros, 1, 0},
                              .layout = layout,
                              .address = before};
    io->tile = asm_map(a, SPACE_DDR, layout == IO_RAW ? block : one, n, h, w, c, t, scale, zero, 0);
    if (layout == IO_NCHW) {
        int64_t e = (int64_t)dtype_size(t);
        io->tile.stride_w = e;
        io->tile.stride_h = w * e;
        io->tile.stride_c = (int64_t)h * w * e;
        io->tile.stride_n = (int64_t)c * h * w * e;
    }
    io->bytes = a->p.ddr_bytes - before;
    (*count)++;
    return io;
}

/* Appends an instruction; `after`: indices of those that have to be finished, -1 ends the list.
 * Returns its index. */
static inline int asm_add_on(struct asm_program *a, enum opcode op, enum engine engine, int core,
                             const struct tile *tiles, int tile_count, const int32_t *args,
                             const int *after)
{
    struct instruction *c = &a->p.code[a->p.code_count];
    int arg_count = isa_arg_count(op);
    assert_true(a->p.code_count < ASM_MAX_CODE && tile_count <= PROGRAM_MAX_TILES);
    *c = (struct instruction){.op = (uint16_t)op,
                              .core = (uint8_t)core,
                              .engine = (uint8_t)engine,
                              .tile_count = tile_count,
                              .arg_count = arg_count};
    c->tiles = ARENA_ARRAY(&a->arena, struct tile, tile_count, &a->err);
    c->args = ARENA_ARRAY(&a->arena, int32_t, arg_count + 1, &a->err);
    c->waits = ARENA_ARRAY(&a->arena, struct wait, ASM_MAX_WAITS, &a->err);
    assert_true(c->tiles && c->args && c->waits);
    memcpy(c->tiles, tiles, (size_t)tile_count * sizeof *tiles);
    if (args && arg_count)
        memcpy(c->args, args, (size_t)arg_count * sizeof *args);
    int lane = core * ENGINE_COUNT + (int)engine;
    for (; after && *after >= 0; after++) {
        const struct instruction *o = &a->p.code[*after];
        int other = o->core * ENGINE_COUNT + o->engine;
        uint32_t number = 0;
        for (int i = 0; i <= *after; i++)
            number += a->p.code[i].core * ENGINE_COUNT + a->p.code[i].engine == other;
        if (other == lane)
            continue;
        int k = 0;
        while (k < c->wait_count && c->waits[k].lane != other)
            k++;
        assert_true(k < ASM_MAX_WAITS);
        if (k == c->wait_count)
            c->waits[c->wait_count++] = (struct wait){.lane = (uint8_t)other};
        if (number > c->waits[k].count)
            c->waits[k].count = number;
    }
    return a->p.code_count++;
}

static inline int asm_add(struct asm_program *a, enum opcode op, const struct tile *tiles,
                          int tile_count, const int32_t *args, const int *after)
{
    return asm_add_on(a, op, isa_row(op)->engine, 0, tiles, tile_count, args, after);
}

#define ASM_AFTER(...) ((const int[]){__VA_ARGS__, -1})
#define ASM_TILES(...) ((const struct tile[]){__VA_ARGS__})

/* One frame in a random order with all checks; true and outputs, or false and a->err. */
static inline bool asm_run(struct asm_program *a, const void *const *in, void *const *out,
                           enum sim_order order)
{
    struct sim_options o = {.order = order, .seed = a->seed + 1};
    struct arena arena;
    memset(&a->err, 0, sizeof a->err);
    arena_init(&arena, (size_t)1 << 30);
    struct sim *s = sim_new(&arena, &a->p, &o, &a->err);
    bool ok = s && sim_frame(s, in, out, &a->err);
    arena_fini(&arena);
    return ok;
}

#endif
