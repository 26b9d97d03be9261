/* Design: token buckets in a table of fixed size, four places for each hash; a newcomer takes the
 * place of the bucket that was left alone longest, which is most likely full again.  Only the HTTP
 * thread uses it. */
#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "server/access.h"

#define SETS 4096u
#define WAYS 4u

struct bucket {
    uint64_t key; /* 0: free */
    uint64_t at_us;
    double left;
};

struct rates {
    struct bucket buckets[SETS][WAYS];
};

struct rates *rates_new(void)
{
    return calloc(1, sizeof(struct rates));
}

void rates_free(struct rates *t)
{
    free(t);
}

/* A mixing of the bits; 0 is kept for free places. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return x ? x : 1;
}

uint64_t rates_key_token(int64_t token)
{
    return mix((uint64_t)token * 4 + 1);
}

uint64_t rates_key_address(const struct sockaddr *a, bool failures)
{
    uint64_t x = 0;
    if (a && a->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof in);
        x = in.sin_addr.s_addr;
    } else if (a && a->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, a, sizeof in6);
        memcpy(&x, in6.sin6_addr.s6_addr, sizeof x);
    }
    return mix(mix(x + 7) * 4 + (failures ? 3 : 2));
}

static struct bucket *bucket_find(struct rates *t, uint64_t key, double burst, uint64_t now_us)
{
    struct bucket *set = t->buckets[key % SETS], *oldest = &set[0];
    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
        if (set[i].at_us < oldest->at_us)
            oldest = &set[i];
    }
    *oldest = (struct bucket){.key = key, .at_us = now_us, .left = burst};
    return oldest;
}

int rates_take(struct rates *t, uint64_t key, double rate, double burst, uint64_t now_us)
{
    struct bucket *b = bucket_find(t, key, burst, now_us);
    b->left += (double)(now_us - b->at_us) * rate / 1e6;
    if (b->left > burst)
        b->left = burst;
    b->at_us = now_us;
    if (b->left >= 1) {
        b->left -= 1;
        return 0;
    }
    double seconds = ceil((1 - b->left) / rate);
    return seconds < 1 ? 1 : seconds > 3600 ? 3600 : (int)seconds;
}
