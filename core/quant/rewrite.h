/* rewrite: a new graph from an old one, node by node.
 *
 *   rewrite_begin → for each live node: rewrite_node, rewrite_outputs (or something else that fills
 *   the map) → rewrite_end
 * The old graph stays as it is.  Constants are shared, names and origins kept; folded nodes vanish,
 * and a value behind them takes the name of the graph output that it is. */
#ifndef BPU_QUANT_REWRITE_H
#define BPU_QUANT_REWRITE_H

#include "core/ir/graph.h"

struct rewrite {
    const struct graph *from;
    struct graph *to;
    struct arena *arena;
    struct bpu_error *err;
    struct value **source; /* by value index of `from`: rewrite_source() */
    struct value **map;   /* by value index of `from`: the new value, or NULL */
    bool *live;           /* by node index of `from`: an output depends on it */
    int *uses;            /* by value index: how many operands of live nodes read it */
    struct node **user;   /* by value index: the last of its readers */
    bool *leaves;         /* by value index: an output of the graph is this value */
    const char **name_of; /* by value index: name in the new graph, if not its own */
};

/* What an operand really is: looks through identities, biases and scales, not through batch norms,
 * and not through a QuantStub that changes the scale. NULL gives NULL. */
struct value *rewrite_source(const struct rewrite *r, const struct value *v);

bool rewrite_begin(struct rewrite *r, struct arena *a, const struct graph *from,
                   struct bpu_error *err) BPU_CHECKED;
/* The new value for old v (which need not be a source): constants and graph inputs are made when
 * first asked for; anything else must be in the map. */
struct value *rewrite_value(struct rewrite *r, struct value *v) BPU_CHECKED;
/* An unconnected copy of n: name, operator, origin, attributes. */
struct node *rewrite_begin_node(struct rewrite *r, const struct node *n) BPU_CHECKED;
/* A copy of n with operands and params, without outputs. */
struct node *rewrite_node(struct rewrite *r, const struct node *n) BPU_CHECKED;
/* New output of node n for the old value: name, shape, dtype and scale as it has them, in the map. */
struct value *rewrite_output(struct rewrite *r, struct node *n,
                             const struct value *old) BPU_CHECKED;
/* All outputs of old n onto its copy. */
bool rewrite_outputs(struct rewrite *r, struct node *copy, const struct node *n) BPU_CHECKED;
/* The graph's outputs; verified. */
bool rewrite_end(struct rewrite *r) BPU_CHECKED;

/* The graph's own numbers as float32, whatever type they have; NULL with *err set.  `v` must be a
 * known constant. */
float *rewrite_floats(struct arena *a, const struct value *v, struct bpu_error *err) BPU_CHECKED;

#endif
