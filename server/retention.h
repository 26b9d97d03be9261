/* retention: the daemon forgets what is older, or more, than its settings allow (store_care.h). */
#ifndef BPU_SERVER_RETENTION_H
#define BPU_SERVER_RETENTION_H

#include "server/http.h"

/* NULL without memory. To be freed when the server's tasks have ended. */
struct retention *retention_new(struct http_server *h);
/* Starts a round if it is time; milliseconds until the next one, -1 for never. */
int retention_look(struct retention *r);

#endif
