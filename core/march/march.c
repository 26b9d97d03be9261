/* The list of marches and the words that their data is written in.
 *
 * march_list.h is made by the Makefile from the MARCH_DEFINE lines of the data files, so that a new
 * march is one new file. */
#include "core/march/march.h"

#include <string.h>
#include <strings.h>

#include "core/march/limit.h"
#include "march_list.h" /* #define MARCH_LIST(X) X(bayes) X(bernoulli2) … */

#define X(id) extern const struct march march_##id;
MARCH_LIST(X)
#undef X

static const struct march *const marches[] = {
#define X(id) &march_##id,
    MARCH_LIST(X)
#undef X
};

const struct quantity_row quantity_rows[Q_COUNT] = {
#define X(id, fn, name, kind, scope, what, todo) [Q_##id] = {name, what, todo, K_##kind, S_##scope},
    QUANTITY_MAP(X)
#undef X
};

const struct condition_row condition_rows[WHEN_COUNT] = {[WHEN_ALWAYS] = {NULL, ""},
#define X(id, fn, json, words) [WHEN_##id] = {json, words},
                                                         CONDITION_MAP(X)
#undef X
};

const char *const relation_formulas[R_COUNT] = {
#define X(id, fn, formula) [R_##id] = formula,
    RELATION_MAP(X)
#undef X
};

const char *const operand_names[OPERAND_COUNT] = {
#define X(id, name, words) [OPERAND_##id] = name,
    OPERAND_MAP(X)
#undef X
};

const char *const operand_words[OPERAND_COUNT] = {
#define X(id, name, words) [OPERAND_##id] = words,
    OPERAND_MAP(X)
#undef X
};

const struct march *const *march_list(size_t *count)
{
    *count = sizeof(marches) / sizeof(marches[0]);
    return marches;
}

const struct march *march_find(const char *name)
{
    for (size_t i = 0; name && i < sizeof(marches) / sizeof(marches[0]); i++) {
        if (strcasecmp(marches[i]->name, name) == 0)
            return marches[i];
    }
    return NULL;
}

const char *march_name(const struct march *m)
{
    return m->name;
}

/* The eager-mode replacement of a functional form: what a user writes instead, so that quantization
 * has a module to attach its scales to. */
static const struct {
    const char *op, *replacement;
} eager[] = {
#define FUNCTIONAL "horizon.nn.quantized.FloatFunctional"
#define FUNCTIONAL_BOTH "torch.nn.quantized.FloatFunctional or horizon.nn.quantized.FloatFunctional"
    {"torch.acos", "horizon.nn.Acos"},
    {"torch.acosh", "horizon.nn.Acosh"},
    {"torch.add", FUNCTIONAL_BOTH},
    {"torch.asin", "horizon.nn.Asin"},
    {"torch.asinh", "horizon.nn.Asinh"},
    {"torch.atan", "horizon.nn.Atan"},
    {"torch.atanh", "horizon.nn.Atanh"},
    {"torch.cat", FUNCTIONAL_BOTH},
    {"torch.ceil", "horizon.nn.Ceil"},
    {"torch.cos", "horizon.nn.Cos"},
    {"torch.cosh", "horizon.nn.Cosh"},
    {"torch.div", "horizon.nn.Div"},
    {"torch.erf", "horizon.nn.Erf"},
    {"torch.exp", "horizon.nn.Exp"},
    {"torch.floor", "horizon.nn.Floor"},
    {"torch.log", "horizon.nn.HardLog"},
    {"torch.matmul", FUNCTIONAL},
    {"torch.maximum", FUNCTIONAL},
    {"torch.mean", FUNCTIONAL},
    {"torch.minimum", FUNCTIONAL},
    {"torch.mul", FUNCTIONAL_BOTH},
    {"torch.pow", "horizon.nn.Pow"},
    {"torch.reciprocal", "horizon.nn.Reciprocal"},
    {"torch.selu", "horizon.nn.Selu"},
    {"torch.sin", "horizon.nn.Sin"},
    {"torch.sinh", "horizon.nn.Sinh"},
    {"torch.sqrt", "horizon.nn.Sqrt"},
    {"torch.sub", FUNCTIONAL},
    {"torch.sum", FUNCTIONAL},
    {"torch.tan", "horizon.nn.Tan"},
    {"torch.nn.functional.relu", "torch.nn.ReLU"},
    {"torch.nn.functional.relu6(fused)", "torch.nn.ReLU6"},
    {"torch.quantization.QuantStub", "horizon.quantization.QuantStub"},
    {"torchvision.models.detection.rpn.AnchorGenerator", "horizon.nn.AnchorGenerator"},
    {"torchvision.ops.MultiScaleRoIAlign", "horizon.nn.MultiScaleRoIAlign"},
};

const char *march_eager_replacement(const char *op)
{
    for (size_t i = 0; i < sizeof(eager) / sizeof(eager[0]); i++) {
        if (strcmp(eager[i].op, op) == 0)
            return eager[i].replacement;
    }
    return NULL;
}
