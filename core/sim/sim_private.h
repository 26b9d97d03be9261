/* sim_private: what the functions of the instructions see.
 *
 * One function per row of isa.def: bool sim_NAME(struct sim_call *c, struct bpu_error *err), NAME the
 * row's id (sim_CONV).  The caller has already checked that every tile lies in memory that
 * this engine may use, that what is read was written, that nobody else may write it meanwhile, and
 * that all extents are positive.  What is left to the function: that extents and types fit
 * together, and that arguments make sense: sim_bad() says what does not.
 *
 * Tiles are numbered as in the row; one that was left out has n 0.  Element (i, j, k, l) of tile t
 * lies at the sum of three offsets, of which tables are made before the call:
 *
 *   memory[t] + rows[t][i * h + j] + columns[t][k] + channels[t][l]
 *
 * Operands called "weights" or "table" have no tables: sim_bytes() gives them as they lie. */
#ifndef BPU_SIM_SIM_PRIVATE_H
#define BPU_SIM_SIM_PRIVATE_H

#include <string.h>

#include "core/run/arith.h"
#include "core/sim/sim.h"

struct sim_call {
    const struct instruction *instruction;
    const struct tile *tiles;
    const int32_t *args;
    int tile_count, arg_count;
    struct arena *scratch; /* rewound after the call */
    unsigned char *memory[PROGRAM_MAX_TILES];
    const int64_t *rows[PROGRAM_MAX_TILES], *columns[PROGRAM_MAX_TILES],
        *channels[PROGRAM_MAX_TILES];
    int64_t first[PROGRAM_MAX_TILES];      /* address of the first byte */
    int64_t contiguous[PROGRAM_MAX_TILES]; /* bytes, if all of the box is one run; else 0 */
    /* Set by a function that may leave elements of y unwritten: 1 for each element that it wrote,
     * in the order of i, j, k, l.  NULL: all of them. */
    unsigned char *wrote;
};

typedef bool sim_fn(struct sim_call *c, struct bpu_error *err);
#define ISA(id, name, engine, writes, tiles, args, text) sim_fn sim_##id;
#include "core/program/isa.def"
#undef ISA

/* BPU_BAD_MODEL: the instruction's operands do not fit together. False. */
bool sim_bad(const struct sim_call *c, struct bpu_error *err, const char *fmt, ...)
    BPU_PRINTF(3, 4);

static inline bool sim_given(const struct sim_call *c, int t)
{
    return t < c->tile_count && c->tiles[t].n > 0;
}
/* Extent 1 of an operand is repeated: index x of an axis of `extent`. */
static inline int64_t sim_repeat(int32_t extent, int64_t x)
{
    return extent == 1 ? 0 : x;
}
/* True if tile t has y's extents, or 1 where it is repeated. */
bool sim_repeats(const struct sim_call *c, int y, int t);
/* True if both have the same n, h, w, c. */
bool sim_same_extents(const struct tile *a, const struct tile *b);
/* A double in two arguments: NAME_lo, NAME_hi. */
static inline double sim_double(const struct sim_call *c, int lo)
{
    uint64_t bits = (uint32_t)c->args[lo] | (uint64_t)(uint32_t)c->args[lo + 1] << 32;
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
/* Lowest and highest stored integer of a type of integers. */
void sim_range(enum dtype t, int64_t *lo, int64_t *hi);
/* Bytes of an operand of plain bytes ("weights", "table"); NULL with *err set if the tile is not contiguous. */
const unsigned char *sim_bytes(const struct sim_call *c, int t, int64_t *size,
                               struct bpu_error *err);

/* ── elements ── */

static inline unsigned char *sim_at(const struct sim_call *c, int t, int64_t i, int64_t j,
                                    int64_t k, int64_t l)
{
    return c->memory[t] + c->rows[t][i * c->tiles[t].h + j] + c->columns[t][k] +
           c->channels[t][l];
}

/* The stored integer at p; floats are truncated. */
static inline int64_t sim_load(const unsigned char *p, enum dtype t)
{
    switch (t) {
    case DT_QINT8:
    case DT_INT8: return (signed char)*p;
    case DT_QUINT8:
    case DT_QBOOL:
    case DT_BOOL:
    case DT_UINT8: return *p;
    case DT_QINT16:
    case DT_INT16: {
        int16_t v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    case DT_UINT16: {
        uint16_t v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    case DT_QINT32:
    case DT_INT32: {
        int32_t v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    case DT_UINT32: {
        uint32_t v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    case DT_INT64:
    case DT_UINT64: {
        int64_t v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    case DT_FLOAT32: {
        float v;
        memcpy(&v, p, sizeof v);
        return fabsf(v) < 4.6e18f ? (int64_t)v : 0;
    }
    default: return 0;
    }
}
/* Stores the low bytes of v. */
static inline void sim_save(unsigned char *p, enum dtype t, int64_t v)
{
    switch (t) {
    case DT_QINT16:
    case DT_INT16:
    case DT_UINT16: {
        uint16_t u = (uint16_t)v;
        memcpy(p, &u, sizeof u);
        break;
    }
    case DT_QINT32:
    case DT_INT32:
    case DT_UINT32: {
        uint32_t u = (uint32_t)v;
        memcpy(p, &u, sizeof u);
        break;
    }
    case DT_INT64:
    case DT_UINT64: memcpy(p, &v, sizeof v); break;
    case DT_FLOAT32: {
        float f = (float)v;
        memcpy(p, &f, sizeof f);
        break;
    }
    default: *p = (unsigned char)v;
    }
}

static inline int64_t sim_get(const struct sim_call *c, int t, int64_t i, int64_t j, int64_t k,
                              int64_t l)
{
    return sim_load(sim_at(c, t, i, j, k, l), (enum dtype)c->tiles[t].dtype);
}
static inline void sim_put(struct sim_call *c, int t, int64_t i, int64_t j, int64_t k, int64_t l,
                           int64_t v)
{
    sim_save(sim_at(c, t, i, j, k, l), (enum dtype)c->tiles[t].dtype, v);
}

/* What a stored integer of this tile stands for, in binary64: (q - zero) * scale; q itself where
 * there is no scale; floats as they are. */
static inline double sim_load_real(const unsigned char *p, const struct tile *t)
{
    if (t->dtype == DT_FLOAT32) {
        float v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    if (t->dtype == DT_FLOAT64) {
        double v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    int64_t q = sim_load(p, (enum dtype)t->dtype);
    return t->scale != 0 ? (double)(q - t->zero) * t->scale : (double)q;
}
/* The stored integer for a real number: clamp(zero + round(v / scale)), NaN becomes 0; without a
 * scale: the integer part, saturated; qbool: 0 or 1. */
int64_t sim_quantize(const struct tile *t, double v);
static inline double sim_real(const struct sim_call *c, int t, int64_t i, int64_t j, int64_t k,
                              int64_t l)
{
    return sim_load_real(sim_at(c, t, i, j, k, l), &c->tiles[t]);
}
static inline void sim_put_real(struct sim_call *c, int t, int64_t i, int64_t j, int64_t k,
                                int64_t l, double v)
{
    unsigned char *p = sim_at(c, t, i, j, k, l);
    const struct tile *y = &c->tiles[t];
    if (y->dtype == DT_FLOAT32) {
        float f = (float)v;
        memcpy(p, &f, sizeof f);
    } else if (y->dtype == DT_FLOAT64) {
        memcpy(p, &v, sizeof v);
    } else {
        sim_save(p, (enum dtype)y->dtype, sim_quantize(y, v));
    }
}

/* Rescaling, docs/arithmetic.md: unchanged if scale and zero point are equal, else by binary32. */
struct sim_rescale {
    bool same;
    float scale, reciprocal;
    int32_t zero_x, zero_y;
    int64_t lo, hi;
};
struct sim_rescale sim_rescale_of(const struct tile *x, const struct tile *y);
static inline int64_t sim_rescale(const struct sim_rescale *r, int64_t q)
{
    if (r->same)
        return q < r->lo ? r->lo : q > r->hi ? r->hi : q;
    return arith_quantize_binary32(r->scale * (float)(q - r->zero_x), r->reciprocal, r->zero_y,
                                   (int32_t)r->lo, (int32_t)r->hi);
}

/* ── whole rows ── */

/* How many channels from l on lie side by side in tile t: to the end of the block, or of the box where
 * blocks follow each other. */
int64_t sim_side_by_side(const struct sim_call *c, int t, int64_t l);
/* All channels of one position as stored integers, without the zero point. */
void sim_get_channels(const struct sim_call *c, int t, int64_t i, int64_t j, int64_t k,
                      int64_t first, int64_t count, int32_t *out);
/* All channels of one position, from stored integers that fit the type. */
void sim_put_channels(struct sim_call *c, int t, int64_t i, int64_t j, int64_t k, int64_t first,
                      int64_t count, const int32_t *in);

#endif
