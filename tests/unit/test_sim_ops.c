/* Instructions that move or compute element by element, by hand on the simulator: each result
 * element against its definition written once more, over random extents, blocks, types and scales.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/ops/binary.h"
#include "tests/unit/sim_asm.h"

enum { MOST = 4, TIMES = 200 };

/* Operands 1 … count of one instruction, with result 0. */
struct ops {
    struct asm_program a;
    int count;
    int dims[MOST][4]; /* n, h, w, c */
    enum dtype type[MOST];
    double scale[MOST];
    int32_t zero[MOST];
    unsigned char *data[MOST];
    bool host;
};

static void random_block(struct asm_program *a, int block[3])
{
    static const int all[][3] = {{1, 8, 4}, {1, 1, 32}, {1, 1, 1}, {2, 4, 4}, {2, 1, 8}};
    memcpy(block, all[asm_below(a, 5)], sizeof all[0]);
}

static int64_t elements(const struct ops *o, int t)
{
    return (int64_t)o->dims[t][0] * o->dims[t][1] * o->dims[t][2] * o->dims[t][3];
}

static void begin(struct ops *o, uint64_t start, int count)
{
    memset(o, 0, sizeof *o);
    asm_init(&o->a, start * 0x9E3779B97F4A7C15u + 1, 0);
    o->count = count;
    for (int i = 0; i < 4; i++)
        o->dims[0][i] = 1 + (int)asm_below(&o->a, i ? 9 : 2);
    for (int t = 0; t <= count; t++) {
        static const enum dtype types[] = {DT_QINT8, DT_QUINT8, DT_QINT16};
        o->type[t] = types[asm_below(&o->a, 3)];
        o->scale[t] = (double)(float)((1 + asm_below(&o->a, 1000)) / 5000.);
        o->zero[t] = asm_below(&o->a, 2) ? (int32_t)asm_below(&o->a, 100) : 0;
        for (int i = 0; i < 4; i++)
            o->dims[t][i] = t && asm_below(&o->a, 4) == 0 ? 1 : o->dims[0][i];
    }
}

/* Loads, the instruction, a store; the result is in data[0]. */
static void run(struct ops *o, enum opcode op, const int32_t *args)
{
    struct asm_program *a = &o->a;
    struct tile ddr[MOST], chip[MOST];
    const void *in[MOST];
    int block[3], last = -1;
    for (int t = o->count; t >= 0; t--) {
        struct shape s = shape_of(
            4, (const int64_t[]){o->dims[t][0], o->dims[t][1], o->dims[t][2], o->dims[t][3]});
        size_t bytes = (size_t)elements(o, t) * dtype_size(o->type[t]);
        random_block(a, block);
        ddr[t] =
            asm_io(a, t > 0, &s, true, o->type[t], o->scale[t], o->zero[t], IO_RAW, block)->tile;
        if (!o->data[t]) {
            o->data[t] = arena_alloc(&a->arena, bytes + 1, &a->err);
            assert_non_null(o->data[t]);
            for (size_t i = 0; t && i < bytes; i++)
                o->data[t][i] = (unsigned char)asm_below(a, o->type[t] == DT_QBOOL ? 2 : 256);
        }
        if (t)
            in[o->count - t] = o->data[t];
        if (o->host)
            continue;
        random_block(a, block);
        chip[t] = asm_map(a, SPACE_SRAM, block, o->dims[t][0], o->dims[t][1], o->dims[t][2],
                          o->dims[t][3], o->type[t], o->scale[t], o->zero[t], 0);
        if (t)
            last = asm_add(a, OP_LOAD, ASM_TILES(chip[t], ddr[t]), 2, NULL, NULL);
    }
    if (o->host) {
        asm_add_on(a, op, ENGINE_HOST, 0, ddr, o->count + 1, args, NULL);
    } else {
        last = asm_add(a, op, chip, o->count + 1, args, ASM_AFTER(last));
        asm_add(a, OP_STORE, ASM_TILES(ddr[0], chip[0]), 2, NULL, ASM_AFTER(last));
    }
    if (!asm_run(a, in, (void *[]){o->data[0]}, SIM_RANDOM))
        fail_msg("%s: %s", a->err.where, a->err.message);
}

/* Element of operand t for the place of result element i, repeated along extents of 1. */
static int64_t place(const struct ops *o, int t, int64_t i)
{
    int64_t at[4], out = 0;
    for (int d = 3; d >= 0; d--) {
        at[d] = i % o->dims[0][d];
        i /= o->dims[0][d];
    }
    for (int d = 0; d < 4; d++)
        out = out * o->dims[t][d] + (o->dims[t][d] == 1 ? 0 : at[d]);
    return out;
}

static int64_t stored(const struct ops *o, int t, int64_t i)
{
    const unsigned char *p = o->data[t];
    int16_t v;
    switch (o->type[t]) {
    case DT_QINT8: return (signed char)p[i];
    case DT_QINT16: memcpy(&v, p + 2 * i, 2); return v;
    default: return p[i];
    }
}

static double real(const struct ops *o, int t, int64_t i)
{
    float v;
    if (o->type[t] == DT_FLOAT32) {
        memcpy(&v, o->data[t] + 4 * i, 4);
        return (double)v;
    }
    int64_t q = stored(o, t, i);
    return o->scale[t] > 0 ? (double)(q - o->zero[t]) * o->scale[t] : (double)q;
}

static int64_t low(enum dtype t)
{
    return t == DT_QINT8 ? -128 : t == DT_QINT16 ? -32768 : 0;
}
static int64_t high(enum dtype t)
{
    return t == DT_QBOOL ? 1 : t == DT_QINT8 ? 127 : t == DT_QINT16 ? 32767 : 255;
}
static int64_t clip(double v, enum dtype t)
{
    return isnan(v) ? 0 : v < (double)low(t) ? low(t) : v > (double)high(t) ? high(t) : (int64_t)v;
}
static int64_t quantized(const struct ops *o, double v)
{
    return clip(nearbyint(v / o->scale[0]) + o->zero[0], o->type[0]);
}
static int64_t rescaled(const struct ops *o, int t, int64_t q)
{
    if (o->scale[t] == o->scale[0] && o->zero[t] == o->zero[0])
        return clip((double)q, o->type[0]);
    float v = (float)o->scale[t] * (float)(q - o->zero[t]), r = 1.0f / (float)o->scale[0];
    return clip((double)(nearbyintf(v * r) + (float)o->zero[0]), o->type[0]);
}

#define EACH_RESULT(o, i, want, ...)                                                               \
    for (int64_t i = 0; i < elements(o, 0); i++) {                                                 \
        int64_t want = 0;                                                                          \
        __VA_ARGS__                                                                                \
        if (stored(o, 0, i) != want)                                                               \
            fail_msg("start %d: element %d is %d, not %d", start, (int)(i), (int)stored(o, 0, i),  \
                     (int)want);                                                                   \
    }

static void test_binary(void **state)
{
    (void)state;
    for (int start = 0; start < TIMES * 3; start++) {
        struct ops ops, *o = &ops;
        int32_t args[BINARY_ARGS_COUNT];
        enum binary code = B_AND;
        begin(o, (uint64_t)start, 2);
        while (binary_is_bitwise(code))
            code = (enum binary)asm_below(&o->a, B_NONE);
        if (binary_is_truth(code)) {
            o->type[0] = DT_QBOOL;
            o->scale[0] = 0;
            o->zero[0] = 0;
        }
        args[BINARY_CODE] = (int32_t)code;
        args_set_real(args + BINARY_SCALAR_LO, 0);
        args[BINARY_LOW] = (int32_t)low(o->type[0]);
        args[BINARY_HIGH] = (int32_t)high(o->type[0]);
        run(o, OP_BINARY, args);
        EACH_RESULT(o, i, want, {
            int64_t a = place(o, 1, i);
            int64_t b = place(o, 2, i);
            if (binary_is_truth(code))
                want =
                    binary_apply(
                        code, (double)((float)o->scale[1] * (float)(stored(o, 1, a) - o->zero[1])),
                        (double)((float)o->scale[2] * (float)(stored(o, 2, b) - o->zero[2]))) != 0;
            else if (code == B_MAX)
                want = rescaled(o, 1, stored(o, 1, a)) > rescaled(o, 2, stored(o, 2, b))
                           ? rescaled(o, 1, stored(o, 1, a))
                           : rescaled(o, 2, stored(o, 2, b));
            else if (code == B_MIN)
                want = rescaled(o, 1, stored(o, 1, a)) < rescaled(o, 2, stored(o, 2, b))
                           ? rescaled(o, 1, stored(o, 1, a))
                           : rescaled(o, 2, stored(o, 2, b));
            else
                want = quantized(o, binary_apply(code, real(o, 1, a), real(o, 2, b)));
        })
        asm_fini(&o->a);
    }
}

static void test_add_and_mul(void **state)
{
    (void)state;
    for (int start = 0; start < TIMES; start++) {
        struct ops ops, *o = &ops;
        begin(o, (uint64_t)start + 5000, 2);
        int32_t lo = (int32_t)low(o->type[0]) + 5, hi = (int32_t)high(o->type[0]) - 7;
        int32_t ma = (int32_t)asm_below(&o->a, 1 << 22) - (1 << 21),
                mb = (int32_t)asm_below(&o->a, 1 << 22);
        int shift = 1 + (int)asm_below(&o->a, 30);
        bool add = asm_below(&o->a, 2), exact = asm_below(&o->a, 2);
        if (!add) {
            ma = (1 << 30) + (int32_t)asm_below(&o->a, 1 << 30);
            shift = 28 + (int)asm_below(&o->a, 20);
            if (!exact)
                ma = ma / 128 * 128; /* 24 bits */
        }
        run(o, add ? OP_ADD : OP_MUL,
            add ? (const int32_t[]){ma, mb, shift, lo, hi}
                : (const int32_t[]){ma, shift, exact, lo, hi});
        EACH_RESULT(o, i, want, {
            int64_t a = stored(o, 1, place(o, 1, i)) - o->zero[1];
            int64_t b = stored(o, 2, place(o, 2, i)) - o->zero[2];
            if (add) { /* ties away from zero */
                int64_t sum = (int64_t)a * ma + (int64_t)b * mb;
                int64_t size = sum < 0 ? -sum : sum;
                size = (size + ((int64_t)1 << (shift - 1))) >> shift;
                want = (int64_t)(sum < 0 ? -size : size);
            } else {
                int64_t p = a * b;
                p = p > INT32_MAX ? INT32_MAX : p < INT32_MIN ? INT32_MIN : p;
                if (exact) {
                    int64_t v = (int64_t)p * ma;
                    int64_t whole = v >> shift;
                    int64_t twice = (v - whole * ((int64_t)1 << shift)) * 2;
                    int64_t one = (int64_t)1 << shift;
                    want = (int64_t)(whole + (twice > one || (twice == one && (whole & 1))));
                } else {
                    want = (int64_t)nearbyintf((float)p * (float)ldexp(ma, -shift));
                }
            }
            want += o->zero[0];
            want = want < lo ? lo : want > hi ? hi : want;
        })
        asm_fini(&o->a);
    }
}

static void test_select(void **state)
{
    (void)state;
    for (int start = 0; start < TIMES; start++) {
        struct ops ops, *o = &ops;
        int32_t args[SELECT_ARGS_COUNT] = {0};
        begin(o, (uint64_t)start + 9000, 3);
        o->type[1] = DT_QBOOL;
        o->scale[1] = 0;
        o->zero[1] = 0;
        if (start % 2) { /* bytes as they are */
            o->type[2] = o->type[0];
            o->scale[2] = o->scale[0];
            o->zero[2] = o->zero[0];
        }
        run(o, OP_SELECT, args);
        EACH_RESULT(o, i, want, {
            int t = stored(o, 1, place(o, 1, i)) ? 2 : 3;
            bool same =
                o->type[t] == o->type[0] && o->scale[t] == o->scale[0] && o->zero[t] == o->zero[0];
            want = same ? stored(o, t, place(o, t, i)) : quantized(o, real(o, t, place(o, t, i)));
        })
        asm_fini(&o->a);
    }
}

static void test_clamp_and_prelu(void **state)
{
    (void)state;
    for (int start = 0; start < TIMES; start++) {
        struct ops ops, *o = &ops;
        bool clamp = start % 2;
        begin(o, (uint64_t)start + 13000, clamp ? 1 : 2);
        run(o, clamp ? OP_CLAMP : OP_PRELU, (const int32_t[]){3, 90});
        EACH_RESULT(o, i, want, {
            int64_t q = stored(o, 1, place(o, 1, i));
            if (clamp) {
                want = rescaled(o, 1, q < 3 ? 3 : q > 90 ? 90 : q);
            } else {
                double x = real(o, 1, place(o, 1, i));
                double slope = real(o, 2, place(o, 2, i));
                want = quantized(o, x < 0 ? slope * x : x);
            }
        })
        asm_fini(&o->a);
    }
}

/* Nested loops over two axes each, with negative and zero steps; what they leave out was filled
 * before. */
static void test_copy(void **state)
{
    (void)state;
    for (int start = 0; start < TIMES; start++) {
        struct ops ops, *o = &ops;
        int32_t args[COPY_ARGS_COUNT] = {0};
        begin(o, (uint64_t)start + 17000, 1);
        memcpy(o->dims[1], o->dims[0], sizeof o->dims[0]);
        args[COPY_RULE] = (int32_t)asm_below(&o->a, 3);
        if (args[COPY_RULE] == 0)
            o->type[1] = o->type[0];
        args[COPY_LOOPS] = 4;
        int axis[4] = {0, 1, 2, 3}, flip[4], repeat = (int)asm_below(&o->a, 8);
        for (int i = 0; i < 4; i++) {
            int k = i + (int)asm_below(&o->a, (uint32_t)(4 - i)), swap = axis[i];
            axis[i] = axis[k];
            axis[k] = swap;
        }
        for (int i = 0; i < 4; i++) {
            int32_t *l = args + COPY_LOOP(i);
            flip[axis[i]] = asm_below(&o->a, 3) == 0;
            l[COPY_EXTENT] = o->dims[0][axis[i]];
            l[COPY_Y_AXIS] = l[COPY_X_AXIS] = axis[i];
            l[COPY_Y_STEP] = 1;
            l[COPY_X_STEP] = axis[i] == repeat ? 0 : flip[axis[i]] ? -1 : 1;
        }
        run(o, OP_COPY, args);
        EACH_RESULT(o, i, want, {
            int64_t at[4];
            int64_t rest = i;
            int64_t from = 0;
            for (int d = 3; d >= 0; d--) {
                at[d] = rest % o->dims[0][d];
                rest /= o->dims[0][d];
            }
            for (int d = 0; d < 4; d++)
                from = from * o->dims[0][d] + (d == repeat ? 0
                                               : flip[d]   ? o->dims[0][d] - 1 - at[d]
                                                           : at[d]);
            int64_t q = stored(o, 1, from);
            want = args[COPY_RULE] == 0   ? q
                   : args[COPY_RULE] == 1 ? rescaled(o, 1, q)
                                          : quantized(o, real(o, 1, from));
        })
        asm_fini(&o->a);
    }
}

/* A copy that skips elements has not written them. */
static void test_copy_with_holes(void **state)
{
    (void)state;
    struct ops ops, *o = &ops;
    int32_t args[COPY_ARGS_COUNT] = {0, 1, 2, 3, 2, 3, 1};
    const void *in[1];
    begin(o, 1, 1);
    struct asm_program *a = &o->a;
    struct shape s = shape_of(1, (const int64_t[]){4});
    unsigned char x[4] = {1, 2, 3, 4}, y[4];
    struct tile from = asm_io(a, true, &s, true, DT_QINT8, 1, 0, IO_NHWC, NULL)->tile;
    struct tile to = asm_io(a, false, &s, true, DT_QINT8, 1, 0, IO_NHWC, NULL)->tile;
    struct tile xc = asm_map(a, SPACE_SRAM, (const int[]){1, 1, 4}, 1, 1, 1, 4, DT_QINT8, 1, 0, 0),
                yc = xc;
    yc.base += 64;
    a->p.sram_bytes += 64;
    int load = asm_add(a, OP_LOAD, ASM_TILES(xc, from), 2, NULL, NULL);
    int copy = asm_add(a, OP_COPY, ASM_TILES(yc, xc), 2, args, ASM_AFTER(load));
    asm_add(a, OP_STORE, ASM_TILES(to, yc), 2, NULL, ASM_AFTER(copy));
    in[0] = x;
    assert_false(asm_run(a, in, (void *[]){y}, SIM_LIST));
    assert_non_null(strstr(a->err.message, "nothing has written it"));
    a->p.code_count = 1; /* the same behind a FILL */
    int fill = asm_add(a, OP_FILL, ASM_TILES(yc), 1, (const int32_t[]){9}, NULL);
    copy = asm_add(a, OP_COPY, ASM_TILES(yc, xc), 2, args, ASM_AFTER(load, fill));
    asm_add(a, OP_STORE, ASM_TILES(to, yc), 2, NULL, ASM_AFTER(copy));
    if (!asm_run(a, in, (void *[]){y}, SIM_LIST))
        fail_msg("%s", a->err.message);
    assert_memory_equal(y, ((unsigned char[]){1, 9, 2, 9}), 4);
    asm_fini(a);
}

/* On the CPU, whose maps lie in DDR. */
static void test_host(void **state)
{
    (void)state;
    for (int start = 0; start < TIMES; start++) {
        struct ops ops, *o = &ops;
        bool divides = start % 2;
        begin(o, (uint64_t)start + 21000, 1);
        o->host = true;
        memcpy(o->dims[1], o->dims[0], sizeof o->dims[0]);
        o->type[1] = DT_FLOAT32;
        float *x = arena_alloc(&o->a.arena, (size_t)elements(o, 0) * 4, &o->a.err);
        assert_non_null(x);
        for (int64_t i = 0; i < elements(o, 0); i++)
            x[i] = ((float)asm_below(&o->a, 20000) - 10000) / 700;
        o->data[1] = (unsigned char *)x;
        run(o, OP_QUANTIZE, (const int32_t[]){divides});
        EACH_RESULT(o, i, want, {
            float q = divides ? x[i] / (float)o->scale[0] : x[i] * (1.0f / (float)o->scale[0]);
            want = clip((double)nearbyintf(q) + o->zero[0], o->type[0]);
        })
        asm_fini(&o->a);
        begin(o, (uint64_t)start + 25000, 1);
        o->host = true;
        memcpy(o->dims[1], o->dims[0], sizeof o->dims[0]);
        o->type[0] = DT_FLOAT32;
        run(o, OP_DEQUANTIZE, NULL);
        for (int64_t i = 0; i < elements(o, 0); i++) {
            float v, want = (float)o->scale[1] * (float)(stored(o, 1, i) - o->zero[1]);
            memcpy(&v, o->data[0] + 4 * i, 4);
            assert_true(v == want);
        }
        asm_fini(&o->a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_binary), cmocka_unit_test(test_add_and_mul),
        cmocka_unit_test(test_select), cmocka_unit_test(test_clamp_and_prelu),
        cmocka_unit_test(test_copy),   cmocka_unit_test(test_copy_with_holes),
        cmocka_unit_test(test_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
