/* The version of the tool: part of every report and of the cache key, so that results of different versions
 * never mix. */
#ifndef BPU_BASE_VERSION_H
#define BPU_BASE_VERSION_H

#define BPU_NAME "bpuhub"
#define BPU_VERSION "0.1.0"

#endif
