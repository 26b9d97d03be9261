/* report_parts: see the header. */
#include "core/quant/report_parts.h"

#include <math.h>

enum { HISTOGRAM_BINS = 128 };

void report_db(struct json_writer *w, const char *key, double db)
{
    if (isfinite(db))
        writer_real(w, key, db);
    else
        writer_missing(w, key, db > 0 ? "no difference" : "the float values are all 0");
}

void report_counts(struct json_writer *w, double from, double to, const int64_t *counts, int bins,
                   int per)
{
    writer_open(w, "histogram", '{');
    writer_real(w, "from", from);
    writer_real(w, "to", to);
    writer_open(w, "counts", '[');
    for (int i = 0; i + per <= bins; i += per) {
        int64_t n = 0;
        for (int k = 0; k < per; k++)
            n += counts[i + k];
        writer_int(w, NULL, n);
    }
    writer_close(w, ']');
    writer_close(w, '}');
}

void report_scale(struct json_writer *w, const struct observation *o)
{
    if (o->scale > 0)
        writer_real(w, "scale", o->scale);
    else
        writer_missing(w, "scale", "leaves without requantization");
}

void report_histogram(struct json_writer *w, const struct observation *o)
{
    if (!o->histogram || o->bins < 1 || !(o->range > 0)) {
        writer_missing(w, "histogram", "the values are all 0, or were not computed");
        return;
    }
    int per = o->bins > HISTOGRAM_BINS ? o->bins / HISTOGRAM_BINS : 1;
    report_counts(w, -o->range, o->range, o->histogram, o->bins, per);
}
