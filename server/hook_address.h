/* hook_address: which addresses a webhook may not lead to, unless the configuration allows it. */
#ifndef BPU_SERVER_HOOK_ADDRESS_H
#define BPU_SERVER_HOOK_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* True for this machine, private and link-local networks, and whatever is no unicast address of the internet, also inside
 * of IPv6 (mapped, NAT64, 6to4); true for families that are neither. */
bool hook_address_is_private(const struct sockaddr *address);

#endif
