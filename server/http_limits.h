/* http_limits: bounds on requests and connections. HTTP thread only. */
#ifndef BPU_SERVER_HTTP_LIMITS_H
#define BPU_SERVER_HTTP_LIMITS_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

struct http_request;
struct http_server;

/* A connection, from its acceptance on. */
struct http_peer {
    struct http_peer *next, **link;
    struct http_request *request; /* whose head has been read, or NULL */
    int fd;
    uint64_t since_us; /* accepted, or the end of the last request */
    int64_t body_seen; /* bytes of the body at the last look */
};

/* Refuses heads that are too large or can be read in two ways; false after answering. */
bool http_limits(struct http_request *r, const char *version);
/* For MHD_OPTION_UNESCAPE_CALLBACK: "%00" stays as it is, so that no name ends early. */
size_t http_unescape(void *cls, struct MHD_Connection *connection, char *text);
/* For MHD_OPTION_NOTIFY_CONNECTION; cls is the server. */
void http_peer_notify(void *cls, struct MHD_Connection *connection, void **context,
                      enum MHD_ConnectionNotificationCode code);
struct http_peer *http_peer_of(struct MHD_Connection *connection);
/* Ends connections that take too long; cheap, to be called often. */
void http_peers_look(struct http_server *h);

#endif
