/* march: a target as data. One data file per march (core/march/NAME.c), found by the Makefile's
 * wildcard: adding a march is adding a file.
 *
 * A file holds: names, general rules, default dtypes, and for each row of the two public operator
 * tables (torch, ONNX) a cell: supported or not, dtypes of inputs and outputs, limits.  The cells'
 * form and words are in limit.h, what a limit can be about in quantity.h. */
#ifndef BPU_MARCH_H
#define BPU_MARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/buf.h"
#include "core/base/error.h"

struct march;

/* Case-insensitive; NULL if there is none. */
const struct march *march_find(const char *name);
const char *march_name(const struct march *m);
/* All marches, in alphabetical order. */
const struct march *const *march_list(size_t *count);

/* What a user writes in eager mode instead of the functional form `op` (a row of the torch table), or
 * NULL: "horizon.nn.Exp". */
const char *march_eager_replacement(const char *op);

/* GET /v1/marches: {"items":[{"name","title","boards":[…]}]}; /v1/marches/{march}; …/ops (also `bpuhub ops --json`). m == NULL for ops: all marches. */
bool march_list_json(struct buf *out, struct bpu_error *err) BPU_CHECKED;
bool march_json(const struct march *m, struct buf *out, struct bpu_error *err) BPU_CHECKED;
bool march_ops_json(const struct march *m, struct buf *out, struct bpu_error *err) BPU_CHECKED;
/* The torch table's rows with their input dtypes, for a terminal. m == NULL: all marches. */
bool march_ops_text(const struct march *m, struct buf *out, struct bpu_error *err) BPU_CHECKED;

#endif
