/* qconfig: precedence, and an error with place and advice for whatever is wrong. */
#include "quant_net.h"

#include "core/march/march.h"
#include "core/quant/qconfig.h"

static struct net net;

static int setup(void **state)
{
    static const int64_t dims[] = {1, 4, 6, 6};
    (void)state;
    net_begin(&net, 1);
    struct value *x = net_input(&net, "x", 4, dims);
    struct value *v = net_conv(&net, "torch.nn.Conv2d", "features.0.0", x, 4, 1);
    v = net_op(&net, "torch.nn.Sigmoid", "features.0.1", v, NULL);
    net_output(&net, net_conv(&net, "torch.nn.Conv2d", "head", v, 4, 1));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    net_end(&net);
    return 0;
}

static struct qconfig *read_config(const char *json)
{
    memset(&net.err, 0, sizeof net.err);
    return qconfig_read(&net.arena, json, strlen(json), &net.err);
}

static struct qconfig_activation of(const struct qconfig *q, const char *node)
{
    struct qconfig_activation a;
    qconfig_activation(q, graph_find_node(net.g, node), &a);
    return a;
}

static void defaults(void **state)
{
    struct qconfig_weight w;
    (void)state;
    struct qconfig *q = read_config("{}");
    net_ok(&net, q);
    struct qconfig_activation a = of(q, "head");
    assert_int_equal(a.dtype, DT_QINT8);
    assert_int_equal(a.observer, OBSERVER_PERCENTILE);
    assert_true(a.percentile > 99.98 && a.percentile < 99.995);
    assert_true(a.averaging_constant > .0099 && a.averaging_constant < .0101);
    qconfig_weight(q, graph_find_node(net.g, "head"), &w);
    assert_true(w.per_channel);
    assert_false(qconfig_output_quantized(q));
    assert_true(qconfig_input_scale(q, "x") == 0);
}

static void nodes_win_over_operators_over_the_network(void **state)
{
    struct qconfig_weight w;
    (void)state;
    struct qconfig *q =
        read_config("{\"activation\": {\"observer\": \"kl\", \"percentile\": 98},"
                    " \"weight\": {\"per_channel\": false}, \"output\": {\"quantized\": true},"
                    " \"nodes\": {\"features.*\": {\"activation\": {\"dtype\": \"qint16\"}},"
                    "             \"features.0.?\": {\"activation\": {\"observer\": "
                    "\"fixed_scale\", \"scale\": 0.5}}},"
                    " \"operators\": {\"aten::conv2d\": {\"activation\": {\"observer\": \"mse\"},"
                    "                                  \"weight\": {\"per_channel\": true}}},"
                    " \"inputs\": {\"x\": {\"scale\": 0.0078125}}}");
    net_ok(&net, q);
    assert_int_equal(of(q, "features.0.1").observer, OBSERVER_FIXED_SCALE);
    assert_int_equal(of(q, "features.0.0").observer, OBSERVER_FIXED_SCALE);
    assert_int_equal(of(q, "features.0.0").dtype, DT_QINT16);
    assert_true(of(q, "features.0.0").scale == .5);
    assert_int_equal(of(q, "head").observer, OBSERVER_MSE);
    assert_int_equal(of(q, "head").dtype, DT_QINT8);
    assert_true(of(q, "head").percentile == 98);
    qconfig_weight(q, graph_find_node(net.g, "head"), &w);
    assert_true(w.per_channel);
    qconfig_weight(q, graph_find_node(net.g, "features.0.1"), &w);
    assert_false(w.per_channel);
    assert_true(qconfig_output_quantized(q));
    assert_true(qconfig_input_scale(q, "x") == .0078125);
    net_ok(&net, qconfig_check(q, net.g, march_find("bayes"), &net.err));
}

static void every_mistake_is_told(void **state)
{
    static const struct {
        const char *json, *where, *message, *hint;
    } cases[] = {
        {"[]", "/", "a list", ""},
        {"{\"activaton\": {}}", "/activaton", "unknown key", "activation"},
        {"{\"activation\": 3}", "/activation", "", ""},
        {"{\"activation\": {\"observer\": \"kll\"}}", "/activation/observer", "kll", "\"kl\""},
        {"{\"activation\": {\"observer\": 1}}", "/activation/observer", "", ""},
        {"{\"activation\": {\"percentile\": 101}}", "/activation/percentile", "101", ""},
        {"{\"activation\": {\"percentile\": \"99\"}}", "/activation/percentile", "a number", ""},
        {"{\"activation\": {\"averaging_constant\": 0}}", "/activation/averaging_constant", "0",
         ""},
        {"{\"activation\": {\"observer\": \"clip\"}}", "/activation", "\"min\" and \"max\"", ""},
        {"{\"activation\": {\"min\": 2, \"max\": 1}}", "/activation", "not below", ""},
        {"{\"activation\": {\"observer\": \"fixed_scale\"}}", "/activation", "\"scale\"", ""},
        {"{\"activation\": {\"scale\": -1}}", "/activation/scale", "-1", ""},
        {"{\"activation\": {\"dtype\": \"int8\"}}", "/activation/dtype", "qint16", ""},
        {"{\"activation\": {\"candidates\": []}}", "/activation/candidates", "empty", ""},
        {"{\"activation\": {\"candidates\": [\"kl\", 3]}}", "/activation/candidates/1", "", ""},
        {"{\"activation\": {\"candidates\": [\"mix\"]}}", "/activation/candidates/0", "itself", ""},
        {"{\"weight\": {\"dtype\": \"qint16\"}}", "/weight/dtype", "qint8", ""},
        {"{\"weight\": {\"per_channel\": 1}}", "/weight/per_channel", "true or false", ""},
        {"{\"output\": {\"quantised\": true}}", "/output/quantised", "", "quantized"},
        {"{\"operators\": {\"torch.nn.Conv2\": {}}}", "/operators/torch.nn.Conv2", "no operator",
         "torch.nn.Conv2d"},
        {"{\"operators\": {\"torch.nn.Conv2d\": 1}}", "/operators/torch.nn.Conv2d", "an object",
         ""},
        {"{\"nodes\": {\"a\": {\"activations\": {}}}}", "/nodes/a/activations", "", "activation"},
        {"{\"nodes\": {\"a/b\": {\"activation\": {\"std\": 0}}}}", "/nodes/a~1b/activation/std", "",
         ""},
        {"{\"inputs\": {\"x\": {}}}", "/inputs/x", "missing", ""},
        {"{\"inputs\": {\"x\": {\"scale\": 0}}}", "/inputs/x/scale", "0", ""},
        {"{\"activation\": {\n\"observer\": }}", "line 2", "cannot be read", ""},
        {"{\"activation\": {}, \"activation\": {}}", "line 1", "duplicate", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_null(read_config(cases[i].json));
        if (net.err.code != BPU_BAD_OPTION ||
            strncmp(net.err.where, cases[i].where, strlen(cases[i].where)) ||
            !strstr(net.err.message, cases[i].message) || !strstr(net.err.hint, cases[i].hint))
            fail_msg("%s: %s, %s, %s (%s)", cases[i].json, error_code_name(net.err.code),
                     net.err.where, net.err.message, net.err.hint);
    }
}

static void names_must_be_of_the_network(void **state)
{
    static const struct {
        const char *json, *march, *where, *message, *hint;
    } cases[] = {
        {"{\"nodes\": {\"features.0.O\": {}}}", "bayes", "/nodes/features.0.O", "no node",
         "features.0.0"},
        {"{\"inputs\": {\"y\": {\"scale\": 1}}}", "bayes", "/inputs/y", "no input", "\"x\""},
        {"{\"activation\": {\"dtype\": \"qint16\"}}", "bernoulli2", "/activation/dtype",
         "bernoulli2", "bayes"},
        {"{\"nodes\": {\"head\": {\"activation\": {\"dtype\": \"qint16\"}}}}", "bernoulli2",
         "/nodes/head/activation/dtype", "bernoulli2", "bayes"},
        {"{\"operators\": {\"torch.nn.SELU\": {\"activation\": {\"dtype\": \"qint16\"}}}}",
         "bernoulli2", "/operators", "bernoulli2", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qconfig *q = read_config(cases[i].json);
        net_ok(&net, q);
        assert_false(qconfig_check(q, net.g, march_find(cases[i].march), &net.err));
        if (net.err.code != BPU_BAD_OPTION ||
            strncmp(net.err.where, cases[i].where, strlen(cases[i].where)) ||
            !strstr(net.err.message, cases[i].message) || !strstr(net.err.hint, cases[i].hint))
            fail_msg("%s: %s, %s (%s)", cases[i].json, net.err.where, net.err.message,
                     net.err.hint);
    }
}

static void patterns(void **state)
{
    static const struct {
        const char *pattern;
        int matched; /* of the three nodes */
    } cases[] = {{"*", 3},     {"features.*", 2}, {"*.0.?", 2}, {"?ead", 1}, {"h*d*", 1},
                 {"**a**", 3}, {"head?", 0},      {"", 0},      {"*1", 1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char json[128];
        int matched = 0;
        snprintf(json, sizeof json,
                 "{\"nodes\": {\"%s\": {\"activation\": {\"dtype\": \"qint16\"}}}}",
                 cases[i].pattern);
        struct qconfig *q = read_config(json);
        net_ok(&net, q);
        for (int k = 0; k < net.g->node_count; k++)
            matched += of(q, net.g->nodes[k]->name).dtype == DT_QINT16;
        assert_int_equal(matched, cases[i].matched);
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char json[] =
        "{\"activation\": {\"observer\": \"mix\"}, \"nodes\": {\"head\": {}},"
        "\"inputs\": {\"x\": {\"scale\": 1}}}";
    for (long n = 0;; n++) {
        net.arena.fail_after = n;
        struct qconfig *q = read_config(json);
        net.arena.fail_after = -1;
        if (q)
            return;
        assert_int_equal(net.err.code, BPU_NO_MEMORY);
    }
}

int main(void)
{
#define CONFIG(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CONFIG(defaults),
        CONFIG(nodes_win_over_operators_over_the_network),
        CONFIG(every_mistake_is_told),
        CONFIG(names_must_be_of_the_network),
        CONFIG(patterns),
        CONFIG(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
