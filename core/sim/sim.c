/* sim: one frame, instruction by instruction.
 *
 *   views of all operands → may it touch them (memory, content, races) → its function → what it
 * wrote */
#include "core/sim/sim_machine.h"

#include <stdio.h>

static sim_fn *const functions[OP_COUNT] = {
#define ISA(id, name, engine, writes, tiles, args, text) sim_##id,
#include "core/program/isa.def"
#undef ISA
};

const char *sim_name(const struct sim *s, int instruction, char out[SIM_NAME_MAX])
{
    const struct program *p = s->program;
    if (instruction < 0 || instruction >= p->code_count) {
        snprintf(out, SIM_NAME_MAX, "the program");
        return out;
    }
    const struct instruction *c = &p->code[instruction];
    const struct isa *row = isa_row((enum opcode)c->op);
    const struct program_source *from =
        c->source < (uint32_t)p->source_count ? &p->sources[c->source] : NULL;
    snprintf(out, SIM_NAME_MAX, "instruction %d (%s of \"%.80s\", %.60s)", instruction,
             row ? row->name : "?", from && from->name ? from->name : "",
             from && from->op ? from->op : "");
    return out;
}

/* ── operands ── */

struct step {
    struct sim *s;
    int index;
    const struct instruction *code;
    const struct isa *row;
    struct sim_view views[PROGRAM_MAX_TILES];
    bool in_place[PROGRAM_MAX_TILES];
};

static bool refuse(const struct step *x, int t, struct bpu_error *err, const char *fmt, ...)
    BPU_PRINTF(4, 5);
static bool refuse(const struct step *x, int t, struct bpu_error *err, const char *fmt, ...)
{
    char text[300], name[SIM_NAME_MAX], operand[ISA_NAME_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    isa_tile_name((enum opcode)x->code->op, t, operand);
    return error_set(err, BPU_BAD_MODEL, sim_name(x->s, x->index, name), "operand %s: %s", operand,
                     text);
}

/* Operands that nobody indexes: weights, tables. */
static bool is_plain(enum opcode op, int t)
{
    char name[ISA_NAME_MAX];
    isa_tile_name(op, t, name);
    return strcmp(name, "weights") == 0 || strcmp(name, "table") == 0;
}

/* LOAD takes from DDR and STORE puts there, the CPU knows DDR only, all others on-chip memory. */
static bool reaches(enum engine e, const struct tile *t, bool writes)
{
    if (e == ENGINE_HOST)
        return t->space == SPACE_DDR;
    if (t->space == SPACE_DDR)
        return (e == ENGINE_LOAD && !writes) || (e == ENGINE_STORE && writes);
    return (e != ENGINE_LOAD || writes) && (e != ENGINE_STORE || !writes);
}

static bool same_elements(const struct sim_view *a, const struct sim_view *b)
{
    const struct tile *x = a->tile, *y = b->tile;
    return sim_same_extents(x, y) && x->space == y->space && a->memory == b->memory &&
           dtype_size((enum dtype)x->dtype) == dtype_size((enum dtype)y->dtype) && a->columns &&
           b->columns && !memcmp(a->rows, b->rows, (size_t)a->row_count * sizeof *a->rows) &&
           !memcmp(a->columns, b->columns, (size_t)x->w * sizeof *a->columns) &&
           !memcmp(a->channels, b->channels, (size_t)x->c * sizeof *a->channels);
}

/* An operand may be overwritten by the result where each element is read before it is written:
 * element for element, by engines that go so. */
static bool may_be_in_place(const struct step *x, int t)
{
    char name[ISA_NAME_MAX];
    switch (x->row->engine) {
    case ENGINE_ELTWISE:
    case ENGINE_LUT: return true;
    case ENGINE_CONV:
        isa_tile_name((enum opcode)x->code->op, t, name);
        return strcmp(name, "residual") == 0 || strcmp(name, "sums") == 0;
    default: return false;
    }
}

/* Both ends of a transfer are runs of bytes: no tables. */
static bool moves_bytes(const struct instruction *c)
{
    for (int t = 0; t < c->tile_count; t++)
        if (c->tiles[t].n != 1 || c->tiles[t].h != 1 || c->tiles[t].w != 1 ||
            c->tiles[t].block_h != 1 || c->tiles[t].block_w != 1 ||
            c->tiles[t].stride_c !=
                c->tiles[t].block_c * (int64_t)dtype_size((enum dtype)c->tiles[t].dtype))
            return false;
    return c->op == OP_LOAD || c->op == OP_STORE;
}

static bool open_tile(struct step *x, struct sim_call *c, int t, struct bpu_error *err)
{
    struct sim *s = x->s;
    const struct tile *tile = &x->code->tiles[t];
    struct sim_view *v = &x->views[t];
    bool writes = t < x->row->writes;
    char name[SIM_NAME_MAX];
    bool plain = moves_bytes(x->code) || is_plain((enum opcode)x->code->op, t);
    if (!sim_view_make(&s->scratch, tile, plain, v, err))
        return error_where(err, "%s", sim_name(s, x->index, name));
    struct sim_memory *m = v->memory = sim_memory_of(s, x->code, tile);
    if (!reaches((enum engine)x->code->engine, tile, writes))
        return refuse(x, t, err, "engine %s cannot %s %s",
                      engine_name((enum engine)x->code->engine), writes ? "write" : "read",
                      m->name);
    if (v->first < 0 || v->end > m->size)
        return refuse(x, t, err,
                      "addresses %lld to %lld are outside of the %s, which has %lld bytes",
                      (long long)v->first, (long long)v->end - 1, m->name, (long long)m->size);
    const struct sim_area *a = sim_area_of(m, v->first, v->end);
    if (!a)
        return refuse(x, t, err, "addresses %lld to %lld belong to different parts of the %s",
                      (long long)v->first, (long long)v->end - 1, m->name);
    if (writes && a->read_only)
        return refuse(x, t, err, "address %lld belongs to %s, which nothing may write",
                      (long long)v->first, a->what);
    c->memory[t] = m->bytes;
    c->rows[t] = v->rows;
    c->columns[t] = v->columns;
    c->channels[t] = v->channels;
    c->first[t] = v->first;
    c->contiguous[t] = v->row_count == 1 && v->run_count == 1 ? v->runs[0].bytes : 0;
    return true;
}

static bool open_tiles(struct step *x, struct sim_call *c, struct bpu_error *err)
{
    const struct instruction *code = x->code;
    if (code->tile_count > PROGRAM_MAX_TILES || code->tile_count < 1 ||
        code->tile_count < x->row->writes || !code->tiles[0].n)
        return refuse(x, 0, err, "there are %d operands", code->tile_count);
    for (int t = 0; t < code->tile_count; t++)
        if (code->tiles[t].n && !open_tile(x, c, t, err))
            return false;
    for (int t = x->row->writes; t < code->tile_count; t++)
        x->in_place[t] =
            code->tiles[t].n && may_be_in_place(x, t) && same_elements(&x->views[0], &x->views[t]);
    return true;
}

/* ── checks around the function ── */

static bool check_before(struct step *x, struct bpu_error *err)
{
    int64_t at;
    for (int t = x->row->writes; t < x->code->tile_count; t++) {
        if (!x->code->tiles[t].n)
            continue;
        if (!x->in_place[t] && !sim_race_read(x->s, x->index, t, &x->views[t], err))
            return false;
        if (!sim_content_read(&x->views[t], &at))
            return refuse(x, t, err, "address %lld of the %s is read, and nothing has written it",
                          (long long)at, x->views[t].memory->name);
    }
    for (int t = 0; t < x->row->writes; t++)
        if (x->code->tiles[t].n && !sim_race_write(x->s, x->index, t, &x->views[t], err))
            return false;
    return true;
}

static bool execute(struct sim *s, int index, struct bpu_error *err)
{
    char name[SIM_NAME_MAX];
    const struct instruction *code = &s->program->code[index];
    struct step x = {.s = s, .index = index, .code = code, .row = isa_row((enum opcode)code->op)};
    struct sim_call c = {.instruction = code,
                         .tiles = code->tiles,
                         .args = code->args,
                         .tile_count = code->tile_count,
                         .arg_count = code->arg_count,
                         .scratch = &s->scratch};
    if (!open_tiles(&x, &c, err) || (s->checking && !check_before(&x, err)))
        return false;
    if (!functions[code->op](&c, err))
        return error_where(err, "%s", sim_name(s, index, name));
    for (int t = 0; s->checking && t < x.row->writes; t++)
        if (code->tiles[t].n)
            sim_content_write(&x.views[t], t == 0 ? c.wrote : NULL);
    return true;
}

/* ── frames ── */

static void free_scratch(void *p)
{
    arena_fini(p);
}

static bool instructions_fit(const struct sim *s, struct bpu_error *err)
{
    char name[SIM_NAME_MAX];
    for (int i = 0; i < s->program->code_count; i++) {
        const struct instruction *c = &s->program->code[i];
        if (c->op >= OP_COUNT)
            return error_set(err, BPU_BAD_MODEL, sim_name(s, i, name), "there is no operation %d",
                             c->op);
        if (c->arg_count < isa_arg_count((enum opcode)c->op))
            return error_set(err, BPU_BAD_MODEL, sim_name(s, i, name),
                             "it has %d arguments and needs %d", c->arg_count,
                             isa_arg_count((enum opcode)c->op));
    }
    return true;
}

struct sim *sim_new(struct arena *a, const struct program *p, const struct sim_options *options,
                    struct bpu_error *err)
{
    struct sim *s = ARENA_NEW(a, struct sim, err);
    if (!s)
        return NULL;
    s->arena = a;
    s->program = p;
    s->options = options ? *options : (struct sim_options){0};
    s->random = s->options.seed * 0x9E3779B97F4A7C15u | 1;
    arena_init(&s->scratch, a->quota);
    if (!arena_on_fini(a, free_scratch, &s->scratch, err))
        return NULL;
    if (p->cores < 1 || p->cores > MACHINE_MAX_CORES) {
        error_set(err, BPU_BAD_MODEL, p->name, "the program is for %d cores", p->cores);
        return NULL;
    }
    if (!instructions_fit(s, err) || !sim_memory_new(s, err) || !sim_lanes_new(s, err) ||
        (!s->options.unchecked && !sim_race_new(s, err)))
        return NULL;
    return s;
}

bool sim_frame(struct sim *s, const void *const *inputs, void *const *outputs,
               struct bpu_error *err)
{
    const struct program *p = s->program;
    s->checking = !s->options.unchecked && s->frames == 0;
    if (s->checking) {
        sim_memory_clear(s);
        sim_race_clear(s);
    }
    for (int i = 0; i < p->input_count; i++)
        if (!sim_input(s, &p->inputs[i], inputs[i], err))
            return false;
    sim_lanes_start(s);
    for (int i; (i = sim_lanes_next(s)) >= 0;) {
        struct arena_mark mark = arena_mark(&s->scratch);
        if (!execute(s, i, err))
            return false;
        arena_rewind(&s->scratch, mark);
        sim_lanes_done(s, i);
    }
    for (int i = 0; i < p->output_count; i++)
        if (!sim_output(s, &p->outputs[i], outputs[i], err))
            return false;
    s->frames++;
    return true;
}
