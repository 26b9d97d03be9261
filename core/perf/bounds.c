/* What no schedule of this program's work can beat.
 *
 *   computing   the busiest compute engine, as if it never waited
 *   DDR         constants, inputs and outputs once over the bus, as if nothing were ever spilled
 *   ideal       the products at the array's peak, as if nothing were padded */
#include <math.h>

#include "core/perf/perf_private.h"

static double us_for(const struct perf_work *w, int64_t bytes, double rate)
{
    return rate > 0 ? (double)bytes / rate * w->us : 0;
}

static int64_t io_bytes(const struct program_io *list, int count)
{
    int64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes = perf_add(bytes, list[i].bytes);
    return bytes;
}

void perf_bounds(struct perf_work *w)
{
    const struct machine *m = w->m;
    struct perf *out = w->out;
    /* Gaps between constants count as bytes of the program and are never moved. */
    int64_t load = perf_add(w->p->constant_bytes, io_bytes(w->p->inputs, w->p->input_count));
    int64_t store = io_bytes(w->p->outputs, w->p->output_count);
    load = load < out->load_bytes ? load : out->load_bytes;
    store = store < out->store_bytes ? store : out->store_bytes;
    out->ddr_bound_us = fmax(us_for(w, load + store, m->ddr_total_bytes.v),
                             fmax(us_for(w, load, m->ddr_load_bytes.v * w->p->cores),
                                  us_for(w, store, m->ddr_store_bytes.v * w->p->cores)));
    for (int lane = 0; lane < PROGRAM_LANES; lane++) {
        int e = lane % ENGINE_COUNT;
        if (e != ENGINE_LOAD && e != ENGINE_STORE)
            out->compute_bound_us = fmax(out->compute_bound_us, out->busy_us[lane]);
    }
    out->bound_us = fmax(out->compute_bound_us, out->ddr_bound_us);
    out->peak_ops = 2 * m->array_h.v * m->array_w.v * m->array_in.v * m->array_out.v *
                    m->array_cells.v * m->clock_mhz.v * 1e6 * w->p->cores;
    out->ideal_compute_us = out->peak_ops > 0 ? (double)out->ops / out->peak_ops * 1e6 : 0;
    out->utilization = out->latency_us > 0 ? out->ideal_compute_us / out->latency_us : 0;
}
