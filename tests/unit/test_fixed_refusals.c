/* What the integer kernels refuse: every case ends with an error that names the node and says what
 * is wrong, never with a result. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/import/import.h"
#include "core/run/kernel.h"

#define MANY 8

/* One node "n" on inputs x and r; the macros are its parts as JSON. */
#define MODEL(x, r, op, inputs, attrs, params, out, tensors)                                       \
    "{\"format\":\"bpuhub.graph/1\",\"name\":\"t\",\"inputs\":[{\"name\":\"x\"," x "}" r           \
    "],\"nodes\":[{\"name\":\"n\",\"op\":\"" op "\",\"inputs\":" inputs                            \
    ",\"outputs\":[\"y\"],\"attrs\":{" attrs "},\"params\":{" params "}," out                      \
    "}],\"outputs\":[\"y\"],\"tensors\":{" tensors "}}"

#define X8 "\"shape\":[1,2,4,4],\"dtype\":\"qint8\",\"scale\":0.02"
#define X8_BARE "\"shape\":[1,2,4,4],\"dtype\":\"qint8\""
#define X8_PER_CHANNEL "\"shape\":[1,2,4,4],\"dtype\":\"qint8\",\"scale\":[0.02,0.03],\"axis\":1"
#define R(dtype, scale)                                                                            \
    ",{\"name\":\"r\",\"shape\":[1,3,4,4],\"dtype\":\"" dtype "\",\"scale\":" scale "}"
#define OUT(dtype, scale) "\"output_dtypes\":[\"" dtype "\"],\"output_scales\":[" scale "]"
/* 3 x 2 x 1 x 1 */
#define W(dtype, quant) "\"w\":{\"shape\":[3,2,1,1],\"dtype\":\"" #dtype "\"" quant W_##dtype
#define W_qint8 ",\"data\":\"AQIDBAUG\"}"
#define W_float32 ",\"data\":\"AACAPwAAgD8AAIA/AACAPwAAgD8AAIA/\"}"
#define CONV(x, r, inputs, attrs, out, tensors)                                                    \
    MODEL(x, r, "torch.nn.Conv2d", inputs, attrs, "\"weight\":\"w\"", out, tensors)

static const struct refusal {
    const char *json, *says;
    enum bpu_code code;
} refusals[] = {
    {CONV(X8_BARE, "", "[\"x\"]", "", OUT("qint8", "0.05"), W(qint8, ",\"scale\":0.01")),
     "the input has no scale", BPU_BAD_MODEL},
    {CONV(X8, "", "[\"x\"]", "", OUT("qint8", "null"), W(qint8, ",\"scale\":0.01")),
     "the result has no scale", BPU_BAD_MODEL},
    {CONV(X8, "", "[\"x\"]", "", OUT("qint8", "0.05"), W(qint8, "")), "the weight has no scale",
     BPU_BAD_MODEL},
    {CONV(X8, "", "[\"x\"]", "", OUT("qint8", "0.05"), W(float32, "")), "a weight of type float32",
     BPU_UNSUPPORTED},
    {CONV(X8, "", "[\"x\"]", "", OUT("qint8", "0.05"), W(qint8, ",\"scale\":[0.1,0.2],\"axis\":1")),
     "weight scales along axis 1", BPU_UNSUPPORTED},
    {CONV(X8_PER_CHANNEL, "", "[\"x\"]", "", OUT("qint8", "0.05"), W(qint8, ",\"scale\":0.01")),
     "scales per channel", BPU_UNSUPPORTED},
    {CONV(X8, "", "[\"x\"]", "", OUT("float32", "null"), W(qint8, ",\"scale\":0.01")),
     "a result of type float32", BPU_UNSUPPORTED},
    {CONV(X8, "", "[\"x\"]", "", OUT("qint8", "1e-30"), W(qint8, ",\"scale\":0.01")),
     "the ratio of the scales", BPU_BAD_MODEL},
    {CONV(X8, R("qint32", "0.01"), "[\"x\",\"r\"]", "", OUT("qint8", "0.05"),
          W(qint8, ",\"scale\":0.01")),
     "second operand", BPU_UNSUPPORTED},
    {CONV(X8, R("qint8", "1e30"), "[\"x\",\"r\"]", "", OUT("qint8", "0.05"),
          W(qint8, ",\"scale\":0.01")),
     "the ratio of the scales", BPU_BAD_MODEL},
    {MODEL(X8, "", "torch.nn.Softmax", "[\"x\"]", "\"dim\":1", "", OUT("qint8", "null"), ""),
     "a result of type qint8 has no scale", BPU_BAD_MODEL},
    {MODEL(X8_BARE, "", "torch.nn.Sigmoid", "[\"x\"]", "", "", OUT("qint8", "0.1"), ""),
     "an operand of type qint8 has no scale", BPU_BAD_MODEL},
    {MODEL(X8, "", "torch.add", "[\"x\",\"x\"]", "", "", OUT("qint8", "1e20"), ""),
     "too far from the result's", BPU_BAD_MODEL},
    {MODEL(X8, "", "torch.mul", "[\"x\",\"x\"]", "", "", OUT("qint8", "null"), ""),
     "the result of type qint8 has no scale", BPU_BAD_MODEL},
    {MODEL(X8_PER_CHANNEL, "", "torch.nn.MaxPool2d", "[\"x\"]", "\"kernel_size\":2", "",
           OUT("qint8", "0.02"), ""),
     "a scale per channel", BPU_UNSUPPORTED},
    {MODEL(X8_BARE, "", "torch.mean", "[\"x\"]", "\"dim\":[1]", "", OUT("qint8", "0.02"), ""),
     "the input of type qint8 has no scale", BPU_BAD_MODEL},
    {MODEL(X8_BARE, "", "torch.quantization.DeQuantStub", "[\"x\"]", "", "", OUT("float32", "null"),
           ""),
     "without a scale", BPU_UNSUPPORTED},
    {MODEL(X8_PER_CHANNEL, "", "torch.argmax", "[\"x\"]", "\"dim\":1", "", OUT("int64", "null"),
           ""),
     "a scale per channel", BPU_UNSUPPORTED},
};

static const struct tensor *zeros(struct arena *a, const struct value *v, struct bpu_error *err)
{
    struct tensor *t = v ? ARENA_NEW(a, struct tensor, err) : NULL;
    if (!t)
        return NULL;
    t->shape = v->shape;
    t->dtype = v->dtype;
    t->quant = v->quant;
    t->bytes = (size_t)shape_elements(&v->shape) * dtype_size(v->dtype);
    t->data = arena_alloc(a, t->bytes, err);
    assert_non_null(t->data);
    return t;
}

static void refuse(const struct refusal *r)
{
    struct bpu_error err = {0};
    struct arena a;
    arena_init(&a, (size_t)16 << 20);
    struct import_request req = {
        .data = (const unsigned char *)r->json, .size = strlen(r->json), .name = "t"};
    struct graph *g = import_model(&a, &req, &err);
    if (!g)
        fail_msg("%s: %s (%s)", r->says, err.message, err.where);
    const struct node *n = g->nodes[0];
    const struct tensor *in[MANY], *params[MANY];
    struct tensor *out[MANY];
    for (int i = 0; i < n->input_count; i++)
        in[i] = zeros(&a, n->inputs[i], &err);
    for (int i = 0; i < n->param_count; i++)
        params[i] = zeros(&a, n->params[i].value, &err);
    for (int i = 0; i < n->output_count; i++)
        out[i] = (struct tensor *)(uintptr_t)zeros(&a, n->outputs[i], &err);
    struct kernel_call c = {.node = n,
                            .in = in,
                            .in_count = n->input_count,
                            .params = params,
                            .out = out,
                            .out_count = n->output_count,
                            .scratch = &a};
    assert_true(kernel_is_fixed(n));
    assert_non_null(kernel_of(n)->fixed);
    if (kernel_of(n)->fixed(&c, &err))
        fail_msg("\"%s\" was not refused", r->says);
    if (err.code != r->code || !strstr(err.message, r->says))
        fail_msg("\"%s\" was expected, not \"%s\" (%s)", r->says, err.message,
                 error_code_name(err.code));
    assert_string_equal(err.where, "n");
    arena_fini(&a);
}

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        refuse(&refusals[i]);
}

/* However little memory there is, the kernels end with an error and give everything back. */
static void test_memory(void **state)
{
    static const char json[] =
        CONV(X8, "", "[\"x\"]", "", OUT("qint8", "0.05"), W(qint8, ",\"scale\":0.01"));
    (void)state;
    for (long fail = 0, done = 0; !done; fail++) {
        struct bpu_error err = {0};
        struct arena a, scratch;
        arena_init(&a, (size_t)16 << 20);
        arena_init(&scratch, (size_t)16 << 20);
        struct import_request req = {
            .data = (const unsigned char *)json, .size = sizeof json - 1, .name = "t"};
        struct graph *g = import_model(&a, &req, &err);
        assert_non_null(g);
        const struct node *n = g->nodes[0];
        const struct tensor *in = zeros(&a, n->inputs[0], &err);
        const struct tensor *w = zeros(&a, n->params[0].value, &err);
        struct tensor *out = (struct tensor *)(uintptr_t)zeros(&a, n->outputs[0], &err);
        struct kernel_call c = {n, &in, 1, &w, &out, 1, &scratch};
        scratch.fail_after = fail;
        done = kernel_of(n)->fixed(&c, &err);
        assert_true(done || err.code == BPU_NO_MEMORY);
        assert_in_range(fail, 0, 100);
        arena_fini(&scratch);
        arena_fini(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
