/* kernel_case: a node in a graph of its own, with tensors to call its kernel on. Include it after
 * cmocka.h. */
#ifndef BPU_UNIT_KERNEL_CASE_H
#define BPU_UNIT_KERNEL_CASE_H

#include <stdlib.h>

#include "core/ops/op.h"
#include "core/run/fast.h"

#define KERNEL_CASE_MAX 16

struct kernel_case {
    struct arena arena, scratch;
    struct graph *graph;
    struct node *node;
    struct tensor in_tensors[KERNEL_CASE_MAX], param_tensors[KERNEL_CASE_MAX],
        out_tensors[KERNEL_CASE_MAX];
    const struct tensor *in[KERNEL_CASE_MAX], *params[KERNEL_CASE_MAX];
    struct tensor *out[KERNEL_CASE_MAX];
    struct kernel_call call;
    struct bpu_error err;
};

static inline void kernel_case_init(struct kernel_case *k, const char *op)
{
    memset(k, 0, sizeof *k);
    arena_init(&k->arena, (size_t)1 << 30);
    arena_init(&k->scratch, (size_t)1 << 30);
    k->graph = graph_new(&k->arena, "test", "graph-json", &k->err);
    assert_non_null(k->graph);
    k->node = graph_add_node(k->graph, "node", op, &k->err);
    assert_non_null(k->node);
    assert_true(op_bind(k->node));
}

static inline void kernel_case_fini(struct kernel_case *k)
{
    arena_fini(&k->scratch);
    arena_fini(&k->arena);
}

/* Memory of its own for every tensor, so that a sanitizer sees what lies beside it. */
static inline void kernel_case_tensor(struct kernel_case *k, const struct value *v,
                                      struct tensor *t)
{
    int64_t count = shape_elements(&v->shape);
    assert_true(count >= 0 && v->dtype != DT_UNKNOWN);
    t->shape = v->shape;
    t->dtype = v->dtype;
    t->quant = v->quant;
    t->bytes = (size_t)count * dtype_size(v->dtype);
    if (posix_memalign(&t->data, 64, t->bytes ? t->bytes : 1) != 0)
        fail();
    memset(t->data, 0, t->bytes);
    if (v->constant && v->constant->data)
        memcpy(t->data, v->constant->data, t->bytes);
    assert_true(arena_on_fini(&k->arena, free, t->data, &k->err));
}

/* After the node is applied: tensors for all its values, and the call. */
static inline void kernel_case_tensors(struct kernel_case *k)
{
    struct node *n = k->node;
    assert_true(n->input_count <= KERNEL_CASE_MAX && n->param_count <= KERNEL_CASE_MAX &&
                n->output_count <= KERNEL_CASE_MAX);
    for (int i = 0; i < n->input_count; i++)
        if (n->inputs[i]) {
            kernel_case_tensor(k, n->inputs[i], &k->in_tensors[i]);
            k->in[i] = &k->in_tensors[i];
        }
    for (int i = 0; i < n->param_count; i++) {
        kernel_case_tensor(k, n->params[i].value, &k->param_tensors[i]);
        k->params[i] = &k->param_tensors[i];
    }
    for (int i = 0; i < n->output_count; i++) {
        kernel_case_tensor(k, n->outputs[i], &k->out_tensors[i]);
        k->out[i] = &k->out_tensors[i];
    }
    k->call = (struct kernel_call){.node = n,
                                   .in = k->in,
                                   .in_count = n->input_count,
                                   .params = k->params,
                                   .out = k->out,
                                   .out_count = n->output_count,
                                   .scratch = &k->scratch};
}

#endif
