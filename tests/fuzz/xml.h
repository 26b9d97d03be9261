/* xml: is a text well-formed?  Elements, attributes, comments, declarations, the five entities and
 * character references: what our own writers use.  Anything else is refused. */
#ifndef BPU_FUZZ_XML_H
#define BPU_FUZZ_XML_H

#include <stdbool.h>
#include <stddef.h>

/* why: what is wrong and at which byte. */
bool xml_well_formed(const char *text, size_t size, char why[128]);

#endif
