/* ONNX: bytes → skeleton → import → everything that is done with a graph.
 *
 * The mutator changes one field at some depth of the protobuf and writes the lengths around it
 * anew; bytes changed blindly hardly ever get past the first length. */
#include <stdlib.h>
#include <string.h>

#include "core/import/import.h"
#include "core/import/onnx_wire.h"
#include "tests/fuzz/fuzz.h"

/* A graph whose shapes depend on an option is tried with these. */
static const struct import_option onnx_options[] = {{"input.0", "1x3x16x16"},
                                                    {"input.1", "1x3x16x16"},
                                                    {"input.2", "2x8:qint8"},
                                                    {"input.3", "1x3x16x16"}};

static void onnx_skeleton(const uint8_t *data, size_t size)
{
    struct buf out;
    struct bpu_error err = {0};
    buf_init(&out, FUZZ_QUOTA);
    if (!onnx_wire_skeleton(data, size, &out, &err))
        fuzz_error(&err, "the skeleton");
    /* An empty raw_data of two bytes becomes a segment; nothing else grows as much. */
    FUZZ_REQUIRE(out.size <= 8 * size + 64, "%zu bytes became %zu", size, out.size);
    buf_fini(&out);
}

/* What the graph says, or the error; false: shapes are open. */
static bool onnx_import(const uint8_t *data, size_t size, size_t options, struct buf *out, bool use)
{
    struct arena arena;
    struct bpu_error err = {0};
    struct import_request req = {.data = data,
                                 .size = size,
                                 .name = "fuzz.onnx",
                                 .options = onnx_options,
                                 .option_count = options};
    arena_init(&arena, FUZZ_QUOTA);
    struct graph *g = import_onnx(&arena, &req, &err);
    fuzz_arena(&arena);
    buf_clear(out);
    if (!g) {
        fuzz_error(&err, "the import");
        buf_printf(out, "%s: %s (%s) %s", error_code_name(err.code), err.message, err.where,
                   err.hint);
    } else {
        struct bpu_error broken = {0};
        FUZZ_REQUIRE(graph_verify(g, &broken), "%s (%s)", broken.message, broken.where);
        graph_dump(g, out);
        if (use) {
            const struct check_options check = {.advice_us = 0};
            fuzz_graph(g, &check);
        }
    }
    arena_fini(&arena);
    return err.code != BPU_SHAPE_NEEDED;
}

FUZZ_TARGET(onnx)
{
    struct buf first, second;
    buf_init(&first, FUZZ_QUOTA);
    buf_init(&second, FUZZ_QUOTA);
    onnx_skeleton(data, size);
    size_t options = 0;
    while (!onnx_import(data, size, options, &first, true) && options < 4)
        options++;
    onnx_import(data, size, options, &second, false);
    fuzz_same(&first, &second, "the import twice");
    buf_fini(&first);
    buf_fini(&second);
    return 0;
}

#ifdef FUZZ_MAIN

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

struct field {
    size_t at, payload, end; /* tag, content, behind it */
    unsigned wire;
};

static size_t mutate_varint(const uint8_t *p, size_t n, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n && i < 10; i++) {
        *out |= (uint64_t)(p[i] & 0x7F) << (7 * i % 64);
        if (!(p[i] & 0x80))
            return i + 1;
    }
    return 0;
}

static size_t mutate_put_varint(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

static bool mutate_field(const uint8_t *p, size_t n, size_t at, struct field *f)
{
    uint64_t tag, length;
    size_t used = mutate_varint(p + at, n - at, &tag);
    if (used == 0 || tag >> 3 == 0 || tag >> 3 > 64)
        return false;
    *f = (struct field){.at = at, .payload = at + used, .wire = tag & 7};
    if (f->wire == 0)
        f->end = f->payload + mutate_varint(p + f->payload, n - f->payload, &length);
    else if (f->wire == 1)
        f->end = f->payload + 8;
    else if (f->wire == 5)
        f->end = f->payload + 4;
    else if (f->wire == 2) {
        used = mutate_varint(p + f->payload, n - f->payload, &length);
        if (used == 0 || length > n - f->payload - used)
            return false;
        f->payload += used;
        f->end = f->payload + length;
    } else
        return false;
    return f->end > f->at && f->end <= n && (f->wire == 2 || f->end > f->payload);
}

/* Picks one field with equal chance; false if p is no message. */
static bool mutate_pick(const uint8_t *p, size_t n, struct field *out)
{
    size_t at = 0, count = 0;
    struct field f;
    while (at < n) {
        if (!mutate_field(p, n, at, &f))
            return false;
        if (rand() % (int)++count == 0)
            *out = f;
        at = f.end;
    }
    return count > 0;
}

/* Writes p changed to out; its size, 0 if it does not fit. */
static size_t mutate_message(const uint8_t *p, size_t n, uint8_t *out, size_t max, int depth)
{
    static const int64_t numbers[] = {0, 1, 2, -1, -2, INT64_MAX, INT64_MIN, INT32_MAX, 1LL << 32};
    struct field f, other;
    if (max < n + 24 || !mutate_pick(p, n, &f))
        return 0;
    size_t size = f.end - f.at, used = f.at;
    memcpy(out, p, f.at);
    switch (rand() % 8) {
    case 0: break; /* left out */
    case 1:        /* twice */
        if (max < n + size)
            return 0;
        memcpy(out + used, p + f.at, size);
        memcpy(out + used + size, p + f.at, size);
        used += 2 * size;
        break;
    case 2: /* in another's place */
        if (!mutate_pick(p, n, &other) || max < n + (other.end - other.at))
            return 0;
        memcpy(out + used, p + other.at, other.end - other.at);
        used += other.end - other.at;
        break;
    default:
        memcpy(out + used, p + f.at,
               f.payload - f.at); /* the tag, and a length to be written over */
        if (f.wire != 2) {
            used += f.payload - f.at;
            if (f.wire == 0)
                used += mutate_put_varint(out + used, rand() % 4 ? (uint64_t)(rand() % 20)
                                                                 : (uint64_t)numbers[rand() % 9]);
            else {
                memcpy(out + used, p + f.payload, f.end - f.payload);
                LLVMFuzzerMutate(out + used, f.end - f.payload, f.end - f.payload);
                used += f.end - f.payload;
            }
            break;
        }
        uint64_t tag;
        used += mutate_varint(p + f.at, n - f.at, &tag);
        size_t room = max - n, length = 0, old = f.end - f.payload;
        uint8_t *inner = malloc(old + room);
        if (!inner)
            return 0;
        if (depth < 8 && rand() % 8)
            length = mutate_message(p + f.payload, old, inner, old + room - 16, depth + 1);
        if (length == 0) {
            memcpy(inner, p + f.payload, old);
            length = LLVMFuzzerMutate(inner, old, old + room - 16);
        }
        used += mutate_put_varint(out + used, length);
        memcpy(out + used, inner, length);
        used += length;
        free(inner);
    }
    memcpy(out + used, p + f.end, n - f.end);
    return used + (n - f.end);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    srand(seed);
    uint8_t *out = rand() % 8 ? malloc(max_size + 64) : NULL;
    size_t n = out && size + 64 < max_size ? mutate_message(data, size, out, max_size, 0) : 0;
    if (n > 0 && n <= max_size)
        memcpy(data, out, n);
    else
        n = LLVMFuzzerMutate(data, size, max_size);
    free(out);
    return n;
}

#endif
