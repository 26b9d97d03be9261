/* The page is made of the JSON report, so that it can say nothing that the report does not. Members
 * that are unavailable are objects with a reason; they become a dash, with the reason as its title. */
#include "core/job/report_evaluate_html.h"

#include <jansson.h>
#include <string.h>

#include "core/job/html_page.h"

#define SQNR_POOR 20
#define CONFUSIONS 20
#define LAYERS 60
#define MAX_BINS 256

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static double real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* Why a member is not there, or NULL. */
static const char *missing(const json_t *value)
{
    return json_is_object(value) && text(value, "availability") ? text(value, "reason") : NULL;
}

/* A number cell: value * factor in this format, or a dash. */
static void cell(struct buf *out, const json_t *object, const char *key, double factor,
                 const char *unit, int digits)
{
    const json_t *value = json_object_get(object, key);
    const char *why = missing(value);
    if (json_is_number(value)) {
        html_number(out, "%.*f%s", digits, json_number_value(value) * factor, unit);
        return;
    }
    buf_puts(out, "<td class=\"n\" title=\"");
    buf_xml(out, why ? why : "not known");
    buf_puts(out, "\">–</td>");
}

static void figure(struct buf *out, const json_t *object, const char *key, double factor,
                   const char *unit, int digits, const char *label)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        return;
    buf_printf(out, "<li><b>%.*f%s</b>%s</li>\n", digits, json_number_value(value) * factor, unit,
               label);
}

/* ── accuracy ── */

static void write_figures(const json_t *root, struct buf *out)
{
    const json_t *real_net = json_object_get(root, "float"), *fixed = json_object_get(root, "fixed");
    const json_t *summary = json_object_get(root, "summary");
    buf_puts(out, "<ul class=\"figures\">\n");
    figure(out, fixed, "top1", 100, " %", 2, "right in fixed point");
    figure(out, real_net, "top1", 100, " %", 2, "right in float");
    figure(out, root, "loss_points", 1, "", 2, "points lost");
    figure(out, fixed, "top5", 100, " %", 2, "among the first five in fixed point");
    figure(out, real_net, "top5", 100, " %", 2, "among the first five in float");
    figure(out, json_object_get(root, "agreement"), "share", 100, " %", 2,
           "same answer in float and fixed point");
    figure(out, summary, "frames", 1, "", 0, "frames");
    figure(out, summary, "compared_frames", 1, "", 0, "frames compared layer by layer");
    buf_puts(out, "</ul>\n");
    if (missing(real_net))
        html_hint(out, missing(real_net));
    if (missing(fixed) && (!missing(real_net) || strcmp(missing(fixed), missing(real_net)) != 0))
        html_hint(out, missing(fixed));
}

static const json_t *network(const json_t *root)
{
    const json_t *fixed = json_object_get(root, "fixed");
    return missing(fixed) ? json_object_get(root, "float") : fixed;
}

static void write_classes(const json_t *root, struct buf *out)
{
    static const char *const columns[] = {"Class", "#Samples", "#Predicted", "#Recall", "#Precision",
                                          NULL};
    const json_t *classes = json_object_get(network(root), "classes"), *c;
    size_t i;
    if (json_array_size(classes) == 0 ||
        !json_is_number(json_object_get(json_array_get(classes, 0), "count")))
        return;
    html_heading(out, "Classes", missing(json_object_get(root, "fixed")) ? "In float."
                                                                         : "In fixed point.");
    html_table(out, columns);
    json_array_foreach((json_t *)classes, i, c)
    {
        buf_puts(out, "<tr>");
        cell(out, c, "class", 1, "", 0);
        cell(out, c, "count", 1, "", 0);
        cell(out, c, "predicted", 1, "", 0);
        cell(out, c, "recall", 100, " %", 2);
        cell(out, c, "precision", 100, " %", 2);
        buf_puts(out, "</tr>\n");
    }
    html_table_end(out);
}

static void write_confusions(const json_t *root, struct buf *out)
{
    static const char *const columns[] = {"#It was", "#Taken for", "#Times", NULL};
    const json_t *list = json_object_get(network(root), "confusions"), *c;
    size_t i;
    if (json_array_size(list) == 0)
        return;
    html_heading(out, "Confusions, the most frequent first", NULL);
    html_table(out, columns);
    json_array_foreach((json_t *)list, i, c)
    {
        if (i == CONFUSIONS)
            break;
        buf_puts(out, "<tr>");
        cell(out, c, "label", 1, "", 0);
        cell(out, c, "predicted", 1, "", 0);
        cell(out, c, "count", 1, "", 0);
        buf_puts(out, "</tr>\n");
    }
    html_table_end(out);
}

/* ── histograms ── */

static const json_t *by_member(const json_t *list, const char *key, const char *name)
{
    const json_t *item;
    size_t i;
    json_array_foreach((json_t *)list, i, item) if (name && text(item, key) &&
                                                    strcmp(text(item, key), name) == 0) return item;
    return NULL;
}

static void histogram_cell(struct buf *out, const json_t *item, const char *label)
{
    const json_t *h = json_object_get(item, "histogram");
    const json_t *list = json_object_get(h, "counts");
    double counts[MAX_BINS], scale = real(item, "scale");
    size_t n = json_array_size(list);
    const char *dtype = text(item, "dtype");
    buf_puts(out, "<td>");
    if (n > 0 && n <= MAX_BINS) {
        for (size_t i = 0; i < n; i++)
            counts[i] = json_number_value(json_array_get(list, i));
        double levels = dtype && strcmp(dtype, "qint16") == 0 ? 32767.5 : 127.5;
        html_histogram(out, counts, (int)n, real(h, "from"), real(h, "to"), levels * scale, label);
    }
    buf_puts(out, "</td>");
}

/* ── layers ── */

static void write_layer(const json_t *root, const json_t *l, struct buf *out)
{
    const json_t *own = json_object_get(l, "own"), *all = json_object_get(l, "accumulated");
    const char *node = text(l, "node"), *name = text(l, "name");
    bool poor = json_is_number(json_object_get(own, "sqnr_db")) && real(own, "sqnr_db") < SQNR_POOR;
    buf_puts(out, poor ? "<tr><td class=\"error\">" : "<tr><td>");
    buf_xml(out, node ? node : name ? name : "");
    if (text(l, "op")) {
        buf_puts(out, "<br><code>");
        buf_xml(out, text(l, "op"));
        buf_puts(out, "</code>");
    }
    buf_puts(out, "</td>");
    html_cell(out, text(l, "dtype"));
    cell(out, own, "sqnr_db", 1, " dB", 1);
    cell(out, all, "sqnr_db", 1, " dB", 1);
    cell(out, all, "cosine", 1, "", 6);
    cell(out, all, "saturated", 100, " %", 3);
    histogram_cell(out, by_member(json_object_get(root, "activations"), "name", name), "values");
    histogram_cell(out, by_member(json_object_get(root, "weights"), "node", node), "weights");
    buf_puts(out, "</tr>\n");
}

static void write_layers(const json_t *root, struct buf *out)
{
    static const char *const columns[] = {"Layer",   "Type",       "#Own SQNR", "#SQNR so far",
                                          "#Cosine", "#Saturated", "Values",    "Weights", NULL};
    const json_t *layers = json_object_get(root, "layers"), *l;
    size_t i;
    if (missing(layers)) {
        html_heading(out, "Layers", missing(layers));
        return;
    }
    html_heading(out, "Layers, the ones that hurt most first",
                 "Own: what this layer's rounding does to exact inputs; so far: with the errors of the "
                 "layers before it. The dashed lines show what the scale keeps.");
    html_table(out, columns);
    json_array_foreach((json_t *)layers, i, l)
    {
        if (i == LAYERS)
            break;
        write_layer(root, l, out);
    }
    html_table_end(out);
    if (json_array_size(layers) > LAYERS)
        buf_printf(out, "<p class=\"hint\">The other %zu layers are in report.json.</p>\n",
                   json_array_size(layers) - LAYERS);
}

/* ── suggestions ── */

static void write_suggestion(const json_t *s, struct buf *out)
{
    buf_puts(out, "<tr>");
    html_cell(out, text(s, "node"));
    html_cell(out, text(s, "change"));
    cell(out, s, "output_sqnr_db", 1, " dB", 1);
    cell(out, s, "gain_db", 1, " dB", 1);
    cell(out, s, "top1", 100, " %", 2);
    cell(out, s, "gain_points", 1, "", 2);
    buf_puts(out, "<td><code>");
    char *change = json_dumps(json_object_get(s, "change_qconfig"), JSON_ENCODE_ANY);
    out->failed |= !change;
    buf_xml(out, change ? change : "");
    free(change);
    buf_puts(out, "</code></td></tr>\n");
}

static void write_suggestions(const json_t *root, struct buf *out)
{
    static const char *const columns[] = {"Layer", "Change",        "#SQNR of the result", "#Gain",
                                          "#Top 1", "#Gain, points", "In the qconfig",      NULL};
    const json_t *all = json_object_get(root, "suggestions");
    const json_t *items = json_object_get(all, "items"), *together, *s;
    size_t i;
    if (missing(all) || json_array_size(items) == 0) {
        html_heading(out, "Suggestions",
                     missing(all) ? missing(all) : "No change that was tried makes it better.");
        return;
    }
    html_heading(out, "Suggestions, with their measured effect", NULL);
    html_table(out, columns);
    json_array_foreach((json_t *)items, i, s) write_suggestion(s, out);
    together = json_object_get(all, "together");
    if (together && !missing(together))
        write_suggestion(together, out);
    html_table_end(out);
}

bool report_evaluate_html(const char *json, size_t size, struct buf *out, struct bpu_error *err)
{
    json_t *root = json_loadb(json, size, 0, NULL);
    const json_t *model = json_object_get(root, "model");
    if (!root)
        return error_set(err, BPU_NO_MEMORY, NULL, "no memory for the page of the report");
    html_open(out, text(model, "name"), text(root, "march"), "evaluated");
    write_figures(root, out);
    write_suggestions(root, out);
    write_layers(root, out);
    write_confusions(root, out);
    write_classes(root, out);
    html_close(out, text(model, "id"));
    json_decref(root);
    return buf_ok(out, err);
}
