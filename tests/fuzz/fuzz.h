/* fuzz: what the fuzz targets share.
 *
 * A target is one file target_NAME.c with one FUZZ_TARGET(NAME) that takes bytes and states, by
 * FUZZ_REQUIRE, what must hold whatever they are.  `make fuzz` links each with libFuzzer;
 * tests/unit/test_fuzz_corpus.c holds all of them and runs tests/fuzz/corpus/NAME in `make test`.
 */
#ifndef BPU_FUZZ_FUZZ_H
#define BPU_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/check/check.h"
#include "core/import/import.h"
#include "core/ir/graph.h"

#ifdef FUZZ_MAIN
#define FUZZ_FUNCTION(name) LLVMFuzzerTestOneInput
#else
#define FUZZ_FUNCTION(name) fuzz_##name
#endif
#define FUZZ_TARGET(name)                                                                          \
    int FUZZ_FUNCTION(name)(const uint8_t *data, size_t size);                                     \
    int FUZZ_FUNCTION(name)(const uint8_t *data, size_t size)

/* Small enough that a runaway is found at once, large enough for every seed. */
#define FUZZ_QUOTA ((size_t)64 << 20)

#define FUZZ_REQUIRE(cond, ...)                                                                    \
    do {                                                                                           \
        if (!(cond))                                                                               \
            fuzz_fail(__FILE__, __LINE__, #cond, __VA_ARGS__);                                     \
    } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *cond, const char *fmt, ...)
    BPU_PRINTF(4, 5);

/* ── bytes as a source of decisions; after the end everything is 0 ── */
struct fuzz_in {
    const uint8_t *data;
    size_t size;
};
unsigned fuzz_byte(struct fuzz_in *in);
/* 0..n-1; n at most 65536 */
size_t fuzz_below(struct fuzz_in *in, size_t n);
/* Mostly small, sometimes at the ends of the types. */
int64_t fuzz_number(struct fuzz_in *in);
double fuzz_real(struct fuzz_in *in);
/* A short text; any byte but NUL. */
const char *fuzz_text(struct fuzz_in *in, char out[64]);

/* ── what must hold ── */
/* A failure says what happened, in valid UTF-8, and is no "internal" error. */
void fuzz_error(const struct bpu_error *err, const char *what);
/* As fuzz_error, but the limits on memory and size are fine where nothing else may go wrong. */
void fuzz_limit(const struct bpu_error *err, const char *what);
void fuzz_arena(const struct arena *a);
void fuzz_utf8(const char *s, size_t n, const char *what);
void fuzz_json(const struct buf *text, const char *what);
/* Well-formed XML with one root. */
void fuzz_xml(const struct buf *text, const char *what);
void fuzz_same(const struct buf *a, const struct buf *b, const char *what);

/* Everything that is done with a verified graph: the text form, both marches with all reports, the
 * drawing, the graph JSON, which must read back with the same findings. */
void fuzz_graph(struct graph *g, const struct check_options *options);
/* An archive imported, and all that. */
void fuzz_archive(const uint8_t *data, size_t size, const struct import_option *options,
                  size_t option_count);

#endif
