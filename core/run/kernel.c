/* kernel: which functions a row of the operator table names. */
#include "core/run/kernel.h"

#include <string.h>

#include "core/ops/op.h"

#define POINTER_0(name) NULL
#define POINTER_1(name) name
#define X(name, has_real, has_fixed)                                                               \
    static const struct kernel kernel_##name = {#name, POINTER_##has_real(real_##name),            \
                                                POINTER_##has_fixed(fixed_##name)};
KERNEL_MAP(X)
#undef X

/* In the order of the operator table, which is also that of op_table(). */
#define OP(name, key, onnx, class, lo, hi, outs, set, rule, fold, kernel, also) &kernel_##kernel,
#define OPX(name, key, onnx, class, lo, hi, outs, set, rule, fold, kernel, also, ...)              \
    &kernel_##kernel,
static const struct kernel *const of_row[] = {
#include "core/ops/op_table.def"
};

const struct kernel *kernel_of(const struct node *n)
{
    size_t count;
    /* An importer's node whose parameters are data: its row says less than what it does. */
    if (node_bool(n, "undetermined", false))
        return &kernel_none;
    return n->op ? of_row[n->op - op_table(&count)] : &kernel_none;
}

bool kernel_is_fixed(const struct node *n)
{
    for (int i = 0; i < n->input_count; i++)
        if (n->inputs[i] && dtype_is_quantized(n->inputs[i]->dtype))
            return true;
    for (int i = 0; i < n->output_count; i++)
        if (dtype_is_quantized(n->outputs[i]->dtype))
            return true;
    return false;
}
