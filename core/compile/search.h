/* search: what the search over groupings knows of the network, whether a group fits, and its price.
 * group.c looks for the path, fit.c answers. */
#ifndef BPU_COMPILE_SEARCH_H
#define BPU_COMPILE_SEARCH_H

#include "core/compile/schedule.h"

struct search {
    const struct network *net;
    struct sequencer *sequencer;
    const struct compile_options *o;
    int64_t sram;         /* that groups may take */
    int64_t all;          /* that there is: for a layer that fits in no other way */
    bool plain;           /* every layer alone, in that way */
    int longest, cores;
    int share;            /* that is tried for layers whose channels the cores share */
    double load_weight, compute_weight; /* price per cycle */
    bool may_reside, may_band;
    int more_bands;       /* how many times more bands than needed are tried */
    bool *resident;       /* scratch, by map */
    int *last_reader;     /* by map (roots): the last layer that reads it; outputs and unread: -1 */
    int *first_maker;     /* by map: -1: comes from outside */
    int64_t *bytes;       /* by map (roots) */
    bool *through_ddr;    /* by map: the host touches it, or two cores share it */
    double *cycles;       /* by layer: one piece */
    int64_t *constants;   /* by layer: bytes of blobs */
    int64_t *cross_bytes; /* by cut: bytes of all maps that cross it */
    bool *pinned;         /* by cut: a map crosses it that must go through DDR */
    int64_t *delta;       /* scratch, by layer */
    int *stamp, stamps;   /* scratch, by map */
    int bands_of;         /* result of fit_group() */
    bool reload_of, tight_of;
    int share_of;
    struct box_cut cut_of;
};

/* Fills what does not change during a search. */
bool search_prepare(struct search *s, struct arena *a, struct bpu_error *err) BPU_CHECKED;

/* A group of layers first … last; in, out: the maps that cross the cut before and behind it stay on chip. */

/* The fewest bands that fit: s->bands_of and s->reload_of. */
bool fit_group(struct search *s, int first, int last, bool in, bool out, int cores, bool *fits,
               struct bpu_error *err) BPU_CHECKED;
/* One layer whose result channels the cores share. */
bool fit_channels(struct search *s, int layer, int cores);
/* More bands than are needed to fit: engines and transfers overlap more. */
bool fit_bands(struct search *s, int first, int last, bool in, bool out, int cores, int bands,
               bool *fits, struct bpu_error *err) BPU_CHECKED;
/* Bytes on chip of a group in g->bands bands; exact if it is tight. */
bool fit_need(struct search *s, const struct group *g, int64_t *need, struct bpu_error *err) BPU_CHECKED;
/* Rows of the longest result that leaves the group. */
int fit_rows(const struct search *s, int first, int last);
/* Of the group that fit_group() or fit_bands() was asked about last. */
double fit_price(const struct search *s, int first, int last, bool in, bool out, int cores);

#endif
