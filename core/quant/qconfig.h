/* qconfig: what the user asks for, looked up per node. */
#ifndef BPU_QUANT_QCONFIG_H
#define BPU_QUANT_QCONFIG_H

#include "core/quant/quant.h"

#define QCONFIG_OBSERVER_MAP(X)                                                                    \
    X(MIN_MAX, "min_max")                                                                          \
    X(AVERAGING, "averaging")                                                                      \
    X(PERCENTILE, "percentile")                                                                    \
    X(KL, "kl")                                                                                    \
    X(MSE, "mse")                                                                                  \
    X(CLIP, "clip")                                                                                \
    X(CLIP_STD, "clip_std")                                                                        \
    X(FIXED_SCALE, "fixed_scale")                                                                  \
    X(MIX, "mix")

enum observer {
#define X(id, name) OBSERVER_##id,
    QCONFIG_OBSERVER_MAP(X)
#undef X
        OBSERVER_COUNT
};
const char *observer_name(enum observer o);

/* How one feature map is quantized. */
struct qconfig_activation {
    enum dtype dtype; /* qint8, qint16; float32: the node computes in float */
    enum observer observer;
    double percentile;         /* of percentile: 99.99 */
    double averaging_constant; /* of averaging: 0.01 */
    double min, max;           /* of clip */
    double std;                /* of clip_std: how many standard deviations: 3 */
    double scale;              /* of fixed_scale */
    unsigned candidates;       /* of mix: bits 1 << enum observer */
};

struct qconfig_weight {
    bool per_channel;
};

/* network < operator < node */
void qconfig_activation(const struct qconfig *q, const struct node *n,
                        struct qconfig_activation *out);
void qconfig_weight(const struct qconfig *q, const struct node *n, struct qconfig_weight *out);
/* The scale that the user fixes for an input of the graph; 0: none. */
double qconfig_input_scale(const struct qconfig *q, const char *input);
/* True if the network's last layers are requantized too. */
bool qconfig_output_quantized(const struct qconfig *q);
/* Every name in it names something of the graph, and the march has its dtypes. */
bool qconfig_check(const struct qconfig *q, const struct graph *fused, const struct march *march,
                   struct bpu_error *err) BPU_CHECKED;

#endif
