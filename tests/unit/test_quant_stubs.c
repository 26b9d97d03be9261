/* Scales of a file that are not one per feature map: one per channel between stubs, and none at all
 * behind a mean. */
#include "core/job/load.h"
#include "core/job/prepare.h"
#include "core/march/march.h"
#include "tests/unit/quant_net.h"

#define QDQ "tests/fixtures/lenet_qat_s8.onnx"

static const double scales[] = {2, 4, 5};
static const int64_t zeros[] = {84, 24, 196};
static const struct quant per_channel = {scales, zeros, 3, 1};

static int count_op(const struct graph *g, const char *op)
{
    int count = 0;
    for (int i = 0; i < g->node_count; i++)
        count += strcmp(g->nodes[i]->op_name, op) == 0;
    return count;
}

/* Q per channel towards an output runs as it is, whether or not the graph is converted first. */
static void stubs_keep_scales_per_channel(void **state)
{
    static const int64_t shape[] = {1, 3, 1, 2};
    static const float in[] = {-162, 10, -76, 0, 245, -960};
    static const unsigned char want[] = {3, 89, 5, 24, 245, 4};
    (void)state;
    for (int convert = 0; convert < 2; convert++) {
        struct net t;
        unsigned char out[6];
        const void *inputs[] = {in};
        void *outputs[] = {out};
        net_begin(&t, 1);
        struct node *q =
            net_node(&t, "torch.quantization.QuantStub", "q", net_input(&t, "x", 4, shape), NULL);
        struct value *y = node_add_output(t.g, q, "y", &t.err);
        net_ok(&t, y);
        y->shape = shape_of(4, shape);
        y->dtype = DT_QUINT8;
        y->quant = per_channel;
        net_output(&t, y);
        net_ok(&t, quant_verify(t.g, &t.err));
        struct graph *g = convert ? quant_fuse(&t.arena, t.g, NULL, &t.err)
                                  : job_executable(&t.arena, t.g, &t.err);
        if (convert && g)
            g = quant_convert(&t.arena, g, NULL, NULL, NULL, &t.err);
        net_ok(&t, g && quant_verify(g, &t.err));
        assert_int_equal(g->outputs[0]->dtype, DT_QUINT8);
        struct run *r = run_new(&t.arena, g, NULL, &t.err);
        net_ok(&t, r && run_frame(r, inputs, outputs, NULL, NULL, &t.err));
        assert_memory_equal(out, want, sizeof want);
        net_end(&t);
    }
}

/* Where arithmetic meets them, they are no scales of the form. */
static void arithmetic_refuses_scales_per_channel(void **state)
{
    static const int64_t shape[] = {1, 3, 4, 4};
    struct net t;
    (void)state;
    net_begin(&t, 1);
    struct value *x = net_input(&t, "x", 4, shape);
    x->dtype = DT_QUINT8;
    x->quant = per_channel;
    struct value *y = net_apply(&t, net_node(&t, "torch.nn.ReLU", "r", x, NULL));
    net_output(&t, y);
    assert_false(quant_verify(t.g, &t.err));
    assert_non_null(strstr(t.err.message, "scale per channel"));
    net_end(&t);
}

static struct graph *load(struct net *t, unsigned char **data)
{
    FILE *f = fopen(QDQ, "rb");
    assert_non_null(f);
    *data = malloc(1 << 20);
    assert_non_null(*data);
    size_t size = fread(*data, 1, 1 << 20, f);
    fclose(f);
    struct graph *g = job_load(&t->arena, *data, size, "net", NULL, 0, &t->err);
    net_ok(t, g);
    return g;
}

/* DQ ─ average pool ─ Conv: the file computes the mean in real numbers. */
static void a_mean_without_scale_is_not_rounded_to_its_operands(void **state)
{
    struct net t;
    unsigned char *data;
    (void)state;
    net_begin(&t, 1);
    struct graph *g = load(&t, &data), *wide = job_executable(&t.arena, g, &t.err);
    struct graph *fused = quant_fuse(&t.arena, g, NULL, &t.err);
    net_ok(&t, wide && fused);
    struct graph *narrow =
        quant_convert(&t.arena, fused, march_find("bayes"), NULL, NULL, &t.err);
    net_ok(&t, narrow && quant_verify(narrow, &t.err) && quant_verify(wide, &t.err));
    assert_int_equal(count_op(wide, "torch.nn.AvgPool2d"), 1);
    for (int i = 0; i < wide->node_count; i++) {
        const struct node *n = wide->nodes[i];
        if (strcmp(n->op_name, "torch.nn.AvgPool2d") != 0)
            continue;
        assert_int_equal(n->outputs[0]->dtype, DT_QINT16);
        assert_true(n->outputs[0]->quant.scale[0] == n->inputs[0]->quant.scale[0] / 256);
        const struct node *same = graph_find_node(narrow, n->name);
        assert_non_null(same); /* a march's pool has the type of its operand */
        assert_int_equal(same->outputs[0]->dtype, DT_QINT8);
        assert_true(same->outputs[0]->quant.scale[0] == same->inputs[0]->quant.scale[0]);
    }
    bool told = false;
    for (int i = 0; i < narrow->note_count; i++)
        told = told || strstr(narrow->notes[i], "no scale of its own");
    assert_true(told);
    free(data);
    net_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stubs_keep_scales_per_channel),
        cmocka_unit_test(arithmetic_refuses_scales_per_channel),
        cmocka_unit_test(a_mean_without_scale_is_not_rounded_to_its_operands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
